"""Whether the images that a report speaks of are at its destination: no viewer is to show a report alone."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Protocol

from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.association import Association

from hoichan.adapters.associations import associate, release
from hoichan.adapters.reasons import knock
from hoichan.adapters.tls import client_args
from hoichan.errors import Refused, Unreachable
from hoichan.reporting.deliveries import SR_FORMS
from hoichan.settings import DicomDestination, DicomwebDestination
from hoichan.types import Delivery, Document

FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root
MOST_UIDS = 100  # of one question (PS3.4 C.2.2.2.2, list of UIDs)
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
# Why a report waits, and why it is a dead letter once it has waited long enough.
NOT_THERE = "images_not_there"  # the destination says so
NOT_KNOWN = "images_not_known"  # it cannot be asked, and nothing else tells
CAUSES = (NOT_THERE, NOT_KNOWN)
Images = Mapping[str, Sequence[str]]  # SOP Instance UIDs by their series
Holds = Callable[[str, Images], bool | None]  # of a study; None: the destination cannot tell


class Knowledge(Protocol):
    """What else tells that images are at one destination; `hoichan.adapters.images_known.ImagesKnown`."""

    def spoken_of(self, delivery: Delivery) -> Collection[str]:
        """Instances that a former report of the study there speaks of: what corrects it has to follow."""
        ...

    def brought(self, delivery: Delivery) -> Collection[str]:
        """Instances of the study that we stored there ourselves, or that came from there."""
        ...

    def vouched(self, delivery: Delivery, references: Sequence[tuple[str, str]]) -> bool:
        """Whether it takes responsibility for all of these (SOP Class, SOP Instance UID).

        Asks, where that was not asked yet; the answer may come later. Raises Unreachable.
        """
        ...

    def tell(self, delivery: Delivery, event: str, **details: str) -> None:
        """Add a line to the study's trail."""
        ...


class NothingKnown:
    """Only what the destination itself answers counts."""

    def spoken_of(self, delivery: Delivery) -> Collection[str]:
        """None."""
        return ()

    def brought(self, delivery: Delivery) -> Collection[str]:
        """None."""
        return ()

    def vouched(self, delivery: Delivery, references: Sequence[tuple[str, str]]) -> bool:
        """No."""
        return False

    def tell(self, delivery: Delivery, event: str, **details: str) -> None:
        """Nowhere."""


class Waiting:
    """Lets reports go once their images are known to be there; one of each destination.

    How long each has waited is kept in memory: a restart begins anew.
    """

    def __init__(
        self,
        destination: DicomDestination | DicomwebDestination,
        knowledge: Knowledge | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = destination.name
        self._longest = destination.wait_for_images_seconds
        self._assumes = destination.images == "assume" or not self._longest
        self._knowledge = knowledge or NothingKnown()
        self._monotonic = monotonic
        self._since: dict[str, float] = {}  # by idempotency key
        self._told: set[str] = set()

    def check(self, delivery: Delivery, documents: Sequence[Document], holds: Holds) -> None:
        """Raises Unreachable while the images are not known to be there, Refused after the time to wait."""
        asked = images_of(documents)
        if not asked:
            return
        if self._assumes:
            self._tell(delivery, "images_assumed")
            return
        key = delivery.idempotency_key
        since = self._since.setdefault(key, self._monotonic())
        cause = self._lacking(delivery, documents, asked, holds)
        if cause is None:
            return
        if self._monotonic() - since >= self._longest:
            del self._since[key]  # who has it sent again begins another wait
            raise Refused(self._name, cause)
        raise Unreachable(self._name, cause)

    def are_known(self, delivery: Delivery, documents: Sequence[Document], holds: Holds) -> bool:
        """Whether a report that was given up would go now. Raises Unreachable where nobody answers."""
        asked = images_of(documents)
        return self._assumes or not asked or self._lacking(delivery, documents, asked, holds) is None

    def over(self, delivery: Delivery) -> None:
        """The delivery has been made."""
        self._since.pop(delivery.idempotency_key, None)
        self._told.discard(delivery.idempotency_key)

    def _lacking(
        self, delivery: Delivery, documents: Sequence[Document], asked: Mapping[str, Images], holds: Holds
    ) -> str | None:
        for study, images in asked.items():
            told = holds(study, images)
            if told:
                continue
            known, by = set(self._knowledge.spoken_of(delivery)), "former"
            if told is None:
                known, by = known.union(self._knowledge.brought(delivery)), "brought"
            rest = _without(images, known)
            if rest and told is False and (rest == images or not holds(study, rest)):
                return NOT_THERE
            if rest and told is None:
                uids = {uid for found in images.values() for uid in found}
                references = [(of, uid) for uid, of in classes_of(documents).items() if uid in uids]
                if not self._knowledge.vouched(delivery, references):
                    return NOT_KNOWN
                by = "commitment"
            self._tell(delivery, "images_known", by=by)
        return None

    def _tell(self, delivery: Delivery, event: str, **details: str) -> None:
        """Once a delivery: it may be tried again."""
        if delivery.idempotency_key not in self._told:
            self._knowledge.tell(delivery, event, destination=self._name, **details)
            self._told.add(delivery.idempotency_key)


def images_of(documents: Sequence[Document]) -> dict[str, Images]:
    """The images that reports speak of, by study; what goes with the report is not asked for."""
    own = {document.uid for document in documents}
    found = {study: _without(images, own) for study, images in references_of(documents).items()}
    return {study: images for study, images in found.items() if images}


def _without(images: Images, known: Collection[str]) -> dict[str, list[str]]:
    rest = {series: [uid for uid in uids if uid not in known] for series, uids in images.items()}
    return {series: uids for series, uids in rest.items() if uids}


def classes_of(documents: Sequence[Document]) -> dict[str, str]:
    """The SOP Class of each instance that reports speak of."""
    return {
        str(reference.ReferencedSOPInstanceUID): str(reference.ReferencedSOPClassUID)
        for _, _, reference in _references(documents)
    }


def references_of(documents: Sequence[Document]) -> dict[str, dict[str, list[str]]]:
    """The instances that reports speak of, by their study and series (PS3.3 C.17.2.3)."""
    found: dict[str, dict[str, list[str]]] = {}
    for study, series, reference in _references(documents):
        uids = found.setdefault(study, {}).setdefault(series, [])
        if str(reference.ReferencedSOPInstanceUID) not in uids:
            uids.append(str(reference.ReferencedSOPInstanceUID))
    return found


def _references(documents: Sequence[Document]) -> Iterator[tuple[str, str, Dataset]]:
    for document in documents:
        if document.kind not in SR_FORMS:
            continue
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            report = dcmread(BytesIO(document.content))
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ():
            for series in study.get("ReferencedSeriesSequence") or ():
                for reference in series.get("ReferencedSOPSequence") or ():
                    yield str(study.StudyInstanceUID), str(series.SeriesInstanceUID), reference


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
                for start in range(0, len(uids), MOST_UIDS):
                    some = uids[start : start + MOST_UIDS]
                    there = self._there(association, study, series, some)
                    if there is None or not set(some) <= there:
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
