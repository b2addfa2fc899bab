"""The receiving side of an association, made for films: it waits for events instead of polling.

pynetdicom looks every millisecond whether something has happened, in two threads an association, and reads
4 KiB at a time: 2,500 turns of the interpreter for one film, and on a busy machine a pause at every step.
Here the network thread sleeps until the peer or our own answer wakes it, and reads what is there in one go.

TLS is agreed upon in the connection's own thread, so that a peer that is slow at it holds nobody else up. Who
connects has a few seconds to ask for an association; connections that wait so are counted, not served.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, cast

import structlog
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_listener.lane import EchoRequest, Lane, Reception, Step, StoreRequest
from dicom_listener.limits import Turn, Turns, Waiting
from dicom_listener.processes import Away, Helpers
from dicom_listener.provider import FilmProvider
from dicom_listener.queues import PATIENCE_SECONDS, Bell, PatientQueue, RingingQueue, WakingQueue
from dicom_listener.reception import Details
from dicom_listener.statuses import Answer
from dicom_listener.tls import Credentials, certificate_of

log = structlog.get_logger()

_RECEIVE_BUFFER = 1 << 20  # bytes; what a PDU may claim before it has sent anything
_IDLE_SECONDS = 0.001
_TURN_BYTES = 1 << 22  # of one association, before others have their turn


class FilmSocket(AssociationSocket):
    """An association's socket that wakes its thread and reads straight into its buffer."""

    bell: Bell
    bells: FilmServer
    lane: Lane
    turn: Turn
    away: Away | None = None  # a helper has it
    is_counted = False  # among those that store here
    deadline: float | None = None  # monotonic; until the association is asked for

    @property
    def ready(self) -> bool:
        """Whether there is a PDU for pynetdicom; waits a moment for one, or for an answer of ours to send.

        What the lane takes for itself is done in here, in the thread that serves the connection.
        """
        if self.socket is None or not self._is_connected:
            time.sleep(_IDLE_SECONDS)  # about to end
            return False
        if self.away is not None and not self._is_back():
            return False
        if not self._is_in_use() or (self.lane.response and not self._answered()):
            return bool(self.lane.unread) or self._is_readable()
        while True:
            try:
                with self.turn if self.lane.has_stored else nullcontext():
                    step = self._take_up()
            except OSError:
                self.event_queue.put("Evt17")
                return False
            if step is Step.OTHER:
                return True
            if step is Step.BROKEN:
                self.lane.forget()
                self.event_queue.put("Evt19")  # invalid PDU, PS3.8 table 9-10
                return False
            if step is Step.DONE and not self._answered():
                return False
            if step is Step.DONE and self.lane.has_stored:
                self._share()
            if self.away is not None:
                return False
            if not self.assoc.dul.to_provider_queue.empty():
                return False  # something of ours is waiting to go out, maybe an abort
            if step is Step.MORE and not self._is_readable():
                return False

    def _share(self) -> None:
        """Between two objects: has a helper go on, where more store here than there."""
        helpers = self.bells.helpers
        if helpers is None or self.socket is None:
            return
        if not self.is_counted:
            self.is_counted = True
            helpers.count(1)
        if not helpers.has_room or isinstance(self.socket, ssl.SSLSocket):
            return
        agreed = self.bells.agreed(self.assoc)
        if agreed is not None and self.assoc.dul.to_provider_queue.empty():
            self.away = helpers.take(self.socket, agreed, self.lane.unread_bytes)
        if self.away is not None:
            self.is_counted = False
            self.lane.forget()

    def _is_back(self) -> bool:
        """Whether the helper has given it back; waits a moment for what it says."""
        away, assoc = self.away, self.assoc
        if away is None or not self._is_in_use():
            self.give_up()
            return True
        if self.bells.helpers is not None and self.bells.helpers.is_crowded:
            with suppress(OSError):  # the next look finds out
                away.call_back()
        try:
            both: list[Any] = [away, self.bell]
            readable, _, _ = select.select(both, [], [], PATIENCE_SECONDS)
            if self.bell in readable:
                self.bell.hush()
            if away not in readable:
                return False
            back = away.hear(
                partial(self.bells.opened, assoc), partial(self.bells.told, assoc), self.bells.unmarked
            )
        except (EOFError, OSError, ValueError):  # it died in the middle of something
            log.warning("helper_lost", address=assoc.requestor.address)
            self.give_up()
            self.event_queue.put("Evt19")  # has the peer hear an abort, and try again
            return False
        assoc.dul._idle_timer.restart()
        if back is None:
            return False
        step, unread = back
        self.away = None
        self.is_counted = True
        if self.bells.helpers is not None:
            self.bells.helpers.count(1)
        self.lane.put(unread)
        if step is Step.BROKEN:
            self.lane.forget()
            self.event_queue.put("Evt19")
        return step is not Step.BROKEN

    def is_kept_from(self, provider: FilmProvider) -> bool:
        """Whether a helper has it, so that nothing of ours may go out; it is asked for it."""
        queued = provider.to_provider_queue.queue
        if self.away is None or not queued or isinstance(queued[0], A_ABORT | A_P_ABORT):
            return False
        with suppress(OSError):  # `ready` finds out for itself
            self.away.call_back()
        return True

    def give_up(self) -> None:
        """What a helper has it drops; nobody counts it any more. In the thread that serves the connection."""
        away, self.away = self.away, None
        if away is not None:
            away.close()
        if self.is_counted and self.bells.helpers is not None:
            self.bells.helpers.count(-1)
        self.is_counted = False

    def _take_up(self) -> Step:
        """What the bytes that are here have come to; MORE also where others shall have their turn.

        Raises OSError where the connection is broken.
        """
        left = _TURN_BYTES
        while left > 0:
            step = self.lane.advance()
            if step is not Step.MORE:
                return step
            try:
                count = self.lane.fill(self._receive)
            except BlockingIOError:
                return Step.MORE
            if not count:
                return Step.OTHER  # hung up; pynetdicom finds that out for itself
            self.assoc.dul._idle_timer.restart()
            left -= count
        return Step.MORE

    def _receive(self, room: memoryview) -> int:
        """What is here already; 0 when the peer has closed. Raises BlockingIOError for nothing, and OSError.

        One system call, where waiting first would be three: each of them lets go of the interpreter, which
        others may want.
        """
        if self.socket is None:
            return 0
        if not isinstance(self.socket, ssl.SSLSocket):
            return self.socket.recv_into(room, 0, socket.MSG_DONTWAIT)
        if not self._is_readable(0):
            raise BlockingIOError
        with self.turn.paused():  # the rest of a TLS record may be long in coming
            return self.socket.recv_into(room)

    def _is_in_use(self) -> bool:
        """Whether data may come, and no message of which pynetdicom has the beginning (PS3.8 9.2.1, Sta6)."""
        return (
            self.assoc.dul.state_machine.current_state == "Sta6"
            and self.assoc.dimse.message is None
            and not self.assoc._kill
        )

    def _answered(self) -> bool:
        """Whether the answer is out; it waits while a message of ours is, so that the two do not mix."""
        if not self.assoc._reactor_checkpoint.is_set():
            return False
        response, self.lane.response = self.lane.response, b""
        self.send(response)
        return self.event_queue.empty()  # else nobody is there to hear it

    def _is_readable(self, patience_seconds: float = PATIENCE_SECONDS) -> bool:
        """Whether the peer has sent something; waits a moment for it, or for the bell.

        Nothing is waited for while pynetdicom has an event to look at. A peer that keeps its next piece back
        until it hears of the last one (Nagle's algorithm) hears at once: the system would let it wait 40 ms.
        """
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True  # decrypted already: select() knows nothing of it
        try:
            if not self.event_queue.empty():
                patience_seconds = 0
            elif patience_seconds and self.socket is not None:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            waiting: list[Any] = [self.socket, self.bell]
            readable, _, _ = select.select(waiting, [], [], patience_seconds)
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # transport connection closed, PS3.8 table 9-10
            return False
        if self.bell in readable:
            self.bell.hush()
        return self.socket in readable

    def recv(self, nr_bytes: int) -> bytearray:
        """Up to `nr_bytes`; fewer only when the peer has closed. Raises OSError, also past the deadline."""
        if self.socket is None:
            return bytearray()
        here = self.lane.take(nr_bytes)
        data = bytearray(min(nr_bytes, _RECEIVE_BUFFER))
        got = len(here)
        data[:got] = here
        while got < nr_bytes:
            if got == len(data):  # grows with what really comes; the announced length is only a promise
                data.extend(bytes(min(len(data), nr_bytes - got)))
            if self.deadline is not None:
                self.socket.settimeout(max(self.deadline - time.monotonic(), _IDLE_SECONDS))
            with memoryview(data) as view, view[got:] as room:
                count = self.socket.recv_into(room)
            if not count:
                break
            got += count
        del data[got:]
        return data

    def asked(self, idle_seconds: float) -> None:
        """The association was asked for: from now on the peer may take its time."""
        self.deadline = None
        if self.socket is not None:
            _have_patience(self.socket, idle_seconds)
            self.bells.heard(self.socket)

    def gone(self) -> None:
        """The peer hung up; one that had not asked for anything is not waited for any longer."""
        if self.deadline is not None and self.assoc.dul.to_user_queue.empty():
            cast(Any, self.assoc.dul.to_user_queue).put(None)  # as if the time were over

    def close(self) -> None:
        """Closes the connection, as pynetdicom does, and the bell with it."""
        request = self.socket
        self.lane.forget()
        super().close()
        if request is not None and self.socket is None:
            self.bells.silence(request)

    def _shutdown_socket(self) -> None:
        """Closes for sure: pynetdicom forgets to once the peer has gone first."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


def _have_patience(connection: socket.socket, seconds: float) -> None:
    """Lets reading and writing wait so long; the system keeps the time, not Python."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    connection.settimeout(None)
    limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


