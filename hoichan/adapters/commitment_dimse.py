"""Asks a PACS to take responsibility for objects, as SCU of storage commitment (PS3.4 annex J, push model).

The report may come on the association of the question, or later on one that the PACS opens to our door. Here
we only wait a moment for the first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.pdu import P_DATA_TF

from hoichan.adapters.associations import associate, release
from hoichan.adapters.tls import client_args
from hoichan.errors import NotDicom, Refused, Unreachable
from hoichan.intake.commitments import (
    PROCESSING_FAILURE,
    SOP_CLASS,
    SOP_INSTANCE,
    CommitmentReport,
    read_report,
)
from hoichan.intake.dataset import read_header
from hoichan.settings import DicomDestination

SUCCESS = 0x0000
INVALID_ARGUMENT = 0x0115
PASSING = frozenset({0x0110, 0x0131, 0x0213})  # failures that another question can mend (PS3.7 annex C)
REQUEST_COMMITMENT = 1  # action type (PS3.4 J.3.2)
WAIT_SECONDS = 1.0  # for a report on the same association
ANSWER_SECONDS = 10.0  # to answer one
Hear = Callable[[CommitmentReport], None]


class CommitmentScu:
    """One PACS."""

    def __init__(
        self, destination: DicomDestination, calling_ae_title: str, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._destination = destination
        self._calling_ae_title = destination.calling_ae_title or calling_ae_title
        self._wait_seconds = wait_seconds

    def ask(self, transaction_uid: str, references: Sequence[tuple[str, str]], *, hear: Hear) -> None:
        """N-ACTION over (SOP Class UID, SOP Instance UID); `hear` gets a report that comes at once.

        `hear` is called from another thread, and the PACS is answered after it has returned. Raises
        Unreachable (no association, no answer, a status that may pass) or Refused (any other).
        """
        exchange = _Exchange(hear)
        association = self._associate(exchange.handlers)
        try:
            self._request(association, transaction_uid, references)
            exchange.heard.wait(self._wait_seconds)
        finally:
            exchange.end(association)

    def _associate(self, handlers: list[Any]) -> Any:  # noqa: ANN401 (an untyped Association)
        destination = self._destination
        entity = AE(ae_title=self._calling_ae_title)
        timeout = destination.timeout_seconds
        entity.connection_timeout = entity.acse_timeout = timeout
        entity.dimse_timeout = entity.network_timeout = timeout
        entity.add_requested_context(SOP_CLASS)
        try:
            tls_args = client_args(destination.tls, destination.host)
        except OSError as error:
            raise Unreachable(destination.name, "the certificates of tls cannot be used") from error
        association = associate(
            entity,
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            tls_args=tls_args,
            evt_handlers=handlers,
        )
        if association.is_established:
            return association
        if association.rejected_contexts and not association.accepted_contexts:
            raise Refused(destination.name, "storage commitment not accepted")
        raise Unreachable(destination.name, "no association")

    def _request(
        self,
        association: Any,  # noqa: ANN401
        transaction_uid: str,
        references: Sequence[tuple[str, str]],
    ) -> None:
        question = Dataset()
        question.TransactionUID = transaction_uid
        question.ReferencedSOPSequence = [_item(sop_class, uid) for sop_class, uid in references]
        try:
            answer, _ = association.send_n_action(question, REQUEST_COMMITMENT, SOP_CLASS, SOP_INSTANCE)
        except RuntimeError as error:
            raise Unreachable(self._destination.name, "association ended") from error
        except ValueError:
            raise Refused(self._destination.name, "storage commitment not accepted") from None
        if "Status" not in answer:
            raise Unreachable(self._destination.name, "no answer")
        status = int(answer.Status)
        if status in PASSING:
            raise Unreachable(self._destination.name, f"0x{status:04X}")
        if status != SUCCESS:
            raise Refused(self._destination.name, f"0x{status:04X}")


class _Exchange:
    """Hears reports on one association, and ends it between two of them.

    pynetdicom hangs for ever where a release goes out while a report is being answered. It tells of a message
    as sent before its bytes go: only the data after that are the answer.
    """

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._turn = threading.Lock()  # from the arrival of a report to its answer, or over the release
        self._answering = False
        self.heard = threading.Event()
        self.handlers: list[Any] = [
            (evt.EVT_N_EVENT_REPORT, self._reported),
            (evt.EVT_DIMSE_SENT, self._answered),
            (evt.EVT_PDU_SENT, self._sent),
        ]

    def end(self, association: Any) -> None:  # noqa: ANN401 (an untyped Association)
        """Releases the association, or aborts it where an answer does not get out."""
        if self._turn.acquire(timeout=ANSWER_SECONDS):
            try:
                release(association)
            finally:
                self._turn.release()
        else:
            association.abort()

    def _reported(self, event: Any) -> tuple[int, None]:  # noqa: ANN401 (an untyped pynetdicom Event)
        if not self._turn.acquire(timeout=ANSWER_SECONDS) or not event.assoc.is_established:
            return PROCESSING_FAILURE, None  # nobody hears this any more; the PACS will tell again
        try:
            report = _report(event)
            if report is None:
                return INVALID_ARGUMENT, None
            self._hear(report)
        except Exception:  # noqa: BLE001 (outermost: pynetdicom would print the text; it may come again)
            return PROCESSING_FAILURE, None
        return SUCCESS, None

    def _answered(self, event: Any) -> None:  # noqa: ANN401
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            self._answering = True

    def _sent(self, event: Any) -> None:  # noqa: ANN401
        if self._answering and isinstance(event.pdu, P_DATA_TF):
            self._answering = False
            with suppress(RuntimeError):  # taken over by `end`
                self._turn.release()
            self.heard.set()


def _item(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _report(event: Any) -> CommitmentReport | None:  # noqa: ANN401
    """What an N-EVENT-REPORT says; None when it says nothing that can be understood."""
    information = event.request.EventInformation
    try:
        return read_report(
            read_header(information.getvalue() if information else b"", str(event.context.transfer_syntax))
        )
    except NotDicom:
        return None
