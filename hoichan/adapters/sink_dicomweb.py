"""Stores documents in an archive by STOW-RS, one request a delivery (PS3.18 10.5)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import httpx2
from pydicom import Dataset, dcmread

from hoichan.adapters.stow_client import SOP_CLASS_UNKNOWN, Parcel, StowClient, Verdict
from hoichan.errors import Refused, Unreachable
from hoichan.reporting.deliveries import SR_FORMS
from hoichan.settings import DicomwebDestination
from hoichan.types import Delivery, Document

MOST_ASKED = 20  # of the images that a report speaks of


class DicomwebSink:
    """One archive. The same bytes sent again are the same instance there: SOP Instance UIDs are derived."""

    def __init__(
        self,
        destination: DicomwebDestination,
        *,
        transport: httpx2.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._destination = destination
        self._client = StowClient(destination, transport=transport)
        self._monotonic = monotonic
        self._waiting_since: dict[str, float] = {}  # by idempotency key

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Store the documents in the delivery's order; the acknowledgement is the HTTP status.

        Of several SOP classes of the report the first goes that the archive knows. Raises Unreachable (no
        answer, "later", or the images are not there yet: try again) or Refused (never by itself).
        """
        by_kind = {document.kind: document for document in documents}
        ordered = [by_kind[kind] for kind in delivery.documents if kind in by_kind]
        forms = [document for document in ordered if document.kind in SR_FORMS]
        self._wait_for_images(delivery, ordered)
        first = [document for document in ordered if document not in forms[1:]]
        verdicts = self._store(delivery, first)
        for worse, better in zip(forms[1:], forms, strict=False):
            if verdicts[better.uid].reason != SOP_CLASS_UNKNOWN:
                break
            del verdicts[better.uid]
            verdicts |= self._store(delivery, [worse])
        self._waiting_since.pop(delivery.idempotency_key, None)
        return self._told(verdicts)

    def _store(self, delivery: Delivery, documents: Sequence[Document]) -> dict[str, Verdict]:
        parcels = [
            Parcel(sop_instance_uid=one.uid, size_bytes=len(one.content), content=[one.content])
            for one in documents
        ]
        return self._client.store(delivery.study_instance_uid, parcels)

    def _told(self, verdicts: Mapping[str, Verdict]) -> str:
        """The status when all is stored; a refusal weighs more than a "later": somebody must look."""
        failed = [verdict for verdict in verdicts.values() if not verdict.stored]
        for verdict in failed:
            if not verdict.again:
                raise Refused(self._destination.name, verdict.detail)
        if failed:
            raise Unreachable(self._destination.name, failed[0].detail)
        return next((verdict.detail for verdict in verdicts.values()), "nothing")

    def _wait_for_images(self, delivery: Delivery, documents: Sequence[Document]) -> None:
        """Raises Unreachable while the images are not there and the time to wait is not over."""
        longest = self._destination.wait_for_images_seconds
        if not longest:
            return
        now = self._monotonic()
        since = self._waiting_since.setdefault(delivery.idempotency_key, now)
        if now - since >= longest:
            return
        own = {document.uid for document in documents}
        for study, uids in images_of(documents).items():
            asked = [uid for uid in uids if uid not in own][:MOST_ASKED]
            if asked and self._client.holds(study, asked) is False:
                raise Unreachable(self._destination.name, "images_not_there")


def images_of(documents: Sequence[Document]) -> dict[str, list[str]]:
    """The instances that reports speak of, by their study (PS3.3 C.17.2.3)."""
    found: dict[str, list[str]] = {}
    for document in documents:
        if document.kind not in SR_FORMS:
            continue
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            report = dcmread(BytesIO(document.content))
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ():
            uids = found.setdefault(str(study.StudyInstanceUID), [])
            uids += [uid for uid in _references(study) if uid not in uids]
    return found


def _references(study: Dataset) -> list[str]:
    return [
        str(reference.ReferencedSOPInstanceUID)
        for series in study.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedSOPSequence") or ()
    ]