class _Shared(list[Any]):
    """What we offer, the same for every association.

    pynetdicom copies 170 classes with 45 syntaxes each for every connection, some 50 ms, and only reads them.
    """

    def __deepcopy__(self, memo: object) -> list[Any]:
        return list(self)


class FilmServer(ThreadedAssociationServer):
    """A server that knows who waits, and gives bells back when their connections end."""

    waiting: Waiting
    begin: Callable[[Any, StoreRequest], Reception | None]  # opens a reception for an association
    credentials: Credentials | None = None  # None: plain DICOM
    turns: Turns
    helpers: Helpers | None = None
    agreed: Callable[[Any], dict[str, Any] | None]  # for a helper; None: it is none for helpers
    opened: Callable[[Any, str], bool]  # an association sent into a study; whether it is marked
    told: Callable[[Any, Answer, Details], None]  # an association was answered
    unmarked: Callable[[Sequence[str]], None]  # studies that another process could not mark
    request_seconds: float  # from the connection to the end of TLS, and again to the association request

    def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 (handed on as they are)
        self._bells: dict[Any, tuple[Bell, tuple[str, int], Lane]] = {}
        super().__init__(*arguments, **keywords)
        self.contexts = _Shared(self.contexts)

    def get_request(self) -> tuple[Any, Any]:
        """A connection as it is: TLS comes later, in its own thread."""
        return cast(socket.socket, self.socket).accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401 (socketserver's)
        """Whether there is room for one more that has not said anything yet."""
        if self.waiting.enter(client_address[:2]):
            return True
        log.warning("connection_dropped", address=client_address[0], waiting=len(self.waiting))
        return False

    def bell_for(self, request: Any, peer: tuple[str, int], lane: Lane) -> Bell:  # noqa: ANN401 (a socket)
        """A new bell for a connection, and for what goes with it."""
        bell = Bell()
        self._bells[request] = bell, peer, lane
        return bell

    def heard(self, request: Any) -> None:  # noqa: ANN401 (a socket)
        """The connection asked for an association."""
        if request in self._bells:
            self.waiting.leave(self._bells[request][1])

    def silence(self, request: Any) -> None:  # noqa: ANN401 (a socket)
        """The connection ended."""
        bell, peer, lane = self._bells.pop(request, (None, None, None))
        if bell is not None and peer is not None and lane is not None:
            bell.close()
            self.waiting.leave(peer)
            lane.drop()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 (a socket)
        """Called at the end of every association that still has its socket."""
        super().shutdown_request(request)
        self.silence(request)


def _is_verification(association: Any, request: EchoRequest) -> bool:  # noqa: ANN401
    context = association._accepted_cx.get(request.context_id)
    return context is not None and context.as_scp and context.abstract_syntax == request.sop_class_uid


class FilmHandler(RequestHandler):
    """Makes associations that wait for events."""

    def handle(self) -> None:
        """Agrees upon TLS where this port wants it, and starts the association."""
        server = cast(FilmServer, self.server)
        try:
            if server.credentials is not None:
                self.request.settimeout(server.request_seconds)
                self.request = server.credentials.context().wrap_socket(self.request, server_side=True)
                server.credentials.check(self.request)
        except OSError as error:  # an SSLError is one too; its reason is a constant of OpenSSL, or of ours
            reason = getattr(error, "reason", None) or type(error).__name__
            log.warning("tls_refused", address=self.client_address[0], reason=str(reason))
            server.waiting.leave(self.client_address[:2])
            server.shutdown_request(self.request)
            return
        super().handle()

    def _create_association(self) -> Any:  # noqa: ANN401 (a pynetdicom Association)
        server = cast(FilmServer, self.server)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(server.request_seconds)  # else half a PDU would hold the thread for ever
        association: Any = super()._create_association()
        association.certificate = (
            certificate_of(self.request) if isinstance(self.request, ssl.SSLSocket) else None
        )
        film_socket: Any = association.dul.socket
        film_socket.__class__ = FilmSocket
        film_socket.deadline = time.monotonic() + server.request_seconds
        film_socket.bells = server
        film_socket.turn = association.turn = Turn(server.turns)
        film_socket.lane = Lane(partial(server.begin, association), partial(_is_verification, association))
        film_socket.bell = server.bell_for(self.request, self.client_address[:2], film_socket.lane)
        association.dul.to_provider_queue = RingingQueue(film_socket.bell)
        association.dul.__class__ = FilmProvider
        association.dul._run_loop_delay = 0  # the waiting is done in `ready`
        association.dimse.msg_queue = PatientQueue()
        association.dul.to_user_queue = WakingQueue(association.dimse.msg_queue)
        return association
