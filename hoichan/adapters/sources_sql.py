"""How far we have come with each source, and which of its studies are to be compared, on SQLAlchemy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema_sources import source_studies, sources
from hoichan.adapters.transactions import transaction
from hoichan.ports import Holding
from hoichan.types import StudyInstanceUID


class WantedState(StrEnum):
    """Where a study of a source stands with us."""

    WANTED = "wanted"  # to be compared at `due_at`
    HELD = "held"  # everything that the source had is here
    GIVEN_UP = "given_up"  # some of it cannot be fetched; looked at again when the source has more


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How far we have come with one source."""

    name: str
    mark: str | None = None  # None: never asked
    contacted_at: datetime | None = None  # the last question that was answered
    failures: int = 0  # since then
    next_at: datetime | None = None  # not asked before
    error: str | None = None  # code of the last failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A study of a source that has to be compared with ours."""

    study_instance_uid: StudyInstanceUID
    instances: int | None  # at the source, when it was last seen there
    attempts: int  # in a row that brought nothing


class SourcesSql:
    """The record of sources. Every call is one transaction; writing twice changes nothing."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def contact(self, name: str) -> Contact:
        """One source; as never asked when it is not known yet."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(sa.select(sources).where(sources.c.name == name)).mappings().one_or_none()
            )
        if row is None:
            return Contact(name=name)
        return Contact(
            name=name,
            mark=row["mark"],
            contacted_at=row["contacted_at"],
            failures=row["failures"],
            next_at=row["next_at"],
            error=row["error"],
        )

    def answered(
        self, name: str, holdings: Sequence[Holding], *, mark: str, now: datetime, due_at: datetime
    ) -> int:
        """The source answered: its studies and the mark in one step; returns how many are wanted anew.

        A study is wanted when it is new, or when the source has another number of instances than before. Of a
        source that tells no numbers, it is wanted again when its time has come.
        """
        wanted = 0
        with transaction(self._engine) as connection:
            self._ensure(connection, name)
            for holding in holdings:
                wanted += self._seen(connection, name, holding, now=now, due_at=due_at)
            connection.execute(
                sources.update()
                .where(sources.c.name == name)
                .values(mark=mark, contacted_at=now, failures=0, next_at=None, error=None)
            )
        return wanted

    def _seen(
        self, connection: sa.Connection, name: str, holding: Holding, *, now: datetime, due_at: datetime
    ) -> bool:
        key = sa.and_(
            source_studies.c.source == name,
            source_studies.c.study_instance_uid == holding.study_instance_uid,
        )
        row = connection.execute(sa.select(source_studies).where(key)).mappings().one_or_none()
        values: dict[str, object] = {"instances": holding.instances, "seen_at": now}
        if row is None:
            rows.insert_once(
                connection,
                source_studies,
                {
                    "source": name,
                    "study_instance_uid": holding.study_instance_uid,
                    "state": str(WantedState.WANTED),
                    "missing": 0,
                    "attempts": 0,
                    "due_at": due_at,
                    **values,
                },
            )
            return True
        changed = row["instances"] != holding.instances or (
            holding.instances is None and row["due_at"] <= now
        )
        if changed and row["state"] != WantedState.WANTED:
            values.update(state=str(WantedState.WANTED), attempts=0, due_at=due_at)
        connection.execute(source_studies.update().where(key).values(**values))
        return changed and row["state"] != WantedState.WANTED

    def ask_for(self, study: StudyInstanceUID, names: Sequence[str], *, now: datetime) -> None:
        """Have these sources looked at for one study that somebody wants, as soon as they can be asked."""
        with transaction(self._engine) as connection:
            for name in names:
                self._ensure(connection, name)
                wanted = {"state": str(WantedState.WANTED), "attempts": 0, "due_at": now}
                is_new = rows.insert_once(
                    connection,
                    source_studies,
                    {
                        "source": name,
                        "study_instance_uid": study,
                        "missing": 0,
                        "seen_at": now,
                        "instances": None,
                        **wanted,
                    },
                )
                if not is_new:
                    connection.execute(
                        source_studies.update()
                        .where(source_studies.c.source == name, source_studies.c.study_instance_uid == study)
                        .values(**wanted)
                    )

    def failed(self, name: str, *, code: str, next_at: datetime) -> int:
        """The source did not answer; how often in a row now."""
        with transaction(self._engine) as connection:
            self._ensure(connection, name)
            count: int = connection.execute(
                sources.update()
                .where(sources.c.name == name)
                .values(failures=sources.c.failures + 1, error=code[:64], next_at=next_at)
                .returning(sources.c.failures)
            ).scalar_one()
        return count

    def recovered(self, name: str) -> None:
        """The source answers again."""
        with transaction(self._engine) as connection:
            connection.execute(
                sources.update()
                .where(sources.c.name == name, sources.c.failures > 0)
                .values(failures=0, error=None, next_at=None)
            )

    def wanted(self, name: str, now: datetime, *, limit: int = 50) -> Sequence[Wanted]:
        """Studies to be compared now, those that were due first before others."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(source_studies)
                .where(
                    source_studies.c.source == name,
                    source_studies.c.state == WantedState.WANTED,
                    source_studies.c.due_at <= now,
                )
                .order_by(source_studies.c.due_at, source_studies.c.study_instance_uid)
                .limit(limit)
            ).mappings()
            return [
                Wanted(
                    study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
                    instances=row["instances"],
                    attempts=row["attempts"],
                )
                for row in found
            ]

    def settle(
        self,
        name: str,
        study: StudyInstanceUID,
        state: WantedState,
        *,
        missing: int,
        attempts: int = 0,
        due_at: datetime | None = None,
    ) -> None:
        """What comparing and fetching came to; a study that stays wanted is looked at again at `due_at`."""
        values: dict[str, object] = {"state": str(state), "missing": missing, "attempts": attempts}
        if due_at is not None:
            values["due_at"] = due_at
        with transaction(self._engine) as connection:
            connection.execute(
                source_studies.update()
                .where(source_studies.c.source == name, source_studies.c.study_instance_uid == study)
                .values(**values)
            )

    def names(self, study: StudyInstanceUID) -> bool:
        """Whether some source named this study among what is new there."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(source_studies.c.source)
                .where(source_studies.c.study_instance_uid == study)
                .limit(1)
            ).first()
        return found is not None

    def waiting(self, name: str) -> tuple[int, int]:
        """Studies that are wanted, and studies of which something cannot be fetched."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(source_studies.c.state, sa.func.count())
                .where(source_studies.c.source == name)
                .group_by(source_studies.c.state)
            )
            counts = {state: count for state, count in found}
        return counts.get(WantedState.WANTED, 0), counts.get(WantedState.GIVEN_UP, 0)

    def forget(self, name: str, *, before: datetime) -> None:
        """Let go of settled studies that the source has not named for long."""
        with transaction(self._engine) as connection:
            connection.execute(
                source_studies.delete().where(
                    source_studies.c.source == name,
                    source_studies.c.seen_at < before,
                    source_studies.c.state == WantedState.HELD,
                )
            )

    def _ensure(self, connection: sa.Connection, name: str) -> None:
        rows.insert_once(connection, sources, {"name": name, "failures": 0})
