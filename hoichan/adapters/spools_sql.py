"""What the record knows of each machine's spool: its quarantine, and what was set aside there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema_set_aside import quarantined, set_aside
from hoichan.adapters.set_aside_sql import CODES, go_on
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolView:
    """One spool that has told something."""

    spool: str  # `spool_identity.identity_of`
    quarantined: int  # files
    set_aside: int  # objects, or studies as a whole
    last_at: datetime  # when it told of something new


class SpoolsSql:
    """Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def known(self) -> Sequence[SpoolView]:
        """The spools in whose quarantine something lies, or that have set something aside; by name."""
        with transaction(self._engine) as connection:
            lying, aside = (
                {
                    row.spool: (int(row.files), row.last_at)
                    for row in connection.execute(
                        sa.select(
                            table.c.spool,
                            sa.func.count().label("files"),
                            sa.func.max(at, type_=at.type).label("last_at"),
                        ).group_by(table.c.spool)
                    )
                }
                for table, at in ((quarantined, quarantined.c.seen_at), (set_aside, set_aside.c.at))
            )
        return [
            SpoolView(
                spool=spool,
                quarantined=lying[spool][0] if spool in lying else 0,
                set_aside=aside[spool][0] if spool in aside else 0,
                last_at=max(found[spool][1] for found in (lying, aside) if spool in found),
            )
            for spool in sorted({*lying, *aside})
        ]

    def forget(self, spool: str) -> SpoolView | None:
        """A machine is lost for good: what lay there holds nothing back any more. None where it told nothing.

        Each study that was set aside there has a line on its trail; nobody can look at it again. One that is
        on record as set aside whole goes on with the images that are there.
        """
        view = next((one for one in self.known() if one.spool == spool), None)
        with transaction(self._engine) as connection:
            connection.execute(quarantined.delete().where(quarantined.c.spool == spool))
            gone = set_aside.delete().where(set_aside.c.spool == spool)
            lost = connection.execute(gone.returning(set_aside.c.study_instance_uid)).scalars().all()
            for study in sorted(set(lost)):
                go_on(
                    connection,
                    study,
                    CODES,
                    event="set_aside_lost",
                    objects=lost.count(study),
                    at=self._clock.now(),
                )
        return view
