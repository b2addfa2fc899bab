"""What lies in quarantine, on every machine: each tells the record what its own spool holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema_set_aside import quarantined
from hoichan.adapters.spool_disk import CHANGED_CONTENT
from hoichan.adapters.transactions import transaction
from hoichan.errors import RecordsUnavailable
from hoichan.ports import Clock
from hoichan.types import SOPInstanceUID

Lying = Mapping[str, tuple[str, str | None]]  # name of the note: reason, SOP Instance UID


def lying_in(spool_dir: Path, known: Lying | None = None) -> Lying:
    """What lies in the quarantine of a spool; of `known` notes nothing is read again.

    Raises RecordsUnavailable where the disk says no, or a note cannot be read.
    """
    known = known or {}
    found = {}
    try:
        for note in (spool_dir / "quarantine").glob("*.json"):
            if note.name in known:
                found[note.name] = known[note.name]
                continue
            about = json.loads(note.read_bytes())
            found[note.name] = (str(about["reason"]), about["sop_instance_uid"])
    except (OSError, ValueError, KeyError) as error:
        raise RecordsUnavailable("The quarantine cannot be read.") from error
    return found


class QuarantineSql:
    """The quarantine of all machines. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def tell(self, spool: str, lying: Lying) -> int:
        """Write down what lies in one spool, and forget what is gone from there; how many rows changed."""
        here = quarantined.c.spool == spool
        with transaction(self._engine) as connection:
            told = set(connection.execute(sa.select(quarantined.c.note).where(here)).scalars())
            new = [name for name in sorted(lying) if name not in told]
            for name in new:
                reason, instance = lying[name]
                key = {"spool": spool, "note": name, "seen_at": self._clock.now()}
                values = {"reason": reason, "sop_instance_uid": instance}
                rows.insert_once(connection, quarantined, {**key, **values})
            gone = sorted(told - lying.keys())
            for name in gone:
                connection.execute(quarantined.delete().where(here, quarantined.c.note == name))
        return len(new) + len(gone)

    def changed(self) -> frozenset[SOPInstanceUID]:
        """The instances of which some machine set another version aside."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(quarantined.c.sop_instance_uid)
                .where(
                    quarantined.c.reason == CHANGED_CONTENT,
                    quarantined.c.sop_instance_uid.is_not(None),
                )
                .distinct()
            )
            return frozenset(SOPInstanceUID(uid) for uid in found.scalars())
