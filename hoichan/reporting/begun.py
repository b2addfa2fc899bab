"""A report that begins with a person: no machine's words are in it, and nothing leaves before a signature.

It stands where the machine's would: a draft is about it, and a signature judges it. It is known by its UID.
"""

from __future__ import annotations

from datetime import datetime

from hoichan import codes
from hoichan.types import Outcome, Report, ReportStatus, SOPInstanceUID, Study
from hoichan.uids import derived_uid

NO_MACHINE = {"vi": "Ca này không có kết quả của máy.", "en": "There is no machine's result of this study."}


def begun_uid(study_instance_uid: str, revision: int) -> SOPInstanceUID:
    """The UID of the report that a person begins about a revision."""
    return SOPInstanceUID(derived_uid("begun by a person", study_instance_uid, revision))


def is_begun(report_uid: str, study_instance_uid: str, revision: int) -> bool:
    """Whether a report began with a person: no receiver has ever seen it."""
    return report_uid == begun_uid(study_instance_uid, revision)


def begun_report(study: Study, now: datetime) -> Report:
    """The empty report; `now` is aware UTC."""
    return Report(
        report_uid=begun_uid(study.study_instance_uid, study.revision),
        study_instance_uid=study.study_instance_uid,
        revision=study.revision,
        status=ReportStatus.UNVERIFIED,
        outcome=Outcome.NOT_ANALYSED,
        findings=(),
        refusals=(),
        manifests=(),
        results=(),
        conclusion=dict(NO_MACHINE),
        disclaimer=dict(codes.FOOTER),
        predecessor=None,
        created_at=now,
    )
