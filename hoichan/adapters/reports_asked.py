"""What is asked about the reports of a study."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema import documents, reports
from hoichan.adapters.schema_orders import retractions
from hoichan.types import ReportStatus, StudyInstanceUID


def told(study: StudyInstanceUID, revision: int) -> sa.Select[Any]:
    """The machine's reports up to a revision with what each replaced, newest first.

    A revision that was analysed again, by other models, has several. A machine never replaces a signed
    report, nor a note that somebody has begun to read, which has no documents.
    """
    return _newest_first(
        sa.select(reports.c.report_uid, reports.c.predecessor).where(reports.c.revision <= revision), study
    )


def answer(study: StudyInstanceUID, revision: int) -> sa.Select[Any]:
    """The machine's newest report of one revision; no row where there is none, or it was taken back."""
    newest = _newest_first(sa.select(reports.c.report_uid).where(reports.c.revision == revision), study)
    return sa.select(reports).where(
        reports.c.report_uid == newest.limit(1).scalar_subquery(),
        reports.c.report_uid.not_in(sa.select(retractions.c.report_uid)),
    )


def _newest_first(wanted: sa.Select[Any], study: StudyInstanceUID) -> sa.Select[Any]:
    return wanted.where(
        reports.c.study_instance_uid == study,
        reports.c.status == ReportStatus.UNVERIFIED,
        sa.exists().where(documents.c.report_uid == reports.c.report_uid),
    ).order_by(reports.c.revision.desc(), reports.c.created_at.desc(), reports.c.report_uid)
