"""How much was told besides images: questions that wait, changed contents, messages by answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from hoichan.adapters.changes_sql import counted
from hoichan.adapters.schema_orders import messages, questions, retractions
from hoichan.errors import RecordsUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldFigures:
    """What an operator watches of orders and patients."""

    questions: int  # that wait for a person
    held: int  # of them: nothing of their study is analysed
    changed: Mapping[str, int]  # objects set aside, by what differs
    messages: Mapping[str, int]  # of the order door, by MSA-1
    retractions: int  # reports to be taken back whose documents are not written yet


class ToldSql:
    """Read only. May raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def figures(self) -> ToldFigures:
        """The present figures."""
        waiting = questions.c.state == "open"
        try:
            with self._engine.connect() as connection:
                asked = connection.execute(
                    sa.select(sa.func.count(), sa.func.sum(sa.cast(questions.c.holds, sa.Integer))).where(
                        waiting
                    )
                ).one()
                return ToldFigures(
                    questions=asked[0],
                    held=asked[1] or 0,
                    changed=counted(connection),
                    messages=_counts(connection, messages.c.answer),
                    retractions=connection.execute(
                        sa.select(sa.func.count())
                        .select_from(retractions)
                        .where(retractions.c.done_at.is_(None))
                    ).scalar_one(),
                )
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error


def _counts(connection: sa.Connection, column: sa.Column[str]) -> dict[str, int]:
    found = connection.execute(sa.select(column, sa.func.count()).group_by(column))
    return {value: count for value, count in found}
