"""What every association of ours needs beyond pynetdicom."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ

_AGAIN_SECONDS = 0.02


def associate(entity: AE, host: str, port: int, *, evt_handlers: Sequence[Any] = (), **options: Any) -> Any:  # noqa: ANN401 (an untyped pynetdicom Association)
    """As `AE.associate`, with its own reactor held while an answer is waited for, and nothing kept back.

    Else the end of each object would wait until the peer acknowledges what came before it, which many do
    after 40 or 200 ms only (Nagle's algorithm, RFC 9293 3.7.4).

    A rejection is one however soon it comes: pynetdicom looks only then whether it was connected, and takes a
    peer that has said no and closed the connection for one that was not there.
    """
    rejections: list[Any] = []

    def hear(event: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Event)
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append(event.pdu.to_primitive())

    ours = [
        (evt.EVT_CONN_OPEN, lambda event: hold_reactor(event.assoc)),
        (evt.EVT_CONN_OPEN, _send_at_once),
        (evt.EVT_PDU_RECV, hear),
    ]
    association: Any = entity.associate(host, port, evt_handlers=[*ours, *evt_handlers], **options)
    if rejections and not association.is_rejected:
        association.is_rejected, association.is_aborted = True, False
        association.acceptor.primitive = rejections[0]
    return association


def release(association: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Association)
    """Ends an association in order (A-RELEASE), if it still lives; returns when it has ended.

    pynetdicom waits for ever for the thread of an association that was aborted while it was being made: such
    a one still calls itself established.
    """
    if association.is_established and association.is_alive():
        association.release()
    else:
        association.abort()


class Checkpoint(threading.Event):
    """Where the reactor of an association of ours stands while we wait for an answer.

    pynetdicom's reactor says that it stands before it asks whether it may go on, and that it goes on only
    after it has: in between it takes an answer that comes at once for a request, and whoever waits for the
    answer waits in vain. Here going on and saying so are one.
    """

    def __init__(self, association: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Association)
        super().__init__()
        self._association = association
        self._gone_on = threading.Condition()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Stands here until it may go on."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        with self._gone_on:
            # Said again and again: pynetdicom serves a report in a thread that denies it when it ends.
            self._association._is_paused = True
            while not self.is_set() and time.monotonic() < end:
                self._gone_on.wait(min(_AGAIN_SECONDS, max(end - time.monotonic(), 0)))
                self._association._is_paused = True
            self._association._is_paused = False
            return self.is_set()

    def set(self) -> None:
        """Lets it go on."""
        with self._gone_on:
            super().set()
            self._gone_on.notify_all()

    def clear(self) -> None:
        """Holds it when it comes here next."""
        with self._gone_on:
            super().clear()


def _send_at_once(event: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Event)
    with suppress(OSError):  # it is gone already: what comes next will say so
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def hold_reactor(association: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Association)
    """Before an association is in use: whoever asks something on it gets the answer, not its reactor."""
    association._reactor_checkpoint = Checkpoint(association)
