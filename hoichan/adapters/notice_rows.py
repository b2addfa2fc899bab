"""Notices and their tellings as the tables hold them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema import studies
from hoichan.adapters.schema_front_door import rejected_reports
from hoichan.adapters.schema_notices import notice_tellings, notices
from hoichan.adapters.sight import Sight
from hoichan.reporting.notices import NoticeState
from hoichan.types import SOPInstanceUID, StudyInstanceUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A critical finding that people are told."""

    number: int
    study_instance_uid: StudyInstanceUID
    report_uid: SOPInstanceUID
    confirmed: bool  # by a signature
    critical: tuple[str, ...]  # keys of findings; (): the doctor withdrew what was told
    state: NoticeState
    born_at: datetime
    calling_ae_title: str  # of the study
    taken_back: bool = False  # a rejection note named the machine's report

    @property
    def is_withdrawal(self) -> bool:
        """Whether it says that a finding which was told does not stand any more."""
        return not self.critical


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One notice at one channel."""

    notice: Notice
    channel: str
    attempts: int
    next_attempt_at: datetime
    told_at: datetime | None
    detail: str


def seen(sight: Sight) -> sa.Select[tuple[object, ...]]:
    """The notices of the studies that may be seen."""
    return (
        sa.select(notices, studies.c.calling_ae_title, _noted())
        .join(studies, studies.c.study_instance_uid == notices.c.study_instance_uid)
        .where(*sight.narrow())
    )


def tellings() -> sa.Select[tuple[object, ...]]:
    """Every telling, with its notice."""
    told = [column for column in notice_tellings.c if column.name != "number"]
    return (
        sa.select(notices, studies.c.calling_ae_title, _noted(), *told)
        .join(notice_tellings, notice_tellings.c.number == notices.c.number)
        .join(studies, studies.c.study_instance_uid == notices.c.study_instance_uid)
    )


def _noted() -> sa.ColumnElement[bool]:
    named = rejected_reports.c.report_uid == notices.c.report_uid
    return sa.and_(~notices.c.confirmed, sa.exists().where(named)).label("taken_back")


def notice_of(row: rows.Row) -> Notice:
    """From a row of `seen` or `tellings`."""
    return Notice(
        number=row["number"],
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        report_uid=SOPInstanceUID(row["report_uid"]),
        confirmed=bool(row["confirmed"]),
        critical=tuple(row["critical"]),
        state=NoticeState(row["state"]),
        born_at=row["born_at"],
        calling_ae_title=row["calling_ae_title"],
        taken_back=bool(row["taken_back"]),
    )


def telling_of(row: rows.Row) -> Telling:
    """From a row of `tellings`."""
    return Telling(
        notice=notice_of(row),
        channel=row["channel"],
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        told_at=row["told_at"],
        detail=row["detail"],
    )
