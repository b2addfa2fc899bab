"""When studies arrived, were first read and were signed. May raise RecordsUnavailable.

A study is read from the first verdict or word about it, or once a radiologist has had it open for half a
minute: a page that was opened by mistake shortens no wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema import audit, studies
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.guard.audit import LOOKED, Audited, Outcome
from hoichan.guard.roles import Role
from hoichan.reporting.waits import Wait
from hoichan.types import ReviewKind

MOST = 20_000  # studies, the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Of the same studies, until two ends."""

    opened: tuple[Wait, ...]  # until a radiologist began to read
    signed: tuple[Wait, ...]  # for the first time
    is_all: bool  # False: there were more than `MOST`


def waits(engine: sa.Engine, *, since: datetime, sight: Sight = EVERYTHING) -> Waits:
    """Of studies whose last image came after a time."""
    uid = studies.c.study_instance_uid
    opened = (
        sa.select(sa.func.min(audit.c.at))
        .where(
            audit.c.study_instance_uid == uid,
            audit.c.role == str(Role.RADIOLOGIST),
            sa.or_(
                audit.c.what.in_([str(Audited.RESULT_REVIEWED), str(Audited.RESULT_SIGNED)]),
                sa.and_(audit.c.what == str(Audited.VIEWED), audit.c.detail == LOOKED),
            ),
            audit.c.outcome == str(Outcome.SUCCESS),
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
