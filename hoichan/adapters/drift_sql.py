"""The weeks of each model and how they compare with its first ones. Raises RecordsUnavailable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema_governance import model_drift
from hoichan.adapters.transactions import transaction
from hoichan.analysis.drift import Drift, State

_DONE = "done"  # a week without any number is judged too


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRow:
    """One measure of one week."""

    sender: str  # calling AE title; "": everybody
    measure: str
    version: str
    drift: Drift


class DriftSql:
    """Reads and writes of `model_drift`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def is_done(self, model: str, week: date, version: str) -> bool:
        """Whether this week of this version was judged."""
        asked = sa.select(model_drift.c.measure).where(
            model_drift.c.model == model,
            model_drift.c.week == week,
            model_drift.c.measure == _DONE,
            model_drift.c.version == version,
        )
        with transaction(self._engine) as connection:
            return connection.execute(asked).first() is not None

    def keep(self, model: str, week: date, version: str, rows: Sequence[DriftRow]) -> None:
        """Keep a week, in the place of what was said of it before."""
        nothing = Drift(
            reference_count=0, week_count=0, reference_value=None, week_value=None,
            psi=None, ks=None, p_value=None, state=State.FEW,
        )  # fmt: skip
        with transaction(self._engine) as connection:
            connection.execute(
                model_drift.delete().where(model_drift.c.model == model, model_drift.c.week == week)
            )
            for row in (*rows, DriftRow(sender="", measure=_DONE, version=version, drift=nothing)):
                connection.execute(
                    model_drift.insert().values(
                        model=model,
                        week=week,
                        sender=row.sender,
                        measure=row.measure,
                        version=row.version,
                        reference_count=row.drift.reference_count,
                        week_count=row.drift.week_count,
                        reference_value=row.drift.reference_value,
                        week_value=row.drift.week_value,
                        psi=row.drift.psi,
                        ks=row.drift.ks,
                        p_value=row.drift.p_value,
                        state=str(row.drift.state),
                    )
                )

    def weeks(self, model: str, *, most: int) -> list[tuple[date, DriftRow]]:
        """The measures of everybody in the last so many weeks of a model, the oldest first."""
        mondays = (
            sa.select(model_drift.c.week)
            .where(model_drift.c.model == model)
            .distinct()
            .order_by(model_drift.c.week.desc())
            .limit(most)
        )
        asked = sa.select(model_drift).where(
            model_drift.c.model == model,
            model_drift.c.week.in_(mondays),
            model_drift.c.sender == "",
            model_drift.c.measure != _DONE,
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(asked.order_by(model_drift.c.week, model_drift.c.measure))
            return [(row.week, _row(row)) for row in rows]

    def latest(self) -> dict[str, tuple[date, list[DriftRow]]]:
        """The newest week of each model, what is furthest from the reference first."""
        newest = (
            sa.select(model_drift.c.model, sa.func.max(model_drift.c.week).label("week"))
            .group_by(model_drift.c.model)
            .subquery()
        )
        asked = sa.select(model_drift).join(
            newest, (newest.c.model == model_drift.c.model) & (newest.c.week == model_drift.c.week)
        )
        found: dict[str, tuple[date, list[DriftRow]]] = {}
        with transaction(self._engine) as connection:
            for row in connection.execute(asked.order_by(model_drift.c.model, model_drift.c.measure)):
                _, rows = found.setdefault(row.model, (row.week, []))
                if row.measure == _DONE:
                    continue
                rows.append(_row(row))
        order = [State.ALARM, State.WATCH, State.STEADY, State.FEW]
        for _, rows in found.values():
            rows.sort(key=lambda one: (order.index(one.drift.state), one.sender, one.measure))
        return found


def _row(row: sa.Row[Any]) -> DriftRow:
    return DriftRow(
        sender=row.sender,
        measure=row.measure,
        version=row.version,
        drift=Drift(
            reference_count=row.reference_count,
            week_count=row.week_count,
            reference_value=row.reference_value,
            week_value=row.week_value,
            psi=row.psi,
            ks=row.ks,
            p_value=row.p_value,
            state=State(row.state),
        ),
    )
