"""What lies in quarantine, on every machine: each tells the record what its own spool holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.quarantine_disk import Lying
from hoichan.adapters.schema_set_aside import quarantined
from hoichan.adapters.spool_disk import CHANGED_CONTENT
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock, TrailEntry
from hoichan.types import SOPInstanceUID, StudyInstanceUID

_REFUSED = "instance_refused"  # on trails, as `changes_sql` writes it
_AT = sa.func.coalesce(quarantined.c.received_at, quarantined.c.seen_at, type_=quarantined.c.seen_at.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """One file in quarantine on some machine. None: not noted, or it says none."""

    spool: str  # `spool_identity.identity_of`
    name: str  # of its note, without the ending: the same on disk, in lists and for commands
    reason: str  # code of the error, or CHANGED_CONTENT
    at: datetime  # received, or first seen where that is not known
    study_instance_uid: StudyInstanceUID | None  # as it says itself; nobody has checked it
    sop_instance_uid: SOPInstanceUID | None
    calling_ae_title: str | None
    size_bytes: int | None


class QuarantineSql:
    """The quarantine of all machines. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def tell(self, spool: str, lying: Mapping[str, Lying]) -> int:
        """Write down what lies in one spool, and forget what is gone from there; how many rows changed.

        A row that an earlier version wrote is completed.
        """
        here = quarantined.c.spool == spool
        changed = 0
        with transaction(self._engine) as connection:
            known = sa.select(quarantined.c.note, quarantined.c.received_at).where(here)
            told = {row.note: row.received_at is not None for row in connection.execute(known)}
            for name, one in sorted(lying.items()):
                if name not in told:
                    key = {"spool": spool, "note": name, "seen_at": self._clock.now()}
                    rows.insert_once(connection, quarantined, {**key, **_row(one)})
                elif not told[name] and one.received_at is not None:
                    note = quarantined.c.note == name
                    connection.execute(quarantined.update().where(here, note).values(**_row(one)))
                else:
                    continue
                changed += 1
            gone = sorted(told.keys() - lying.keys())
            for name in gone:
                connection.execute(quarantined.delete().where(here, quarantined.c.note == name))
        return changed + len(gone)

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

    def listed(self, most: int | None = None) -> Sequence[Quarantined]:
        """What lies in quarantine, newest first; None: all that the record knows."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(quarantined, _AT.label("at"))
                .order_by(_AT.desc(), quarantined.c.note.desc(), quarantined.c.spool)
                .limit(most)
            ).mappings()
            return [
                Quarantined(
                    name=row["note"].removesuffix(".json"),
                    **{name: row[name] for name in Quarantined.__dataclass_fields__ if name != "name"},
                )
                for row in found
            ]

    def counts(self) -> Mapping[str, int]:
        """Files in quarantine, by reason."""
        with transaction(self._engine) as connection:
            found = sa.select(quarantined.c.reason, sa.func.count()).group_by(quarantined.c.reason)
            return {reason: count for reason, count in connection.execute(found)}

    def names(self, study: StudyInstanceUID) -> bool:
        """Whether something was refused that says it is of this study."""
        with transaction(self._engine) as connection:
            return bool(refusals(connection, study))


def _row(one: Lying) -> dict[str, object]:
    return {
        "reason": one.reason,
        "sop_instance_uid": one.sop_instance_uid,
        "received_at": one.received_at,
        "study_instance_uid": one.study_instance_uid,
        "calling_ae_title": one.calling_ae_title,
        "size_bytes": one.size_bytes,
    }


def refusals(connection: sa.Connection, study: StudyInstanceUID) -> list[TrailEntry]:
    """What was refused for its content and says it is of this study, as lines of its trail, oldest first."""
    found = connection.execute(
        sa.select(quarantined, _AT.label("at"))
        .where(quarantined.c.study_instance_uid == study, quarantined.c.reason != CHANGED_CONTENT)
        .order_by(_AT, quarantined.c.note, quarantined.c.spool)
    ).mappings()
    return [
        TrailEntry(
            at=row["at"],
            event=_REFUSED,
            details={
                "instance": row["sop_instance_uid"] or "",
                "reason": row["reason"],
                "sender": row["calling_ae_title"] or "",
            },
        )
        for row in found
    ]


def with_refusals(
    connection: sa.Connection, study: StudyInstanceUID, lines: list[TrailEntry]
) -> list[TrailEntry]:
    """A trail with what was refused of the study and is not on it, because no image of it came there."""
    told = {_key(line) for line in lines if line.event == _REFUSED}
    more = [line for line in refusals(connection, study) if _key(line) not in told]
    return sorted([*lines, *more], key=lambda line: line.at) if more else lines


def _key(line: TrailEntry) -> tuple[object, ...]:
    return tuple(line.details.get(name) for name in ("instance", "reason", "sender"))
