"""The studies that go no further by themselves: failed, or set aside because nobody could record them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema import studies, trail
from hoichan.adapters.schema_set_aside import set_aside
from hoichan.adapters.set_aside_sql import CODES, WHOLE
from hoichan.adapters.sight import Sight
from hoichan.types import StudyInstanceUID, StudyState


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """A study that waits for a person to have it looked at again."""

    study_instance_uid: StudyInstanceUID
    code: str  # of the error
    images: int  # that were set aside while the others go on; 0: the whole study
    at: datetime


def halted(connection: sa.Connection, sight: Sight, limit: int) -> tuple[Sequence[Halted], int]:
    """The newest of them, and how many there are. What was set aside may be in no other list."""
    kept, kept_count = _set_aside(connection, sight, limit)
    failed, failed_count = _failed(connection, sight, limit)
    newest = sorted([*kept, *failed], key=lambda one: (one.at, one.study_instance_uid), reverse=True)
    return tuple(newest[:limit]), kept_count + failed_count


def _set_aside(connection: sa.Connection, sight: Sight, limit: int) -> tuple[list[Halted], int]:
    here = [set_aside.c.released_at.is_(None), *sight.narrow_by(set_aside.c.study_instance_uid)]
    whole = sa.func.max(sa.case((set_aside.c.sop_instance_uid == WHOLE, 1), else_=0))
    at = sa.func.max(set_aside.c.at, type_=set_aside.c.at.type)
    found = connection.execute(
        sa.select(
            set_aside.c.study_instance_uid,
            sa.func.max(set_aside.c.code).label("code"),
            sa.case((whole == 1, 0), else_=sa.func.count()).label("images"),
            at.label("at"),
        )
        .where(*here)
        .group_by(set_aside.c.study_instance_uid)
        .order_by(at.desc())
        .limit(limit)
    ).mappings()
    studies_here = sa.func.count(set_aside.c.study_instance_uid.distinct())
    total = connection.execute(sa.select(studies_here).where(*here)).scalar()
    return [Halted(**row) for row in found], total or 0


def _failed(connection: sa.Connection, sight: Sight, limit: int) -> tuple[list[Halted], int]:
    """Analyses that failed; studies that are set aside as a whole stand among those."""
    here = [
        studies.c.state == StudyState.FAILED,
        sa.or_(studies.c.state_reason.is_(None), studies.c.state_reason.not_in(CODES)),
        *sight.narrow(),
    ]
    told = (
        sa.select(sa.func.max(trail.c.at))
        .where(trail.c.study_instance_uid == studies.c.study_instance_uid, trail.c.event == "study_failed")
        .correlate(studies)
        .scalar_subquery()
    )
    at = sa.func.coalesce(told, studies.c.last_received_at, type_=studies.c.last_received_at.type)
    found = connection.execute(
        sa.select(
            studies.c.study_instance_uid,
            sa.func.coalesce(studies.c.state_reason, "").label("code"),
            sa.literal(0).label("images"),
            at.label("at"),
        )
        .where(*here)
        .order_by(studies.c.last_received_at.desc())
        .limit(limit)
    ).mappings()
    total = connection.execute(sa.select(sa.func.count()).select_from(studies).where(*here)).scalar()
    return [Halted(**row) for row in found], total or 0
