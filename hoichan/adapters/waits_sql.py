"""When studies arrived, were first opened by a reader and were signed. May raise RecordsUnavailable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema import audit, studies
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.reporting.waits import Wait
from hoichan.types import ReviewKind

MOST = 20_000  # studies, the newest
_LOOKED = "study"  # detail of the record: the study itself, not its place in a list


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Of the same studies, until two ends."""

    opened: tuple[Wait, ...]  # by a radiologist, for the first time
    signed: tuple[Wait, ...]  # for the first time
    is_all: bool  # False: there were more than `MOST`


def waits(engine: sa.Engine, *, since: datetime, sight: Sight = EVERYTHING) -> Waits:
    """Of studies whose last image came after a time."""
    uid = studies.c.study_instance_uid
    opened = (
        sa.select(sa.func.min(audit.c.at))
        .where(
            audit.c.study_instance_uid == uid,
            audit.c.what == str(Audited.VIEWED),
            audit.c.role == str(Role.RADIOLOGIST),
            audit.c.detail == _LOOKED,
        )
        .scalar_subquery()
    )
    signed = (
        sa.select(sa.func.min(reviews.c.signed_at))
        .where(reviews.c.study_instance_uid == uid, reviews.c.kind == str(ReviewKind.FINAL))
        .scalar_subquery()
    )
    statement = (
        sa.select(studies.c.tier, studies.c.first_received_at, opened.label("opened"), signed.label("signed"))
        .where(studies.c.last_received_at > since, *sight.narrow())
        .order_by(studies.c.last_received_at.desc())
        .limit(MOST + 1)
    )
    with transaction(engine) as connection:
        found = connection.execute(statement).mappings().all()

    def until(end: str) -> tuple[Wait, ...]:
        return tuple(
            Wait(rank=row["tier"], arrived_at=row["first_received_at"], read_at=row[end])
            for row in found[:MOST]
        )

    return Waits(opened=until("opened"), signed=until("signed"), is_all=len(found) <= MOST)
