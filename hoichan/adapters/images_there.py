"""Whether the images that a report speaks of are at its destination: no viewer is to show a report alone."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.association import Association

from hoichan.adapters.associations import associate, release
from hoichan.adapters.reasons import knock
from hoichan.adapters.tls import client_args
from hoichan.errors import Unreachable
from hoichan.reporting.deliveries import SR_FORMS
from hoichan.settings import DicomDestination
from hoichan.types import Delivery, Document

MOST_ASKED = 20  # of the images that a report speaks of
FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
Images = Mapping[str, Sequence[str]]  # SOP Instance UIDs by their series
Holds = Callable[[str, Images], bool | None]  # of a study; None: the destination cannot tell


class Waiting:
    """How long each delivery has waited for its images; one of each destination, in memory."""

    def __init__(
        self, name: str, longest_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._longest, self._monotonic = name, longest_seconds, monotonic
        self._since: dict[str, float] = {}  # by idempotency key

    def check(self, delivery: Delivery, documents: Sequence[Document], holds: Holds) -> None:
        """Raises Unreachable while the images are not there and the time to wait is not over."""
        if not self._longest:
            return
        now = self._monotonic()
        since = self._since.setdefault(delivery.idempotency_key, now)
        if now - since >= self._longest:
            return
        own = {document.uid for document in documents}
        for study, series in references_of(documents).items():
            asked = _first({uid: [one for one in found if one not in own] for uid, found in series.items()})
            if asked and holds(study, asked) is False:
                raise Unreachable(self._name, "images_not_there")

    def over(self, delivery: Delivery) -> None:
        """The delivery has been made."""
        self._since.pop(delivery.idempotency_key, None)


def _first(images: Images) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    left = MOST_ASKED
    for series, uids in images.items():
        if uids and left:
            found[series] = list(uids[:left])
            left -= len(found[series])
    return found


def references_of(documents: Sequence[Document]) -> dict[str, dict[str, list[str]]]:
    """The instances that reports speak of, by their study and series (PS3.3 C.17.2.3)."""
    found: dict[str, dict[str, list[str]]] = {}
    for document in documents:
        if document.kind not in SR_FORMS:
            continue
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            report = dcmread(BytesIO(document.content))
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ():
            of_study = found.setdefault(str(study.StudyInstanceUID), {})
            for series in study.get("ReferencedSeriesSequence") or ():
                uids = of_study.setdefault(str(series.SeriesInstanceUID), [])
                for reference in series.get("ReferencedSOPSequence") or ():
                    if str(reference.ReferencedSOPInstanceUID) not in uids:
                        uids.append(str(reference.ReferencedSOPInstanceUID))
    return found


class FindScu:
    """Asks a PACS by C-FIND at the level IMAGE (PS3.4 annex C)."""

    def __init__(self, destination: DicomDestination, calling_ae_title: str) -> None:
        self._destination = destination
        self._calling_ae_title = calling_ae_title

    def holds(self, study: str, images: Images) -> bool | None:
        """Whether all of these are there; None where it answers no such question. Raises Unreachable."""
        destination = self._destination
        entity = AE(ae_title=self._calling_ae_title)
        timeout = destination.timeout_seconds
        entity.connection_timeout = entity.acse_timeout = timeout
        entity.dimse_timeout = entity.network_timeout = timeout
        entity.add_requested_context(FIND)
        try:
            tls_args = client_args(destination.tls, destination.host)
        except OSError as error:
            raise Unreachable(destination.name, "the certificates of tls cannot be used") from error
        association = associate(
            entity, destination.host, destination.port, ae_title=destination.ae_title, tls_args=tls_args
        )
        if not association.is_established:
            if association.is_rejected or association.rejected_contexts:
                return None  # what it says to the results is told when they are sent
            knock(  # pynetdicom does not say why
                destination.name, destination.host, destination.port, timeout_seconds=5, tls=destination.tls
            )
            raise Unreachable(destination.name, "no association")
        try:
            for series, uids in images.items():
                there = self._there(association, study, series, uids)
                if there is None or not set(uids) <= there:
                    return None if there is None else False
        except RuntimeError as error:  # it ended meanwhile
            raise Unreachable(destination.name, "association ended") from error
        finally:
            release(association)
        return True

    def _there(
        self, association: Association, study: str, series: str, uids: Sequence[str]
    ) -> set[str] | None:
        question = Dataset()
        question.QueryRetrieveLevel = "IMAGE"
        question.StudyInstanceUID, question.SeriesInstanceUID = study, series
        question.SOPInstanceUID = list(uids)
        found: set[str] = set()
        for answer, image in association.send_c_find(question, FIND):
            if "Status" not in answer:
                raise Unreachable(self._destination.name, "no answer")
            if int(answer.Status) in PENDING:
                found.add(str(image.get("SOPInstanceUID", "")) if image is not None else "")
            elif int(answer.Status) != SUCCESS:
                return None
        return found
