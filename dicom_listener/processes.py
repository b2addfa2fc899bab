"""Other processes of the listener, and which associations they take. What they are told stands in `helper`.

They share what is loaded, and end with the listener. Where one dies its associations are aborted, so that
their senders try again, and the listener goes on with those that are left, by itself where there are none,
until its place is taken (`crew`).
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import structlog

from dicom_listener.lane import Step
from dicom_listener.reception import Details
from dicom_listener.statuses import Answer

log = structlog.get_logger()

AT_MOST = 4  # processes, the first one too: beyond, the disk is what they wait for
CROWD = 8  # associations that store; with more, processes that fill the machine leave C-ECHO waiting


def as_many_as_fit() -> tuple[int, int | None]:
    """One for every two processors, so that analysis, page and C-ECHO find one free; two on two or three.

    Those two fill the machine, so they share the work only while no more associations store than the second
    number says (ADR-0022).
    """
    processors = os.cpu_count() or 1
    if processors in (2, 3):
        return 2, CROWD
    return max(1, min(AT_MOST, processors // 2)), None


class Helpers:
    """The other processes, and how many associations each has. Safe for many threads."""

    def __init__(
        self, sockets: Sequence[socket.socket], *, margin: int = 2, crowd: int | None = None
    ) -> None:
        """`sockets`: the other ends of what the helpers listen at (SOCK_SEQPACKET).

        `margin`: an association goes to a helper that has so many fewer. `crowd`: when more than so many
        store none goes any more, and all are called back, until half as many are left; None: never.
        """
        self._margin = margin
        self._crowd = crowd
        self._is_crowded = False
        self._lock = threading.Lock()
        self._own = 0  # associations that store, here
        self._load = dict.fromkeys(sockets, 0)
        self._is_closed = False

    @property
    def shares(self) -> tuple[int, ...]:
        """Associations that store: here, then with each helper."""
        with self._lock:
            return self._own, *self._load.values()

    def close(self) -> None:
        """They end; what they have is lost to their senders, as with any end of the listener."""
        with self._lock:
            self._is_closed = True
            for one in self._load:
                one.close()
            self._load.clear()

    def join(self, one: socket.socket) -> None:
        """A new helper has begun: it opens the spool, and takes associations from now on."""
        with self._lock:
            if self._is_closed:
                one.close()
                return
            with suppress(OSError):  # it has gone again
                one.send(b"{}")
            self._load[one] = 0

    def part(self, one: socket.socket) -> None:
        """A helper has ended: it gets nothing more. What it had is aborted by whoever waits for it."""
        with self._lock:
            self._load.pop(one, None)
            one.close()

    def wake(self) -> None:
        """They open the spool, so that the first association that is handed over does not wait for it."""
        with self._lock:
            for one in self._load:
                with suppress(OSError):  # it has gone: whoever is to be handed over finds that out
                    one.send(b"{}")

    @property
    def has_room(self) -> bool:
        """Whether a helper has that much less to do; asked after every object, so without the lock."""
        return (
            not self._is_crowded and self._own - min(self._load.values(), default=self._own) >= self._margin
        )

    @property
    def is_crowded(self) -> bool:
        """Whether what the helpers have is to be called back."""
        return self._is_crowded

    def count(self, number: int) -> None:
        """So many more associations store here."""
        with self._lock:
            self._own += number
            self._look_around()

    def _look_around(self) -> None:
        if self._crowd is not None:
            bound = self._crowd // 2 if self._is_crowded else self._crowd
            self._is_crowded = self._own + sum(self._load.values()) > bound

    def take(self, connection: socket.socket, agreed: dict[str, Any], unread: bytes) -> Away | None:
        """Has a helper go on with an association that stores here; None where it is better kept."""
        with self._lock:
            least = min(self._load, key=self._load.__getitem__, default=None)
            if least is None or self._is_crowded or self._own - self._load[least] < self._margin:
                return None
            self._own -= 1
            self._load[least] += 1
        channel, theirs = Pipe()
        try:
            with theirs:
                handles = [connection.fileno(), theirs.fileno()]
                socket.send_fds(least, [json.dumps(agreed).encode()], handles)
            channel.send_bytes(unread)
        except OSError as error:
            log.warning("helper_lost", error=type(error).__name__)
            channel.close()
            self.part(least)
            with self._lock:
                self._own += 1
            return None
        return Away(channel, lambda: self._left(least))

    def _left(self, one: socket.socket) -> None:
        with self._lock:
            if one in self._load:
                self._load[one] -= 1
            self._look_around()


class Away:
    """An association that a helper has. For one thread, but for `close`."""

    def __init__(self, channel: Connection, left: Callable[[], None]) -> None:
        self._channel = channel
        self._left = left
        self._is_called_back = False
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """For select(). Raises OSError once it is closed."""
        return self._channel.fileno()

    def call_back(self) -> None:
        """Asks for it, once. Raises OSError."""
        if not self._is_called_back:
            self._is_called_back = True
            self._channel.send_bytes(b'{"back": 1}')

    def hear(
        self,
        opened: Callable[[str], bool],
        told: Callable[[Answer, Details], None],
        unmarked: Callable[[Sequence[str]], None],
    ) -> tuple[Step, bytes] | None:
        """One message; (what the lane came to, unread bytes) when the association is back.

        Raises EOFError or OSError where the helper has died.
        """
        message = json.loads(self._channel.recv_bytes())
        if "open" in message:
            self._channel.send_bytes(json.dumps({"open": opened(message["open"])}).encode())
        elif "told" in message:
            for one in message["told"]:
                told(Answer(**one["answer"]), one["details"])
            unmarked(message["unmarked"])
        else:
            unread = self._channel.recv_bytes()
            self.close()
            return Step[message["over"]], unread
        return None

    def close(self) -> None:
        """The helper drops what it has not finished; from any thread, more than once."""
        with self._lock:
            if not self._channel.closed:
                self._channel.close()
                self._left()
