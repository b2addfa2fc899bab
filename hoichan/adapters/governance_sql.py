"""What was decided about models, and the thresholds that were applied, on a SQL database.

Rows are only added. Every method may raise RecordsUnavailable (try again).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema_governance import model_decisions, model_shadows, model_thresholds
from hoichan.adapters.transactions import transaction
from hoichan.analysis.standing import Action, Decision
from hoichan.analysis.versions import Thresholds, Version, parse_thresholds


class GovernanceSql:
    """Reads and writes of `model_decisions`, `model_thresholds` and `model_shadows`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def mark(self) -> int:
        """Grows with every decision: cheap to ask before each study."""
        with transaction(self._engine) as connection:
            newest = connection.execute(sa.select(sa.func.max(model_decisions.c.id))).scalar()
            return int(newest or 0)

    def decisions(self) -> tuple[Decision, ...]:
        """All of them, in order."""
        with transaction(self._engine) as connection:
            rows = connection.execute(sa.select(model_decisions).order_by(model_decisions.c.id))
            return tuple(
                Decision(
                    at=row.at,
                    who=row.who,
                    action=Action(row.action),
                    model=row.model,
                    version=row.version,
                    digest=row.digest,
                    thresholds=row.thresholds,
                    reason=row.reason,
                    gates=tuple(row.gates),
                )
                for row in rows
            )

    def decide(self, *decisions: Decision) -> None:
        """Add them, all or none."""
        with transaction(self._engine) as connection:
            for one in decisions:
                connection.execute(
                    model_decisions.insert().values(
                        at=one.at,
                        who=one.who,
                        action=str(one.action),
                        model=one.model,
                        version=one.version,
                        digest=one.digest,
                        thresholds=one.thresholds,
                        reason=one.reason,
                        gates=[dict(gate) for gate in one.gates],
                    )
                )

    def keep(self, thresholds: Thresholds, *, at: datetime, basis: Mapping[str, Any]) -> None:
        """Keep thresholds under their digest; those that are here already stay as they are."""
        with transaction(self._engine) as connection:
            known = sa.select(model_thresholds.c.digest).where(model_thresholds.c.digest == thresholds.digest)
            if connection.execute(known).first() is None:
                connection.execute(
                    model_thresholds.insert().values(
                        digest=thresholds.digest,
                        model=thresholds.name,
                        made_at=at,
                        content=thresholds.content,
                        basis=dict(basis),
                    )
                )

    def thresholds(self) -> dict[str, Thresholds]:
        """All that were ever applied, by digest. Raises ManifestInvalid for a row that was tampered with."""
        with transaction(self._engine) as connection:
            rows = connection.execute(sa.select(model_thresholds.c.content)).scalars().all()
        return {one.digest: one for one in map(parse_thresholds, rows)}

    def enter_shadow(self, version: Version, *, at: datetime) -> datetime:
        """Since when this version runs in shadow here: now, unless it did already."""
        with transaction(self._engine) as connection:
            asked = sa.select(model_shadows.c.since).where(model_shadows.c.digest == version.digest)
            since: datetime | None = connection.execute(asked).scalar()
            if since is None:
                since = at
                connection.execute(
                    model_shadows.insert().values(
                        digest=version.digest, model=version.name, version=version.version, since=at
                    )
                )
            return since
