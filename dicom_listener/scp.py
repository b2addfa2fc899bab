"""The service class provider: five lines a handler, all thought is in the spool and in `hoichan.intake`.

Success is answered after the spool has said that the object is safe on disk. No exception reaches pynetdicom,
which would answer 0xC211 and print it; every failure goes through the table in `dicom_listener.statuses`.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt, register_uid
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.service_class import StorageServiceClass

from dicom_listener import commitment_reports, steps, storage_commitment
from dicom_listener.counting import count_answer, count_rejection
from dicom_listener.lane import StoreRequest
from dicom_listener.limits import Limits, Turns, Waiting
from dicom_listener.processes import Helpers
from dicom_listener.reception import Details, SpoolReception, came_again
from dicom_listener.senders import sender_of
from dicom_listener.statuses import (
    NO_ROOM,
    NO_SUCH_OPERATION,
    NOT_US,
    STRANGER,
    SUCCESS,
    Answer,
    Rejection,
    n_answer_to,
    response,
)
from dicom_listener.storage_commitment import Commitments
from dicom_listener.tls import Credentials
from dicom_listener.transport import FilmHandler, FilmServer
from hoichan.errors import ConfigurationError, HoichanError, PortInUse
from hoichan.intake.dataset import Header, read_header
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.meters import Tally
from hoichan.ports import Spool, Stored
from hoichan.settings import Listener, Sender
from hoichan.types import StudyInstanceUID

log = structlog.get_logger()

VERIFICATION = "1.2.840.10008.1.1"
TURNS = max(2, min(4, os.cpu_count() or 2))  # associations that are worked for at the same moment
REQUEST_SECONDS = 10.0  # who connects has so long to ask for an association (ARTIM, PS3.8 9.1.5)
# Where a sender leaves the choice to us, the first that it offers is taken: explicit, because implicit loses
# the VR of private attributes.
_NOT_OF_PYNETDICOM = ("1.2.840.10008.1.2.1.98",)  # uncompressed in fragments (PS3.5 A.4.11)
SYNTAXES = sorted([*ALL_TRANSFER_SYNTAXES, *_NOT_OF_PYNETDICOM], key=lambda uid: uid != EXPLICIT_LITTLE)
_STORAGE = "1.2.840.10008.5.1.4.1.1"
# Of former editions of PS3.4 table B.5-1: archives still hold them, and earlier studies come from archives.
RETIRED = frozenset(
    [
        *(f"{_STORAGE}.{end}" for end in (3, 5, 6, 8, 9, 10, 11, 129)),
        *(f"{_STORAGE}.{end}" for end in ("9.1", "12.3", "77.1", "77.2", "88.1", "88.2", "88.3", "88.4")),
        *("1.2.840.10008.5.1.4.34.1", "1.2.840.10008.5.1.1.29", "1.2.840.10008.5.1.1.30"),
    ]
)

_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"  # its event logging formats every message, even when nobody reads it


class Door:
    """Listens from `open` to `close`, on the plain port, the TLS port or both."""

    def __init__(
        self,
        spool: Spool,
        settings: Listener,
        tally: Tally | None = None,
        helpers: Helpers | None = None,
    ) -> None:
        """`helpers` take associations of it; without them one process receives for all."""
        self._helpers = helpers
        self._spool = spool
        self._tally = Tally() if tally is None else tally
        self._settings = settings
        self._servers: dict[str, FilmServer] = {}
        self._storage_classes = storage_classes(settings)
        self._limits = Limits(settings.maximum_associations)
        self._waiting = Waiting(
            of_one_address=max(8, settings.maximum_associations),
            in_all=max(32, 4 * settings.maximum_associations),
        )
        self._associations: dict[Any, str] = {}  # living associations that stored something -> our id
        self._lock = threading.Lock()
        self._turns = Turns(TURNS)
        self._commitments = Commitments(spool, settings)

    @property
    def ports(self) -> dict[str, int]:
        """The open ports: "plain", "tls" or both."""
        return {name: int(server.server_address[1]) for name, server in self._servers.items()}

    def open(self) -> int:
        """Binds the ports and returns the plain one, or that of TLS where it is the only one.

        Raises PortInUse, or ConfigurationError for an address or a certificate that cannot be used.
        """
        settings = self._settings
        credentials = Credentials(settings.tls) if settings.tls is not None else None
        entity = self._entity()
        try:
            if settings.plain:
                self._servers["plain"] = self._listen(entity, settings.port)
            if credentials is not None:
                self._servers["tls"] = self._listen(entity, settings.tls_port)
                self._servers["tls"].credentials = credentials
        except ConfigurationError:
            for server in self._servers.values():
                server.server_close()
            self._servers.clear()
            raise
        for name, server in self._servers.items():
            entity._servers.append(server)  # as start_server does: shutdown() asks for it
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.1}, name=f"door-{name}", daemon=True
            ).start()
        self._commitments.start()
        return next(iter(self.ports.values()))

    def _entity(self) -> AE:
        settings = self._settings
        entity = AE(ae_title=settings.ae_title)
        entity.maximum_associations = 1 << 30  # its own count takes in who has only connected; ours does not
        entity.maximum_pdu_size = settings.maximum_pdu_size
        entity.network_timeout = settings.network_timeout_seconds
        entity.acse_timeout = min(REQUEST_SECONDS, settings.network_timeout_seconds)
        entity.dimse_timeout = min(30, settings.network_timeout_seconds)
        for sop_class in sorted(self._storage_classes):
            entity.add_supported_context(sop_class, SYNTAXES)
        for service in (VERIFICATION, steps.MPPS, steps.IAN):
            entity.add_supported_context(service)
        # a PACS that reports on what we asked comes as SCP (PS3.4 J.3.3)
        entity.add_supported_context(storage_commitment.SOP_CLASS, scu_role=True, scp_role=True)
        return entity

    def _listen(self, entity: AE, port: int) -> FilmServer:
        settings = self._settings
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_ECHO, _echoed),
            (evt.EVT_C_STORE, self._received),
            (evt.EVT_N_ACTION, self._commitment_asked),
            (evt.EVT_N_EVENT_REPORT, self._commitment_reported),
            (evt.EVT_N_CREATE, self._step_created),
            (evt.EVT_N_SET, self._step_changed),
            (evt.EVT_N_GET, _not_given_out),
            (evt.EVT_ESTABLISHED, lambda event: self._commitments.opened(event.assoc)),
            (evt.EVT_RELEASED, self._ended),
            (evt.EVT_ABORTED, self._ended),
            (evt.EVT_CONN_CLOSE, self._ended),
        ]
        try:
            server: Any = entity.make_server(
                _address(settings.host, port),
                evt_handlers=handlers,
                server_class=FilmServer,
                request_handler=FilmHandler,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse("DICOM listener", settings.host, port) from error
            raise ConfigurationError(
                f"The DICOM listener cannot listen on {settings.host} port {port}: {error.strerror}."
            ) from error
        server.waiting = self._waiting
        server.begin = self._begin
        server.turns = self._turns
        server.helpers = self._helpers
        server.agreed, server.opened, server.told = self._agreed, self._opened, self._told_away
        server.unmarked = self._spool.unmarked.update
        server.request_seconds = min(REQUEST_SECONDS, settings.network_timeout_seconds)
        return cast(FilmServer, server)

    def close(self, *, grace_seconds: float = 2) -> None:
        """Takes no new association, lets running ones end for a moment, then aborts them."""
        self._commitments.stop()
        servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            server.shutdown()
        deadline = time.monotonic() + grace_seconds
        living = _living(servers)
        while living and time.monotonic() < deadline:
            living[0].join(timeout=0.05)
            living = _living(servers)
        for association in living:
            association.abort()
        for server in servers:
            server.ae.shutdown()
        if self._helpers is not None:
            self._helpers.close()

    def _requested(self, event: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Event)
        association = event.assoc
        request = association.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):  # it only knocked, and hung up again
            return
        association.dul.socket.asked(self._settings.network_timeout_seconds)
        rejection = self._rejection(association, request)
        if rejection is None:
            return
        count_rejection(self._tally, rejection)
        log.warning(
            "association_rejected",
            calling_ae_title=request.calling_ae_title,
            address=association.requestor.address,
            reason=rejection.name,
            certificate=association.certificate.sha256 if association.certificate else None,
        )
        association.acse.send_reject(rejection.result, rejection.source, rejection.reason)
        association.kill()  # returns when the rejection is out and the peer has hung up

    def _rejection(self, association: Any, request: A_ASSOCIATE) -> Rejection | None:  # noqa: ANN401
        """Why an association is not wanted; None, and it is counted, where it is."""
        settings = self._settings
        sender = sender_of(
            settings.allowed,
            ae_title=request.calling_ae_title,
            address=association.requestor.address,
            certificate=association.certificate,
        )
        if sender is None:
            return STRANGER
        if request.called_ae_title.strip() != settings.ae_title:
            if settings.require_called_ae_title:
                return NOT_US
            log.warning(
                "called_ae_title_differs",
                calling_ae_title=request.calling_ae_title,
                called_ae_title=request.called_ae_title,
            )
        return None if self._limits.enter(association, sender) else NO_ROOM

    def _received(self, event: Any) -> Dataset:  # noqa: ANN401 (an untyped pynetdicom Event)
        """A C-STORE that the lane has left for pynetdicom."""
        request = event.request
        asked = StoreRequest(
            context_id=event.context.context_id,
            message_id=request.MessageID,
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
        )
        reception = self._reception(event.assoc, event.context, asked)
        if request.DataSet:
            reception.write([request.DataSet.getvalue()])
        return response(reception.end())

    def _begin(self, association: Any, request: StoreRequest) -> SpoolReception | None:  # noqa: ANN401
        """Opens a reception for the lane; None where the presentation context is not for storage."""
        context = association._accepted_cx.get(request.context_id)
        if context is None or not context.as_scp or str(context.abstract_syntax) not in self._storage_classes:
            return None
        return self._reception(association, context.as_tuple, request)

    def _reception(self, association: Any, context: Any, request: StoreRequest) -> SpoolReception:  # noqa: ANN401
        sender = self._limits.sender(association)
        return SpoolReception(
            self._spool,
            request,
            negotiated=str(context.abstract_syntax),
            transfer_syntax_uid=str(context.transfer_syntax),
            calling_ae_title=association.requestor.ae_title,
            may_store=lambda: sender is None or self._limits.may_store(sender),
            filed=lambda stored: self._mark_open(association, stored),
            at_rest=association.turn.paused,
            told=lambda answer, details: self._told(association, sender, answer, details),
        )

    def _agreed(self, association: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """What a helper has to know; None for a sender whose rate is counted, here."""
        sender = self._limits.sender(association)
        if sender is None or sender.instances_per_minute is not None:
            return None
        contexts = {
            number: (str(context.abstract_syntax), str(context.as_tuple.transfer_syntax))
            for number, context in association._accepted_cx.items()
            if context.as_scp and str(context.abstract_syntax) in self._storage_classes
        }
        return {
            "title": association.requestor.ae_title,
            "contexts": contexts,
            "unmarked": sorted(self._spool.unmarked),
        }

    def _opened(self, association: Any, study: str) -> bool:  # noqa: ANN401
        """Marks a study that a helper's association sends into; False where the disk refuses."""
        try:
            self._mark(association, StudyInstanceUID(study))
        except (HoichanError, OSError):
            return False
        return True

    def _told_away(self, association: Any, answer: Answer, details: Details) -> None:  # noqa: ANN401
        """What a helper answered."""
        count_answer(self._tally, self._limits.sender(association), answer, details)
        if not (answer.status or details.get("duplicate") or details.get("quarantined")):
            self._commitments.filed(str(details["instance"]), str(details["study"]))

    def _told(self, association: Any, sender: Sender | None, answer: Answer, details: Details) -> None:  # noqa: ANN401
        count_answer(self._tally, sender, answer, details)
        came_again(self._spool, details, calling_ae_title=association.requestor.ae_title)

    def _mark_open(self, association: Any, stored: Stored) -> None:  # noqa: ANN401
        """Tells the house that more may come; not for an association whose end was already seen."""
        self._commitments.filed(stored.sop_instance_uid, stored.study_instance_uid)
        self._mark(association, stored.study_instance_uid)

    def _mark(self, association: Any, study: StudyInstanceUID) -> None:  # noqa: ANN401
        with self._lock:
            if not (association.is_released or association.is_aborted):
                name = self._associations.get(association)
                if name is None:
                    name = self._associations[association] = uuid.uuid4().hex[:12]
                self._spool.opened(study, name)

    def _commitment_asked(self, event: Any) -> tuple[Dataset, None]:  # noqa: ANN401
        requestor = event.assoc.requestor
        return _answered(
            event,
            event.request.ActionInformation,
            lambda header: self._commitments.asked(
                event.request, header, ae_title=requestor.ae_title, address=requestor.address
            ),
        )

    def _commitment_reported(self, event: Any) -> tuple[Dataset, None]:  # noqa: ANN401
        request, ae_title = event.request, event.assoc.requestor.ae_title
        return _answered(
            event,
            request.EventInformation,
            lambda header: commitment_reports.heard(self._spool, request, header, ae_title=ae_title),
        )

    def _step_created(self, event: Any) -> tuple[Dataset, None]:  # noqa: ANN401
        request = event.request
        return _answered(
            event, request.AttributeList, lambda header: steps.created(self._spool, request, header)
        )

    def _step_changed(self, event: Any) -> tuple[Dataset, None]:  # noqa: ANN401
        request = event.request
        return _answered(
            event, request.ModificationList, lambda header: steps.changed(self._spool, request, header)
        )

    def _ended(self, event: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Event)
        event.assoc.dul.socket.gone()
        self._limits.leave(event.assoc)
        self._commitments.closed(event.assoc)
        with self._lock:
            name = self._associations.pop(event.assoc, None)
        if name is not None:
            self._spool.released(name)


