"""How far each audit repository is, and what the machine did since: the trails of all studies, in order.

Two writers of the trail may commit in another order than they were numbered. A number that is missing is
therefore waited for: nothing behind it is read before it is too old to come still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema import audit, studies, trail
from hoichan.adapters.schema_audit_feed import audit_feeds
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock

AUDIT, TRAIL = SOURCES = ("audit", "trail")
STILL_COMING = timedelta(minutes=10)  # longer than any transaction lives


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailLine:
    """One line of a study's trail, and who sent the study."""

    position: int
    at: datetime
    event: str
    study_instance_uid: str
    details: Mapping[str, Any]
    calling_ae_title: str  # "" where the study is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What a repository has not taken of one source."""

    records: int
    oldest: datetime | None


class AuditFeedSql:
    """Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def position(self, receiver: str, source: str) -> int:
        """Of the last record that a repository took; 0 at first."""
        with transaction(self._engine) as connection:
            found: int | None = connection.execute(_position(receiver, source)).scalar()
            return found or 0

    def advance(self, receiver: str, source: str, position: int) -> None:
        """The repository has everything up to here. It never goes back."""
        values = {"receiver": receiver, "source": source, "position": position, "at": self._clock.now()}
        with transaction(self._engine) as connection:
            if not rows.insert_once(connection, audit_feeds, values):
                connection.execute(
                    audit_feeds.update()
                    .where(
                        audit_feeds.c.receiver == receiver,
                        audit_feeds.c.source == source,
                        audit_feeds.c.position < position,
                    )
                    .values(position=position, at=values["at"])
                )

    def trail_after(self, position: int, limit: int) -> Sequence[TrailLine]:
        """The lines of all trails behind a position, oldest first, as far as none can come between."""
        settled = self._clock.now() - STILL_COMING
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(trail, studies.c.calling_ae_title)
                .outerjoin(studies, studies.c.study_instance_uid == trail.c.study_instance_uid)
                .where(trail.c.id > position)
                .order_by(trail.c.id)
                .limit(limit)
            ).mappings()
            lines = []
            for row in found:
                if row["id"] != position + 1 and row["at"] > settled:
                    break
                position = row["id"]
                lines.append(
                    TrailLine(
                        position=position,
                        at=row["at"],
                        event=row["event"],
                        study_instance_uid=row["study_instance_uid"],
                        details=row["details"],
                        calling_ae_title=row["calling_ae_title"] or "",
                    )
                )
        return lines

    def behind(self, receiver: str, source: str) -> Behind:
        """How much a repository has not taken yet, and since when the oldest of it waits."""
        table, number = (audit, audit.c.position) if source == AUDIT else (trail, trail.c.id)
        with transaction(self._engine) as connection:
            taken: int | None = connection.execute(_position(receiver, source)).scalar()
            last = taken or 0
            newest = connection.execute(sa.select(sa.func.max(number))).scalar() or 0
            oldest = connection.execute(
                sa.select(table.c.at).where(number > last).order_by(number).limit(1)
            ).scalar()
        return Behind(records=max(newest - last, 0) if oldest else 0, oldest=oldest)


def _position(receiver: str, source: str) -> sa.Select[Any]:
    return sa.select(audit_feeds.c.position).where(
        audit_feeds.c.receiver == receiver, audit_feeds.c.source == source
    )
