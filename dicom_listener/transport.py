"""The receiving side of a socket, made for films: no Nagle delay, and large reads.

pynetdicom reads 4 KiB at a time, which costs a ten-megabyte film some 2,500 turns of the interpreter.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from pynetdicom.transport import AssociationSocket, RequestHandler

_RECEIVE_BUFFER = 1 << 20  # bytes; one read takes what is there, up to this


class FilmSocket(AssociationSocket):
    """An association's socket that reads straight into its buffer."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Up to `nr_bytes`; fewer only when the peer has closed. Raises OSError."""
        if self.socket is None:
            return bytearray()
        data = bytearray(nr_bytes)
        view = memoryview(data)
        got = 0
        while got < nr_bytes:
            count = self.socket.recv_into(view[got : got + _RECEIVE_BUFFER])
            if not count:
                break
            got += count
        view.release()
        del data[got:]
        return data

    def _shutdown_socket(self) -> None:
        """Closes for sure: pynetdicom forgets to once the peer has gone first."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class FilmHandler(RequestHandler):
    """Makes associations whose sockets are FilmSockets."""

    def _create_association(self) -> Any:  # noqa: ANN401 (an untyped pynetdicom Association)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        association = super()._create_association()
        association.dul.socket.__class__ = FilmSocket
        return association
