"""What is asked about the reports of a study."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema import documents, reports
from hoichan.types import ReportStatus, StudyInstanceUID


def told(study: StudyInstanceUID, revision: int) -> sa.Select[Any]:
    """The machine's reports up to a revision with what each replaced, newest first.

    A revision that was analysed again, by other models, has several. A machine never replaces a signed
    report, nor a note that somebody has begun to read, which has no documents.
    """
    return (
        sa.select(reports.c.report_uid, reports.c.predecessor)
        .where(
            reports.c.study_instance_uid == study,
            reports.c.revision <= revision,
            reports.c.status == ReportStatus.UNVERIFIED,
            sa.exists().where(documents.c.report_uid == reports.c.report_uid),
        )
        .order_by(reports.c.revision.desc(), reports.c.created_at.desc(), reports.c.report_uid)
    )
