"""Storage commitment as SCP, push model (PS3.4 annex J).

    N-ACTION        the request becomes a note in the spool, then Success is answered
    N-EVENT-REPORT  from a thread of its own: what is filed is committed, what is not is named as failed

The report goes to the requester's `commitment_port` on a new association; where none is configured, through
an association that the requester has open. While it cannot be reached it is tried again, with growing pauses,
for a week. The note is removed when the requester has answered, so a restart loses nothing.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role

from dicom_listener.senders import entry_of
from dicom_listener.statuses import SUCCESS, Answer
from hoichan.adapters.associations import associate, hold_reactor, release
from hoichan.adapters.tls import client_args
from hoichan.errors import SpoolFull
from hoichan.intake.dataset import Header
from hoichan.intake.door import is_uid
from hoichan.ports import Spool
from hoichan.settings import Listener, Sender

log = structlog.get_logger()

SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"  # well-known (PS3.4 J.3.5)
NO_SUCH_ACTION = Answer(status=0x0123, comment="Only action type 1, request storage commitment")
NO_SUCH_INSTANCE = Answer(status=0x0112, comment="Not the well-known instance of storage commitment")
INVALID_ARGUMENT = Answer(status=0x0115, comment="Transaction UID or references missing or malformed")

# Failure Reason (0008,1197), PS3.3 C.14.1.1
NOT_HERE = 0x0112  # no such object instance
OTHER_CLASS = 0x0119  # class / instance conflict
ALL_SAFE, SOME_FAILED = 1, 2  # event types (PS3.4 J.3.3)

_FOLDER = PurePosixPath("commitments")
_TRY_AGAIN = (0x0110, 0x0213)  # answers to a report that may be others next time
_FIRST_DELAY_SECONDS = 0.2  # the requester has our last answer first
_LONGEST_RETRY_SECONDS = 3600
_GIVEN_UP_AFTER = timedelta(days=7)
_CONNECT_SECONDS = 10.0
_REMEMBERED = 50_000  # instances, some 10 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody wants to be sure of."""

    transaction_uid: str  # (0008,1195)
    ae_title: str  # who asked
    address: str  # from where
    references: tuple[tuple[str, str], ...]  # SOP Class UID, SOP Instance UID
    asked_at: datetime  # aware, UTC

    @property
    def path(self) -> PurePosixPath:
        """Its note. Two requesters that use the same UID do not meet."""
        name = hashlib.sha256(f"{self.ae_title}|{self.transaction_uid}".encode()).hexdigest()[:32]
        return _FOLDER / f"{name}.json"


