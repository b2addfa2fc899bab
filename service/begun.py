"""Tells the FHIR receivers that somebody has begun to read a machine's report: its Task is `in-progress`."""

from __future__ import annotations

import structlog

from hoichan.adapters.begun_sql import BegunSql
from hoichan.encoding.fhir_parts import Json
from hoichan.encoding.fhir_task import begun_task
from hoichan.errors import ObjectUnknown
from hoichan.ports import Clock
from hoichan.reporting.deliveries import plan_reading
from hoichan.reporting.reviews import Signer
from hoichan.settings import Settings
from hoichan.types import Document, DocumentKind, Report
from hoichan.uids import derived_uuid

log = structlog.get_logger()


class Begun:
    """Says it once a report, at its first draft that is kept. May raise RecordsUnavailable (try again)."""

    def __init__(self, begun: BegunSql, settings: Settings, clock: Clock) -> None:
        self._begun = begun
        self._settings = settings
        self._clock = clock

    def tell(self, report: Report, reader: Signer) -> int:
        """Write it for every receiver that gets Tasks; how many. 0 where all have been told."""
        names = self._begun.untold(report)
        receivers = [one for one in self._settings.effective_destinations if one.name in names]
        document = self._note(report, reader) if receivers else None
        if document is None:
            return 0
        planned = plan_reading(report, receivers, document, self._clock.now())
        if not planned or not self._begun.keep(report, document, planned):
            return 0
        log.info("reading_told", study=report.study_instance_uid, deliveries=len(planned))
        return len(planned)

    def _note(self, report: Report, reader: Signer) -> Document | None:
        """From the machine's bundle as it was kept; None where that is lost, or asked nobody to look."""
        try:
            sent = self._begun.document(report.report_uid, DocumentKind.FHIR)
        except ObjectUnknown:
            log.error("bundle_lost", report=report.report_uid)
            return None
        if sent is None:
            return None
        site = self._settings.site
        doctor: Json = {
            "type": "Practitioner",
            "identifier": {"system": f"{site.identifier_base}/id/licence", "value": reader.licence_number},
            "display": reader.full_name,
        }
        begun_at = self._clock.now().astimezone(site.zone).isoformat(timespec="seconds")
        content = begun_task(
            sent.content, doctor=doctor if reader.licence_number else None, begun_at=begun_at
        )
        if content is None:
            return None
        return Document(
            kind=DocumentKind.FHIR_TASK,
            uid=str(derived_uuid(report.report_uid, "reading")),
            sop_class_uid=None,
            media_type="application/fhir+json",
            content=content,
        )
