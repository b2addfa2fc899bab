"""The service class provider: five lines a handler, all thought is in the spool and in `hoichan.intake`.

Success is answered after the spool has said that the object is safe on disk. No exception reaches pynetdicom,
which would answer 0xC211 and print it; every failure goes through the table in `dicom_listener.statuses`.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
import uuid
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt

from dicom_listener.senders import is_allowed
from dicom_listener.statuses import REJECTION, SUCCESS, Answer, answer_to, response
from dicom_listener.transport import FilmHandler, FilmServer
from hoichan.errors import ConfigurationError, IntakeError, PortInUse
from hoichan.intake.door import is_uid
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.ports import Spool, Stored
from hoichan.settings import Listener

log = structlog.get_logger()

VERIFICATION = "1.2.840.10008.1.1"
# Where a sender leaves the choice to us, the first that it offers is taken: explicit, because implicit loses
# the VR of private attributes.
SYNTAXES = sorted(ALL_TRANSFER_SYNTAXES, key=lambda uid: uid != EXPLICIT_LITTLE)

_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"  # its event logging formats every message, even when nobody reads it


class Door:
    """Listens from `open` to `close`."""

    def __init__(self, spool: Spool, settings: Listener) -> None:
        self._spool = spool
        self._settings = settings
        self._server: Any = None
        self._associations: dict[Any, str] = {}  # living associations that stored something -> our id
        self._lock = threading.Lock()

    def open(self) -> int:
        """Binds the port and returns it. Raises PortInUse or ConfigurationError."""
        settings = self._settings
        entity = AE(ae_title=settings.ae_title)
        entity.maximum_associations = settings.maximum_associations
        entity.maximum_pdu_size = settings.maximum_pdu_size
        entity.network_timeout = settings.network_timeout_seconds
        entity.acse_timeout = entity.dimse_timeout = min(30, settings.network_timeout_seconds)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), SYNTAXES)
        entity.add_supported_context(VERIFICATION)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_ECHO, _echoed),
            (evt.EVT_C_STORE, self._received),
            (evt.EVT_RELEASED, self._ended),
            (evt.EVT_ABORTED, self._ended),
            (evt.EVT_CONN_CLOSE, self._ended),
        ]
        try:
            self._server = entity.make_server(
                _address(settings.host, settings.port),
                evt_handlers=handlers,
                server_class=FilmServer,
                request_handler=FilmHandler,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse("DICOM listener", settings.host, settings.port) from error
            raise ConfigurationError(
                f"The DICOM listener cannot listen on {settings.host} port {settings.port}: {error.strerror}."
            ) from error
        entity._servers.append(self._server)  # as start_server does: shutdown() asks for it
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="door", daemon=True
        ).start()
        return int(self._server.server_address[1])

    def close(self, *, grace_seconds: float = 2) -> None:
        """Takes no new association, lets running ones end for a moment, then aborts them."""
        if self._server is None:
            return
        server, self._server = self._server, None
        entity = server.ae
        server.shutdown()
        deadline = time.monotonic() + grace_seconds
        living = server.active_associations
        while living and time.monotonic() < deadline:
            living[0].join(timeout=0.05)
            living = server.active_associations
        for association in living:
            association.abort()
        entity.shutdown()

    def _requested(self, event: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Event)
        association = event.assoc
        ae_title = association.requestor.primitive.calling_ae_title
        address = association.requestor.address
        if is_allowed(self._settings.allowed, ae_title=ae_title, address=address):
            return
        log.warning("association_rejected", calling_ae_title=ae_title, address=address)
        association.acse.send_reject(*REJECTION)
        association.kill()  # returns when the rejection is out and the peer has hung up

    def _received(self, event: Any) -> Dataset:  # noqa: ANN401 (an untyped pynetdicom Event)
        started = time.monotonic()
        answer, details = self._store(event)
        details["milliseconds"] = round((time.monotonic() - started) * 1000, 1)
        details["calling_ae_title"] = event.assoc.requestor.ae_title
        if answer.status:
            log.warning("instance_refused", status=f"{answer.status:#06x}", **details)
        else:
            log.info("instance_stored", **details)
        return response(answer)

    def _store(self, event: Any) -> tuple[Answer, dict[str, str | int | float | bool | None]]:  # noqa: ANN401
        request = event.request
        details: dict[str, str | int | float | bool | None] = {}
        try:
            data_set = request.DataSet.getvalue() if request.DataSet else b""
            details["size_bytes"] = len(data_set)
            negotiated = event.context.abstract_syntax
            stored = self._spool.store(
                data_set,
                transfer_syntax_uid=str(event.context.transfer_syntax),
                # a request that is not of its own context fits no data set
                sop_class_uid=str(negotiated) if request.AffectedSOPClassUID == negotiated else "",
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                calling_ae_title=event.assoc.requestor.ae_title,
            )
            if not stored.duplicate and stored.quarantined is None:
                self._mark_open(event.assoc, stored)
        except IntakeError as error:
            details["code"] = error.code
            if is_uid(str(request.AffectedSOPInstanceUID)):
                details["instance"] = str(request.AffectedSOPInstanceUID)
            return answer_to(error), details
        except Exception as error:  # noqa: BLE001 (outermost: pynetdicom would answer 0xC211 and print the text)
            details["error"] = type(error).__name__
            return answer_to(error), details
        details.update(study=stored.study_instance_uid, instance=stored.sop_instance_uid)
        details.update(duplicate=stored.duplicate, quarantined=stored.quarantined)
        return SUCCESS, details

    def _mark_open(self, association: Any, stored: Stored) -> None:  # noqa: ANN401
        """Tells the house that more may come; not for an association whose end was already seen."""
        with self._lock:
            if association.is_established:
                name = self._associations.setdefault(association, uuid.uuid4().hex[:12])
                self._spool.opened(stored.study_instance_uid, name)

    def _ended(self, event: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Event)
        with self._lock:
            name = self._associations.pop(event.assoc, None)
        if name is not None:
            self._spool.released(name)


def _echoed(event: Any) -> int:  # noqa: ANN401 (an untyped pynetdicom Event)
    return SUCCESS.status


def _address(host: str, port: int) -> tuple[str, int]:
    """The numeric address of a host name. Raises ConfigurationError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(f"The DICOM listener's host {host} is unknown: {error.strerror}.") from error
    return str(found[0][4][0]), port