class Commitments:
    """Takes requests, and reports on them from `start` to `stop`."""

    def __init__(self, spool: Spool, settings: Listener) -> None:
        self._spool = spool
        self._settings = settings
        self._open: dict[str, Any] = {}  # AE title -> its association that may carry reports
        self._tries: dict[PurePosixPath, tuple[int, float]] = {}  # note -> failed tries, when to try again
        self._recent: OrderedDict[str, str] = OrderedDict()  # SOP Instance UID -> study, of what came last
        self._changed = threading.Condition()
        self._has_news = False  # since the last round began
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="storage-commitment", daemon=True)

    def start(self) -> None:
        """Begins with what a former process left."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the report that is just being made."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def opened(self, association: Any) -> None:  # noqa: ANN401 (an untyped Association)
        """An association was made; reports may go through it if it has the context for them."""
        if all(context.abstract_syntax != SOP_CLASS for context in association.accepted_contexts):
            return
        hold_reactor(association)
        requestor = association.requestor
        due_at = time.monotonic() + _FIRST_DELAY_SECONDS  # it has our A-ASSOCIATE-AC first
        waiting = dict.fromkeys(self._spool.notes.names(_FOLDER), (0, due_at))
        sender = entry_of(self._settings.allowed, ae_title=requestor.ae_title, address=requestor.address)
        with self._changed:
            self._open[requestor.ae_title] = association
            if sender is not None and sender.commitment_port is None:
                self._tries.update(waiting)  # it may have come for its reports
                self._has_news = True
                self._changed.notify_all()

    def filed(self, instance: str, study: str) -> None:
        """An object came: a question about it needs neither the index nor a look at all studies."""
        self._recent[instance] = study
        if len(self._recent) > _REMEMBERED:
            with suppress(KeyError):  # another thread was first
                self._recent.popitem(last=False)

    def closed(self, association: Any) -> None:  # noqa: ANN401
        """It ended."""
        with self._changed:
            for ae_title in [title for title, known in self._open.items() if known is association]:
                del self._open[ae_title]

    def asked(self, request: Any, header: Header, *, ae_title: str, address: str) -> Answer:  # noqa: ANN401
        """Answers an N-ACTION (PS3.4 J.3.2). Raises SpoolFull: nothing was promised."""
        if request.ActionTypeID != 1:
            return NO_SUCH_ACTION
        if request.RequestedSOPInstanceUID != SOP_INSTANCE:
            return NO_SUCH_INSTANCE
        transaction_uid = header.text("TransactionUID") or ""
        references = tuple(
            (item.text("ReferencedSOPClassUID") or "", item.text("ReferencedSOPInstanceUID") or "")
            for item in header.items("ReferencedSOPSequence")
        )
        if not references or not all(is_uid(uid) for pair in references for uid in (*pair, transaction_uid)):
            return INVALID_ARGUMENT
        self._keep(
            Request(
                transaction_uid=transaction_uid,
                ae_title=ae_title,
                address=address,
                references=references,
                asked_at=datetime.now(UTC),
            )
        )
        return SUCCESS

    def _keep(self, request: Request) -> None:
        self._spool.notes.write(request.path, _to_note(request))
        log.info(
            "commitment_requested",
            transaction=request.transaction_uid,
            calling_ae_title=request.ae_title,
            instances=len(request.references),
        )
        with self._changed:
            self._tries[request.path] = 0, time.monotonic() + _FIRST_DELAY_SECONDS
            self._has_news = True
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with self._changed:
                self._has_news = False
            try:
                wait = self._round()
            except SpoolFull:
                wait = self._settings.commitment_retry_seconds
            with self._changed:  # what was asked during the round is not waited for
                self._changed.wait_for(lambda: self._has_news or self._stopped.is_set(), wait)

    def _round(self) -> float:
        """Tries what is due; returns the seconds until something is again."""
        waits = [60.0]
        for path in self._spool.notes.names(_FOLDER):
            failed, due_at = self._tries.get(path, (0, 0.0))
            if self._stopped.is_set():
                break
            if due_at <= time.monotonic() and self._is_settled(path):
                self._tries.pop(path, None)
                continue
            if due_at <= time.monotonic():
                pause = min(
                    self._settings.commitment_retry_seconds * 2 ** min(failed, 20), _LONGEST_RETRY_SECONDS
                )
                due_at = time.monotonic() + pause
                self._tries[path] = failed + 1, due_at
            waits.append(max(due_at - time.monotonic(), 0.01))
        return min(waits)

    def _is_settled(self, path: PurePosixPath) -> bool:
        try:
            return self._settle(path)
        except Exception as error:  # noqa: BLE001 (outermost: neither the thread nor the next note may suffer)
            log.error("commitment_failed", note=path.stem, error=type(error).__name__)
            return False

    def _settle(self, path: PurePosixPath) -> bool:
        """Whether a request needs no further try: it was reported, or is too old."""
        note = self._spool.notes.read(path)
        if note is None:
            return True
        request = _from_note(note)
        fields = {"transaction": request.transaction_uid, "ae_title": request.ae_title}
        status = self._report(request)
        if status is not None and status not in _TRY_AGAIN:
            log.info("commitment_reported", status=f"{status:#06x}", **fields)
        elif datetime.now(UTC) - request.asked_at > _GIVEN_UP_AFTER:
            log.error("commitment_given_up", **fields)
        else:
            log.warning("commitment_postponed", **fields)
            return False
        self._spool.notes.remove(path)
        return True

    def _report(self, request: Request) -> int | None:
        """The requester's status; None when it could not be reached."""
        senders = self._settings.allowed
        sender = entry_of(senders, ae_title=request.ae_title, address=request.address)
        if sender is not None and sender.commitment_port is not None:
            return self._call(request, sender, sender.commitment_port)
        with self._changed:
            association = self._open.get(request.ae_title)
        return self._send(association, request) if association is not None else None

    def _call(self, request: Request, sender: Sender, port: int) -> int | None:
        """Reports on a new association, on which we keep the role of SCP (PS3.4 J.3.3)."""
        host = sender.commitment_host or request.address
        entity = AE(ae_title=self._settings.ae_title)
        entity.connection_timeout = entity.acse_timeout = _CONNECT_SECONDS
        entity.dimse_timeout = entity.network_timeout = 30
        entity.add_requested_context(SOP_CLASS)
        try:
            association = associate(
                entity,
                host,
                port,
                ae_title=request.ae_title,
                ext_neg=[build_role(SOP_CLASS, scp_role=True)],
                tls_args=client_args(sender.commitment_tls, host),
            )
        except OSError:  # an unknown host, or certificates that cannot be used
            return None
        try:
            return self._send(association, request)
        finally:
            release(association)

    def _send(self, association: Any, request: Request) -> int | None:  # noqa: ANN401
        if not association.is_established:
            return None
        event_type, report = self._judge(request)
        try:
            answer, _ = association.send_n_event_report(report, event_type, SOP_CLASS, SOP_INSTANCE)
        except (RuntimeError, ValueError):  # it ended meanwhile, or the context was not accepted
            return None
        return int(answer.Status) if "Status" in answer else None

    def _located(self, wanted: set[str]) -> Mapping[str, str]:
        """What is filed of it: where it came since the start, and only then wherever it may lie."""
        likely = {study for uid in wanted if (study := self._recent.get(uid)) is not None}
        found = self._spool.locate(wanted, likely) if likely else {}
        rest = wanted - found.keys()
        return {**found, **self._spool.locate(rest)} if rest else found

    def _judge(self, request: Request) -> tuple[int, Dataset]:
        """The event type and its information (PS3.4 table J.3-2): what is filed, and what is not."""
        filed = self._located({uid for _, uid in request.references})
        safe, failed = [], []
        for sop_class, uid in request.references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            if filed.get(uid) == sop_class:
                safe.append(item)
            else:
                item.FailureReason = OTHER_CLASS if uid in filed else NOT_HERE
                failed.append(item)
        log.info("commitment_judged", transaction=request.transaction_uid, safe=len(safe), failed=len(failed))
        report = Dataset()
        report.TransactionUID = request.transaction_uid
        if safe:
            report.ReferencedSOPSequence = safe
        if failed:
            report.FailedSOPSequence = failed
        return (SOME_FAILED if failed else ALL_SAFE), report


def _to_note(request: Request) -> Mapping[str, Any]:
    return {
        "transaction_uid": request.transaction_uid,
        "ae_title": request.ae_title,
        "address": request.address,
        "references": request.references,
        "asked_at": request.asked_at.isoformat(),
    }


def _from_note(note: Mapping[str, Any]) -> Request:
    return Request(
        transaction_uid=note["transaction_uid"],
        ae_title=note["ae_title"],
        address=note["address"],
        references=tuple((sop_class, uid) for sop_class, uid in note["references"]),
        asked_at=datetime.fromisoformat(note["asked_at"]),
    )
