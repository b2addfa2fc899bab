"""Stores documents in an archive by STOW-RS, one request a delivery (PS3.18 10.5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import httpx2

from hoichan.adapters.images_there import Images, Knowledge, Waiting
from hoichan.adapters.stow_client import SOP_CLASS_UNKNOWN, Parcel, StowClient, Verdict
from hoichan.encoding.picture import uncompressed
from hoichan.errors import Refused, Unreachable
from hoichan.reporting.deliveries import SR_FORMS
from hoichan.settings import DicomwebDestination
from hoichan.types import Delivery, Document, DocumentKind


class DicomwebSink:
    """One archive. The same bytes sent again are the same instance there: SOP Instance UIDs are derived."""

    def __init__(
        self,
        destination: DicomwebDestination,
        *,
        knowledge: Knowledge | None = None,
        transport: httpx2.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._destination = destination
        self._client = StowClient(destination, transport=transport)
        self._waiting = Waiting(destination, knowledge, monotonic)

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Store the documents in the delivery's order; the acknowledgement is the HTTP status.

        Of several SOP classes of the report the first goes that the archive knows. Raises Unreachable (no
        answer, "later", or the images are not known to be there yet: try again) or Refused (never by itself).
        """
        ordered = _ordered(delivery, documents)
        forms = [document for document in ordered if document.kind in SR_FORMS]
        self._waiting.check(delivery, ordered, self._holds)
        first = [document for document in ordered if document not in forms[1:]]
        verdicts = self._store(delivery, first)
        for worse, better in zip(forms[1:], forms, strict=False):
            if verdicts[better.uid].reason != SOP_CLASS_UNKNOWN:
                break
            del verdicts[better.uid]
            verdicts |= self._store(delivery, [worse])
        verdicts |= self._without_jpeg(delivery, [one for one in ordered if one.uid in verdicts], verdicts)
        self._waiting.over(delivery)
        return self._told(verdicts)

    def images_are_known(self, delivery: Delivery, documents: Sequence[Document]) -> bool:
        """Whether the images of a report that was given up are known to be there. Raises Unreachable."""
        return self._waiting.are_known(delivery, _ordered(delivery, documents), self._holds)

    def _without_jpeg(
        self, delivery: Delivery, documents: Sequence[Document], verdicts: Mapping[str, Verdict]
    ) -> dict[str, Verdict]:
        """What was refused, once more with its pictures laid open: some archives take no JPEG.

        Such an archive may refuse the whole request for a picture (415), or name the picture only.
        """
        refused = [one for one in documents if not (verdicts[one.uid].stored or verdicts[one.uid].again)]
        if all(one.kind is not DocumentKind.SC for one in refused):
            return {}
        open_ones = [
            replace(one, content=uncompressed(one.content)) if one.kind is DocumentKind.SC else one
            for one in refused
        ]
        if open_ones == refused:
            return {}
        return self._store(delivery, open_ones)

    def _store(self, delivery: Delivery, documents: Sequence[Document]) -> dict[str, Verdict]:
        parcels = [
            Parcel(sop_instance_uid=one.uid, size_bytes=len(one.content), content=[one.content])
            for one in documents
        ]
        return self._client.store(delivery.study_instance_uid, parcels)

    def _holds(self, study: str, images: Images) -> bool | None:
        return self._client.holds(study, images)

    def _told(self, verdicts: Mapping[str, Verdict]) -> str:
        """The status when all is stored; a refusal weighs more than a "later": somebody must look."""
        failed = [verdict for verdict in verdicts.values() if not verdict.stored]
        for verdict in failed:
            if not verdict.again:
                raise Refused(self._destination.name, verdict.detail)
        if failed:
            raise Unreachable(self._destination.name, failed[0].detail)
        return next((verdict.detail for verdict in verdicts.values()), "nothing")


def _ordered(delivery: Delivery, documents: Sequence[Document]) -> list[Document]:
    return [one for kind in delivery.documents for one in documents if one.kind is kind]
