"""Versions of the routing rules on a SQL database. Every method may raise RecordsUnavailable (try again)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.rows import Row, insert_once
from hoichan.adapters.schema import deliveries, trail
from hoichan.adapters.schema_routing import routing_versions
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.reporting.routing import Route, Rule, route, stored
from hoichan.types import Study

EVENT = "routed"  # on the trail, where a rule decided


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingVersion:
    """The rules as they were from one change to the next."""

    version: int
    rules: tuple[Rule, ...]
    by: str  # user name
    at: datetime  # aware, UTC
    reason: str
    restores: int | None  # an older version that this one brings back


class RoutingSql:
    """The rules, every version of them."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def current(self) -> RoutingVersion | None:
        """The newest version; None where nobody has written one."""
        with transaction(self._engine) as connection:
            return _current(connection)

    def versions(self, *, limit: int = 50) -> Sequence[RoutingVersion]:
        """The newest first."""
        with transaction(self._engine) as connection:
            found = connection.execute(_newest().limit(limit)).mappings()
            return [_version(row) for row in found]

    def version(self, number: int) -> RoutingVersion | None:
        """One version; None where there is none."""
        with transaction(self._engine) as connection:
            found = connection.execute(_newest().where(routing_versions.c.version == number)).mappings()
            row = found.first()
        return None if row is None else _version(row)

    def write(
        self, rules: Sequence[Rule], *, seen: int, who: str, reason: str, restores: int | None = None
    ) -> int | None:
        """A new version; its number. `seen`: the one that the writer changed, 0 for none.

        None where somebody else wrote one meanwhile, and then nothing was written.
        """
        with transaction(self._engine) as connection:
            now = _current(connection)
            if (now.version if now else 0) != seen:
                return None
            values = {
                "version": seen + 1,
                "rules": stored(rules),
                "by": who,
                "at": self._clock.now(),
                "reason": reason,
                "restores": restores,
            }
            return seen + 1 if insert_once(connection, routing_versions, values) else None

    def route(self, study: Study, *, tell: bool = False) -> Route:
        """What the rules say of a study now; with `tell` its trail hears of a rule that decided, once."""
        with transaction(self._engine) as connection:
            now = _current(connection)
            had = connection.execute(
                sa.select(deliveries.c.destination)
                .where(deliveries.c.study_instance_uid == study.study_instance_uid)
                .distinct()
            ).scalars()
            version, rules = (now.version, now.rules) if now else (0, ())
            made = route(study, rules, version=version, had=list(had))
            if tell and made.rule is not None:
                self._tell(connection, study, made.rule.name, made.version)
            return made

    def _tell(self, connection: sa.Connection, study: Study, rule: str, version: int) -> None:
        uid = study.study_instance_uid
        details = {"rule": rule, "version": version, "revision": study.revision}
        told = connection.execute(
            sa.select(trail.c.details).where(trail.c.study_instance_uid == uid, trail.c.event == EVENT)
        ).scalars()
        if details not in list(told):
            connection.execute(
                trail.insert().values(
                    study_instance_uid=uid, at=self._clock.now(), event=EVENT, details=details
                )
            )


def _newest() -> sa.Select[tuple[object, ...]]:
    return sa.select(routing_versions).order_by(routing_versions.c.version.desc())


def _current(connection: sa.Connection) -> RoutingVersion | None:
    row = connection.execute(_newest().limit(1)).mappings().first()
    return None if row is None else _version(row)


def _version(row: Row) -> RoutingVersion:
    return RoutingVersion(
        version=row["version"],
        rules=tuple(Rule.model_validate(one) for one in row["rules"]),
        by=row["by"],
        at=row["at"],
        reason=row["reason"],
        restores=row["restores"],
    )