def _answered(
    event: Any,  # noqa: ANN401 (an untyped pynetdicom Event)
    data_set: BytesIO | None,
    work: Callable[[Header], Answer],
) -> tuple[Dataset, None]:
    """The response to a DIMSE-N request; like `_store` it lets no error out."""
    try:
        syntax = str(event.context.transfer_syntax)
        answer = work(read_header(data_set.getvalue() if data_set else b"", syntax))
    except Exception as error:  # noqa: BLE001 (outermost: pynetdicom would print the text)
        answer = n_answer_to(error)
        log.warning("request_failed", error=type(error).__name__, status=f"{answer.status:#06x}")
    return response(answer), None


def storage_classes(settings: Listener) -> frozenset[str]:
    """Every SOP class that may be stored: the standard's, retired ones too, and the settings' private ones.

    Not those of non-patient objects (PS3.4 annex GG): a hanging protocol or a palette belongs to no study.
    """
    for uid in RETIRED.union(settings.private_sop_classes):
        register_uid(uid, f"Storage_{uid.replace('.', '_')}", StorageServiceClass)
    standard = (str(context.abstract_syntax) for context in AllStoragePresentationContexts)
    return RETIRED.union(standard, settings.private_sop_classes)


def _living(servers: list[FilmServer]) -> list[Any]:
    return [association for server in servers for association in server.active_associations]


def _not_given_out(event: Any) -> tuple[Dataset, None]:  # noqa: ANN401 (an untyped pynetdicom Event)
    """Steps are retrieved through a SOP class of their own (PS3.4 F.8), which is not served."""
    return response(NO_SUCH_OPERATION), None


def _echoed(event: Any) -> int:  # noqa: ANN401 (an untyped pynetdicom Event)
    return SUCCESS.status


def _address(host: str, port: int) -> tuple[str, int]:
    """The numeric address of a host name. Raises ConfigurationError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(f"The DICOM listener's host {host} is unknown: {error.strerror}.") from error
    return str(found[0][4][0]), port
