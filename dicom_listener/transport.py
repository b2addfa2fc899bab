"""The receiving side of an association, made for films: it waits for events instead of polling.

pynetdicom looks every millisecond whether something has happened, in two threads an association, and reads
4 KiB at a time: 2,500 turns of the interpreter for one film, and on a busy machine a pause at every step.
Here the network thread sleeps until the peer or our own answer wakes it, and reads what is there in one go.
"""

from __future__ import annotations

import queue
import select
import socket
import time
from contextlib import suppress
from typing import Any, cast

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

_RECEIVE_BUFFER = 1 << 20  # bytes; what a PDU may claim before it has sent anything
_IDLE_SECONDS = 0.001
_PATIENCE_SECONDS = 0.02  # timers, aborts and releases are noticed after at most this


class FilmSocket(AssociationSocket):
    """An association's socket that wakes its thread and reads straight into its buffer."""

    bell: Bell
    bells: FilmServer

    @property
    def ready(self) -> bool:
        """Whether the peer has sent something; waits a moment for it, or for an answer of ours to send."""
        if self.socket is None or not self._is_connected:
            time.sleep(_IDLE_SECONDS)  # about to end
            return False
        try:
            waiting: list[socket.socket | Bell] = [self.socket, self.bell]
            readable, _, _ = select.select(waiting, [], [], _PATIENCE_SECONDS)
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # transport connection closed, PS3.8 table 9-10
            return False
        if self.bell in readable:
            self.bell.hush()
        return self.socket in readable

    def recv(self, nr_bytes: int) -> bytearray:
        """Up to `nr_bytes`; fewer only when the peer has closed. Raises OSError."""
        if self.socket is None:
            return bytearray()
        data = bytearray(min(nr_bytes, _RECEIVE_BUFFER))
        got = 0
        while got < nr_bytes:
            if got == len(data):  # grows with what really comes; the announced length is only a promise
                data.extend(bytes(min(len(data), nr_bytes - got)))
            with memoryview(data) as view, view[got:] as room:
                count = self.socket.recv_into(room)
            if not count:
                break
            got += count
        del data[got:]
        return data

    def close(self) -> None:
        """Closes the connection, as pynetdicom does, and the bell with it."""
        request = self.socket
        super().close()
        if request is not None and self.socket is None:
            self.bells.silence(request)

    def _shutdown_socket(self) -> None:
        """Closes for sure: pynetdicom forgets to once the peer has gone first."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class Bell:
    """Wakes a thread that waits for a socket."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)

    def fileno(self) -> int:
        """For select()."""
        return self._inside.fileno()

    def ring(self) -> None:
        """Wakes the thread; a bell that rings already, or is gone, may be rung again."""
        with suppress(OSError):
            self._outside.send(b"!")

    def hush(self) -> None:
        """Takes every ring so far."""
        with suppress(OSError):
            self._inside.recv(4096)

    def close(self) -> None:
        """Gives the sockets back."""
        self._inside.close()
        self._outside.close()


class _RingingQueue(queue.Queue[Any]):
    """What we want to send; putting something in rings."""

    def __init__(self, bell: Bell) -> None:
        super().__init__()
        self._bell = bell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401
        super().put(item, block, timeout)
        self._bell.ring()


class _PatientQueue(queue.Queue[Any]):
    """Messages of the peer; looking for one waits a moment for it."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401
        return super().get(True, timeout if block else _PATIENCE_SECONDS)


class _Shared(list[Any]):
    """What we offer, the same for every association.

    pynetdicom copies 170 classes with 45 syntaxes each for every connection, some 50 ms, and only reads them.
    """

    def __deepcopy__(self, memo: object) -> list[Any]:
        return list(self)


class FilmServer(ThreadedAssociationServer):
    """A server that gives the bells of its associations back when their connections end."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 (handed on as they are)
        self._bells: dict[Any, Bell] = {}
        super().__init__(*arguments, **keywords)
        self.contexts = _Shared(self.contexts)

    def bell_for(self, request: Any) -> Bell:  # noqa: ANN401 (a socket)
        """A new bell for a connection."""
        bell = self._bells[request] = Bell()
        return bell

    def silence(self, request: Any) -> None:  # noqa: ANN401 (a socket)
        """The connection ended."""
        bell = self._bells.pop(request, None)
        if bell is not None:
            bell.close()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 (a socket)
        """Called at the end of every association that still has its socket."""
        super().shutdown_request(request)
        self.silence(request)


class FilmHandler(RequestHandler):
    """Makes associations that wait for events."""

    def _create_association(self) -> Any:  # noqa: ANN401 (a pynetdicom Association)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(self.ae.network_timeout)  # else half a PDU would hold the thread for ever
        association = super()._create_association()
        film_socket: Any = association.dul.socket
        film_socket.__class__ = FilmSocket
        film_socket.bells = self.server
        film_socket.bell = cast(FilmServer, self.server).bell_for(self.request)
        association.dul.to_provider_queue = _RingingQueue(film_socket.bell)
        association.dul._run_loop_delay = 0  # the waiting is done in `ready`
        association.dimse.msg_queue = _PatientQueue()
        return association
