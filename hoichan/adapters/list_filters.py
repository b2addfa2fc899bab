"""What a reader may want of the list besides a state: unread, own drafts, open notices, rejected findings.

A filter narrows the list and orders nothing: what stands in it stands in reading order. Nothing leaves the
list of the unread but by a person's draft or signature; a study without any finding least of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from hoichan.adapters.review_standing import taken_back
from hoichan.adapters.schema import studies
from hoichan.adapters.schema_notices import notices
from hoichan.adapters.schema_reviews import review_drafts, reviews
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.reporting.notices import NoticeState
from hoichan.types import StudyState

REJECTED_WITHIN = timedelta(days=31)  # signatures older than this are not looked through
_REJECTED = '%"verdict": "rejected"%'  # a word of a person is escaped in JSON and cannot read so


class Shown(StrEnum):
    """A choice above the list."""

    UNREAD = "unread"  # no signature stands and nobody has a draft
    MINE = "mine"  # drafts of who asks
    CRITICAL = "critical"  # a critical finding that nobody has acknowledged
    REJECTED = "rejected"  # signed of late, and the reader rejected something the machine said


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for the list, when, and for which choice; None: by state."""

    who: str  # user name
    now: datetime  # aware
    shown: Shown | None = None


def condition(shown: Shown, *, who: str, now: datetime) -> sa.ColumnElement[bool]:
    """What a row of `studies` must fulfil. `who`: user name of the reader."""
    uid = studies.c.study_instance_uid
    match shown:
        case Shown.UNREAD:
            signed = sa.bindparam(None, str(StudyState.SIGNED), sa.String, literal_execute=True)
            drafted = sa.exists().where(review_drafts.c.study_instance_uid == uid)
            return sa.and_(studies.c.state != signed, ~drafted)
        case Shown.MINE:
            own = sa.select(review_drafts.c.study_instance_uid).where(review_drafts.c.author == who)
            return uid.in_(own)
        case Shown.CRITICAL:
            waiting = sa.select(notices.c.study_instance_uid).where(notices.c.state == str(NoticeState.OPEN))
            return uid.in_(waiting)
        case Shown.REJECTED:
            return uid.in_(_rejected(now))


def counts(
    connection: sa.Connection, *, who: str, now: datetime, up_to: int, sight: Sight = EVERYTHING
) -> Mapping[Shown, int]:
    """How many each choice shows, each counted up to a bound."""
    return {
        shown: connection.execute(
            sa.select(sa.func.count()).select_from(
                sa.select(studies.c.study_instance_uid)
                .where(condition(shown, who=who, now=now), *sight.narrow())
                .limit(up_to)
                .subquery()
            )
        ).scalar_one()
        for shown in Shown
    }


def _rejected(now: datetime) -> sa.Select[tuple[str]]:
    """Studies whose last signature rejects a finding."""
    later = reviews.alias("later")
    return sa.select(reviews.c.study_instance_uid).where(
        reviews.c.signed_at > now - REJECTED_WITHIN,
        sa.cast(reviews.c.judgements, sa.Text).like(_REJECTED),
        reviews.c.report_uid.not_in(taken_back()),
        ~sa.exists().where(
            later.c.study_instance_uid == reviews.c.study_instance_uid, later.c.number > reviews.c.number
        ),
    )
