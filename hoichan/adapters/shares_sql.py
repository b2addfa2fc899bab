"""Links that show one signed report to somebody without an account. RecordsUnavailable: try again.

A link holds 256 random bits, and only their digest is kept: no link is found in the database or its backups.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from hoichan.adapters.schema import trail
from hoichan.adapters.schema_opinions import shares
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.types import StudyInstanceUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What is known of a link."""

    number: int
    study_instance_uid: StudyInstanceUID
    made_by: str
    made_at: datetime
    ends_at: datetime
    pin_hash: str | None
    opened: int
    last_opened_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None

    def is_open(self, now: datetime) -> bool:
        """Whether it still shows anything."""
        return self.revoked_at is None and now < self.ends_at


class SharesSql:
    """Links of one record."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def make(
        self, study: StudyInstanceUID, *, who: str, lasts: timedelta, pin_hash: str | None
    ) -> tuple[int, str]:
        """A new link: its number, and the token that is told once."""
        token, now = secrets.token_urlsafe(32), self._clock.now()
        with transaction(self._engine) as connection:
            number = connection.execute(
                shares.insert()
                .values(
                    token_sha256=_digest(token),
                    study_instance_uid=study,
                    made_by=who,
                    made_at=now,
                    ends_at=now + lasts,
                    pin_hash=pin_hash,
                    opened=0,
                )
                .returning(shares.c.number)
            ).scalar_one()
            until = (now + lasts).isoformat()
            self._trail(connection, study, "share_made", number, user=who, until=until)
        return int(number), token

    def by_token(self, token: str) -> Share | None:
        """The link that this token belongs to, be it ended or not."""
        found = self._find(shares.c.token_sha256 == _digest(token))
        return found[0] if found else None

    def get(self, number: int) -> Share | None:
        """One, by its number."""
        found = self._find(shares.c.number == number)
        return found[0] if found else None

    def of(self, study: StudyInstanceUID) -> Sequence[Share]:
        """All of a study, newest first."""
        return self._find(shares.c.study_instance_uid == study)

    def opened(self, share: Share) -> None:
        """Count that somebody opened it; it is on the study's trail."""
        with transaction(self._engine) as connection:
            connection.execute(
                shares.update()
                .where(shares.c.number == share.number)
                .values(opened=shares.c.opened + 1, last_opened_at=self._clock.now())
            )
            self._trail(connection, share.study_instance_uid, "share_opened", share.number)

    def revoke(self, number: int, *, who: str) -> bool:
        """End it now; False where it is unknown or ended by hand already."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                shares.update()
                .where(shares.c.number == number, shares.c.revoked_at.is_(None))
                .values(revoked_at=self._clock.now(), revoked_by=who)
                .returning(shares.c.study_instance_uid)
            ).first()
            if row is not None:
                self._trail(connection, row.study_instance_uid, "share_revoked", number, user=who)
            return row is not None

    def _find(self, condition: sa.ColumnElement[bool]) -> Sequence[Share]:
        names = Share.__dataclass_fields__
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(*(shares.c[name] for name in names))
                .where(condition)
                .order_by(shares.c.number.desc())
            ).mappings()
            return [Share(**row) for row in found]

    def _trail(self, connection: sa.Connection, study: str, event: str, number: int, **details: str) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=study,
                at=self._clock.now(),
                event=event,
                details={"number": number, **details},
            )
        )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
