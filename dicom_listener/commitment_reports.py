"""Reports on storage commitment that we asked for, brought by the PACS itself (PS3.4 J.3.3).

The roles are reversed: who opens the association is the SCP. The report becomes a note for the house before
it is answered. Only a transaction that we began is taken, and only from the PACS that was asked.
"""

from __future__ import annotations

from typing import Any

import structlog

from dicom_listener.statuses import SUCCESS, Answer
from hoichan.intake.commitments import SOP_INSTANCE, expected_from, keep, read_report
from hoichan.intake.dataset import Header
from hoichan.ports import Spool

log = structlog.get_logger()

NO_SUCH_INSTANCE = Answer(status=0x0112, comment="Not the well-known instance of storage commitment")
NO_SUCH_EVENT = Answer(status=0x0113, comment="Only event types 1 and 2 of storage commitment")
INVALID_ARGUMENT = Answer(status=0x0115, comment="No transaction of ours, or no references")


def heard(spool: Spool, request: Any, header: Header, *, ae_title: str) -> Answer:  # noqa: ANN401
    """Answers an N-EVENT-REPORT. Raises SpoolFull: the PACS has to tell it again."""
    if request.AffectedSOPInstanceUID != SOP_INSTANCE:
        return NO_SUCH_INSTANCE
    if request.EventTypeID not in (1, 2):
        return NO_SUCH_EVENT
    report = read_report(header)
    if report is None or expected_from(spool.notes, report.transaction_uid) != ae_title.strip():
        log.warning("commitment_report_refused", calling_ae_title=ae_title)
        return INVALID_ARGUMENT
    keep(spool.notes, report)
    log.info(
        "commitment_report_heard",
        transaction=report.transaction_uid,
        calling_ae_title=ae_title,
        committed=len(report.committed),
        failed=len(report.failed),
    )
    return SUCCESS
