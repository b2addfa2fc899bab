"""One object between the first fragment of its request and its status; no error gets out of here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress

import structlog

from dicom_listener.lane import StoreRequest
from dicom_listener.statuses import SUCCESS, Answer, answer_to
from hoichan.errors import HoichanError, IntakeError, TooFast
from hoichan.intake.door import is_uid
from hoichan.intake.priors import sent_again
from hoichan.ports import AtRest, Incoming, Spool, Stored

log = structlog.get_logger()

Details = dict[str, str | int | float | bool | None]


class SpoolReception:
    """Takes a data set into the spool. What was refused is read to its end all the same, for the status."""

    def __init__(
        self,
        spool: Spool,
        request: StoreRequest,
        *,
        negotiated: str,
        transfer_syntax_uid: str,
        calling_ae_title: str,
        may_store: Callable[[], bool],
        filed: Callable[[Stored], None],
        told: Callable[[Answer, Details], None],
        at_rest: AtRest = nullcontext,
    ) -> None:
        """`negotiated`: the SOP class of the presentation context.

        `filed`: hears of every new object before its sender does. `told`: hears the answer, and its log line.
        `at_rest`: entered while the disk is waited for.
        """
        self._request = request
        self._calling_ae_title = calling_ae_title
        self._filed = filed
        self._told = told
        self._at_rest = at_rest
        self._started = time.monotonic()
        self._size_bytes = 0
        self._error: Exception | None = None
        self._incoming: Incoming | None = None
        try:
            if not may_store():
                raise TooFast
            self._incoming = spool.receive(
                transfer_syntax_uid=transfer_syntax_uid,
                # a request that is not of its own context fits no data set
                sop_class_uid=negotiated if request.sop_class_uid == negotiated else "",
                sop_instance_uid=request.sop_instance_uid,
                calling_ae_title=calling_ae_title,
            )
        except Exception as error:  # noqa: BLE001 (outermost: pynetdicom would end the association)
            self._error = error

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """The next bytes."""
        self._size_bytes += sum(map(len, pieces))
        if self._error is None and self._incoming is not None:
            try:
                self._incoming.write(pieces)
            except Exception as error:  # noqa: BLE001 (as above)
                self._error = error
                self.drop()

    def end(self) -> Answer:
        """Files the object; the answer is true when this returns."""
        details: Details = {"size_bytes": self._size_bytes}
        answer = self._file(details)
        self._told(answer, details)
        details["milliseconds"] = round((time.monotonic() - self._started) * 1000, 1)
        details["calling_ae_title"] = self._calling_ae_title
        if answer.status:
            log.warning("instance_refused", status=f"{answer.status:#06x}", **details)
        else:
            log.info("instance_stored", **details)
        return answer

    def drop(self) -> None:
        """Leaves nothing of it behind."""
        if self._incoming is not None:
            self._incoming.drop()

    def _file(self, details: Details) -> Answer:
        try:
            if self._error is not None:
                raise self._error
            if self._incoming is None:
                raise RuntimeError("nothing was opened")
            stored = self._incoming.keep(at_rest=self._at_rest)
            if not stored.duplicate and stored.quarantined is None:
                self._filed(stored)
        except IntakeError as error:
            details["code"] = error.code
            if is_uid(self._request.sop_instance_uid):
                details["instance"] = self._request.sop_instance_uid
            return answer_to(error)
        except Exception as error:  # noqa: BLE001 (outermost: pynetdicom would answer 0xC211 and print the text)
            details["error"] = type(error).__name__
            return answer_to(error)
        finally:
            self.drop()
        details.update(study=stored.study_instance_uid, instance=stored.sop_instance_uid)
        details.update(duplicate=stored.duplicate, quarantined=stored.quarantined)
        return SUCCESS


def came_again(spool: Spool, details: Details, *, calling_ae_title: str) -> None:
    """Tells the house that a sender brought what is here already; raises nothing."""
    if details.get("duplicate"):  # it is here: what was promised is done, whatever comes of this
        with suppress(HoichanError, OSError, LookupError, ValueError):
            study, instance = str(details["study"]), str(details["instance"])
            sent_again(spool, study, instance, calling_ae_title=calling_ae_title)
