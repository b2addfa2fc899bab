"""Sends documents to a PACS by C-STORE, one association a delivery, plain or TLS (PS3.4 B.2)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from hoichan.adapters.associations import associate, release
from hoichan.adapters.images_there import FindScu, Knowledge, Waiting
from hoichan.adapters.reasons import knock
from hoichan.adapters.tls import client_args
from hoichan.encoding.picture import decompress, is_compressed
from hoichan.errors import Refused, Unreachable
from hoichan.reporting.deliveries import SR_FORMS
from hoichan.settings import DicomDestination
from hoichan.types import Delivery, Document, DocumentKind

SUCCESS = 0x0000
NO_STATUS = -1
SOP_CLASS_NOT_SUPPORTED = "0x0122"
OUT_OF_RESOURCES = range(0xA700, 0xA800)
WARNINGS = range(0xB000, 0xC000)  # stored, with a remark
# Failures that another try can mend (PS3.4 table B.2-1, PS3.7 annex C): resource limitation, and cancelled.
PASSING = frozenset({0x0213, 0xFE00})
REJECTED_TRANSIENT = 0x02  # PS3.8 9.3.4, result of an A-ASSOCIATE-RJ


class DimseSink:
    """One PACS. The same bytes sent again are the same instance there: SOP Instance UIDs are derived."""

    def __init__(
        self,
        destination: DicomDestination,
        calling_ae_title: str,
        *,
        knowledge: Knowledge | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._destination = destination
        self._calling_ae_title = destination.calling_ae_title or calling_ae_title
        self._waiting = Waiting(destination, knowledge, monotonic)
        self._asking = FindScu(destination, self._calling_ae_title)

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """C-STORE each document in the delivery's order; "0x0000" when all are stored.

        Raises Unreachable (no association, no answer, 0xA7xx, or the images are not known to be there yet:
        try again) or Refused (any other status, a presentation context that was not accepted, or the images
        did not become known in time: never by itself).
        """
        self._waiting.check(delivery, _ordered(delivery, documents), self._asking.holds)
        data_sets = [(document.kind, _read(document)) for document in _ordered(delivery, documents)]
        association = self._associate([data_set for _, data_set in data_sets])
        forms = _forms(data_sets, association)
        try:
            for kind, data_set in data_sets:
                if kind not in SR_FORMS:
                    self._store(association, data_set)
                elif kind is forms[0]:
                    self._store_form(association, [one for form, one in data_sets if form in forms])
        finally:
            release(association)
        self._waiting.over(delivery)
        return f"0x{SUCCESS:04X}"

    def images_are_known(self, delivery: Delivery, documents: Sequence[Document]) -> bool:
        """Whether the images of a report that was given up are known to be there. Raises Unreachable."""
        return self._waiting.are_known(delivery, _ordered(delivery, documents), self._asking.holds)

    def _associate(self, data_sets: Sequence[Dataset]) -> Association:
        timeout = self._destination.timeout_seconds
        ae = AE(ae_title=self._calling_ae_title)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout
        for sop_class, syntax in dict.fromkeys(
            (data_set.SOPClassUID, syntax) for data_set in data_sets for syntax in _syntaxes(data_set)
        ):
            ae.add_requested_context(sop_class, syntax)
        destination = self._destination
        try:
            tls_args = client_args(destination.tls, destination.host)
        except OSError as error:
            raise Unreachable(destination.name, "the certificates of tls cannot be used") from error
        association: Association = associate(
            ae, destination.host, destination.port, ae_title=destination.ae_title, tls_args=tls_args
        )
        if association.is_established:
            return association
        self._raise_no_association(association)
        knock(  # pynetdicom does not say why
            destination.name, destination.host, destination.port, timeout_seconds=5, tls=destination.tls
        )
        raise Unreachable(destination.name, "no association")

    def _raise_no_association(self, association: Association) -> None:
        """Refused when the peer said a lasting no; everything else may pass."""
        if association.is_rejected:
            answer = association.acceptor.primitive
            if answer is not None and answer.result != REJECTED_TRANSIENT:
                raise Refused(
                    self._destination.name,
                    f"association rejected (source {answer.result_source}, reason {answer.diagnostic})",
                )
        elif association.rejected_contexts and not association.accepted_contexts:
            raise Refused(self._destination.name, "no presentation context accepted")

    def _store_form(self, association: Association, forms: Sequence[Dataset]) -> None:
        """One of the forms of the SR: some peers accept a context and refuse its SOP class when it comes."""
        *better, last = forms
        for data_set in better:
            try:
                self._store(association, data_set)
                return
            except Refused as error:
                if error.status != SOP_CLASS_NOT_SUPPORTED:
                    raise
        self._store(association, last)

    def _store(self, association: Association, data_set: Dataset) -> None:
        if not association.is_established:
            raise Unreachable(self._destination.name, "association ended")
        accepted = [
            context.transfer_syntax[0]
            for context in association.accepted_contexts
            if context.abstract_syntax == data_set.SOPClassUID
        ]
        if not accepted:
            raise Refused(self._destination.name, f"SOP class {data_set.SOPClassUID} not accepted")
        if is_compressed(data_set) and data_set.file_meta.TransferSyntaxUID not in accepted:
            decompress(data_set)
        try:
            answer = association.send_c_store(data_set)
        except RuntimeError as error:  # the peer went away between two objects
            raise Unreachable(self._destination.name, "association ended") from error
        except ValueError:  # the text may quote the data set
            raise Refused(self._destination.name, "the object cannot be encoded") from None
        status = int(answer.Status) if "Status" in answer else NO_STATUS
        if status == SUCCESS or status in WARNINGS:
            return
        if status == NO_STATUS or status in OUT_OF_RESOURCES or status in PASSING:
            detail = "no answer" if status == NO_STATUS else f"0x{status:04X}"
            raise Unreachable(self._destination.name, detail)
        raise Refused(self._destination.name, f"0x{status:04X}")


def _forms(data_sets: Sequence[tuple[DocumentKind, Dataset]], association: Association) -> list[DocumentKind]:
    """The forms of the SR that the peer accepted, the best first; else the first alone, to be refused."""
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    classes = {kind: data_set.SOPClassUID for kind, data_set in data_sets}
    forms = [kind for kind in SR_FORMS if kind in classes]
    return [kind for kind in forms if classes[kind] in accepted] or forms[:1]


def _syntaxes(data_set: Dataset) -> tuple[str, ...]:
    """Of a picture two: the peer may take no JPEG."""
    own = data_set.file_meta.TransferSyntaxUID
    return (own, ExplicitVRLittleEndian) if is_compressed(data_set) else (own,)


def _ordered(delivery: Delivery, documents: Sequence[Document]) -> list[Document]:
    return [document for kind in delivery.documents for document in documents if document.kind is kind]


def _read(document: Document) -> Dataset:
    with warnings.catch_warnings():  # pydicom's warnings quote the data set
        warnings.simplefilter("ignore")
        return dcmread(BytesIO(document.content))
