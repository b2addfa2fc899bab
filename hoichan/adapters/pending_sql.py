"""Signatures that wait until their signer comes back from the hospital's own sign-in.

What will be signed is fixed before the person leaves: study, draft version, kind, reason and the last
signature before it stay as they are. Every method may raise RecordsUnavailable (try again).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.external_sql import AWAY
from hoichan.adapters.schema_opinions import pending_signatures
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.types import ReviewKind, StudyInstanceUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSignature:
    """What somebody is about to sign."""

    study_instance_uid: StudyInstanceUID
    user_name: str
    session_sha256: str
    version: int
    kind: ReviewKind
    reason: str
    may_train: bool
    language: str
    begun_at: datetime
    last_signed: str | None  # the last signature then, "" for none; None: begun by a former program
    whose: str | None  # the study's person then, as a hash; None as above


class PendingSignatures:
    """Kept by the state that the person takes along."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def keep(self, state: str, pending: PendingSignature) -> None:
        """Wait for whoever comes back with this state; those who never came back are forgotten."""
        table = pending_signatures
        with transaction(self._engine) as connection:
            connection.execute(table.delete().where(table.c.begun_at <= self._clock.now() - AWAY))
            values = {**asdict(pending), "kind": pending.kind.value}
            connection.execute(table.insert().values(state_sha256=digest(state), **values))

    def take(self, state: str) -> PendingSignature | None:
        """What comes back, once; None for a state that no signature waits for."""
        table = pending_signatures
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    table.delete().where(table.c.state_sha256 == digest(state)).returning(table)
                )
                .mappings()
                .first()
            )
        if row is None or row["begun_at"] <= self._clock.now() - AWAY:
            return None
        values = {name: row[name] for name in PendingSignature.__dataclass_fields__}
        return PendingSignature(**{**values, "kind": ReviewKind(row["kind"])})


def digest(text: str) -> str:
    """SHA-256 in hexadecimal: neither a state nor a session lies readable in the database."""
    return hashlib.sha256(text.encode()).hexdigest()
