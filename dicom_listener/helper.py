"""A second process of the listener: it takes objects of associations that the first has agreed upon.

Python runs for one thread at a time in a process, so several modalities that send at once wait for each other
in one. The first process keeps everything that is decided or remembered: who may call, limits, marks of open
studies, counts, storage commitment. Here only the way from the socket to the disk is gone, with the same lane
and the same spool; whatever is not a plain C-STORE is given back with the bytes that were not taken up.

    first process -> here   {}, once the door is open; then each time
                            the connection, its channel, what was agreed upon, bytes already read
    channel, here -> first  {"open": study}, and no Success of that study before it was heard
                            {"told": [...], "unmarked": [...]}, what was answered, some times a second; and
                            studies that the house could not be told of, which any process may have to do
                            {"over": step}, then the bytes that are left
    channel, first -> here  {"open": whether it is marked}
                            {"back": 1}: after the object that is coming

The end of a channel is the end of what it stands for: no helper outlives its listener.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import structlog

from dicom_listener.lane import Lane, Step, StoreRequest
from dicom_listener.limits import Turn, Turns
from dicom_listener.reception import Details, SpoolReception, came_again
from dicom_listener.statuses import Answer
from hoichan.errors import SpoolFull
from hoichan.ports import Spool, Stored

log = structlog.get_logger()

TELL_SECONDS = 0.05  # between two messages about what was answered
PATIENCE_SECONDS = 0.02  # how late a listener that wants something back is noticed
END_SECONDS = 2.0  # to remove unfinished files
LARGEST_MESSAGE = 1 << 17  # bytes, of what was agreed upon: 128 contexts have some 20,000
_AT_ONCE = 1 << 22  # bytes of one association, before others have their turn


def serve(listener: socket.socket, spool_of: Callable[[], Spool], turns: Turns) -> None:
    """Takes connections until the listener has ended, and lets go of what is unfinished then.

    The spool is opened with the first word of the listener, which may come without a connection.
    """
    spool: Spool | None = None
    threads: list[threading.Thread] = []
    while True:
        message, handles, _, _ = socket.recv_fds(listener, LARGEST_MESSAGE, 2)
        if not message:
            break
        spool = spool_of() if spool is None else spool
        if not handles:
            continue
        connection, channel = socket.socket(fileno=handles[0]), Connection(handles[1])
        helped = Helped(connection, channel, json.loads(message), spool, turns)
        threads = [one for one in threads if one.is_alive()]
        threads.append(threading.Thread(target=helped.run, name="helped", daemon=True))
        threads[-1].start()
    deadline = time.monotonic() + END_SECONDS
    for one in threads:
        one.join(max(0.0, deadline - time.monotonic()))


class Helped:
    """One association, from an object's end to what is not a C-STORE. For one thread."""

    def __init__(
        self,
        connection: socket.socket,
        channel: Connection,
        agreed: dict[str, Any],
        spool: Spool,
        turns: Turns,
    ) -> None:
        """`agreed`: `title` (calling AE), `contexts` (context id -> SOP class, transfer syntax), `unmarked`
        (of the listener's spool).
        """
        self._connection = connection
        self._channel = channel
        self._title = str(agreed["title"])
        self._contexts = {int(number): tuple(names) for number, names in agreed["contexts"].items()}
        self._spool = spool
        spool.unmarked.update(agreed["unmarked"])
        self._turn = Turn(turns)
        self._lane = Lane(self._begin)
        self._studies: set[str] = set()  # that the listener has marked as open
        self._untold: list[dict[str, Any]] = []
        self._told_at = time.monotonic()
        self._heard = False  # anything, since the listener was told last
        self._is_wanted_back = False

    def run(self) -> None:
        """Until it is given back, or nobody is there any more."""
        try:
            with self._channel, self._connection:
                try:
                    self._lane.put(self._channel.recv_bytes())
                    step = Step.MORE
                    while step in (Step.MORE, Step.DONE) and not self._is_due():
                        step = self._next()
                    self._give_back(step)
                finally:
                    self._lane.drop()
        except (EOFError, OSError):  # the listener ended, or gave the association up
            return

    def _is_due(self) -> bool:
        """Whether the listener wants it back, and nothing is half taken up."""
        return self._is_wanted_back and self._lane.is_between

    def _next(self) -> Step:
        """An object, or as much of it as is here; waits a moment for more. Raises EOFError, OSError."""
        try:
            with self._turn:
                step = self._take_up()
            if step is Step.DONE:
                self._connection.sendall(self._lane.response)
        except OSError:
            return Step.OTHER  # the listener finds that out for itself
        self._tell()
        if step is Step.MORE:
            self._wait()
        return step

    def _take_up(self) -> Step:
        """As the listener's own way (`transport.FilmSocket`). Raises OSError."""
        left = _AT_ONCE
        while left > 0:
            step = self._lane.advance()
            if step is not Step.MORE:
                return step
            try:
                count = self._lane.fill(self._receive)
            except BlockingIOError:
                return Step.MORE
            if not count:
                return Step.OTHER
            self._heard = True
            left -= count
        return Step.MORE

    def _receive(self, room: memoryview) -> int:
        return self._connection.recv_into(room, 0, socket.MSG_DONTWAIT)

    def _wait(self) -> None:
        """For more, or for the listener; a moment. Raises EOFError, OSError."""
        with suppress(OSError):  # hung up
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        waiting: list[Any] = [self._connection, self._channel]
        readable, _, _ = select.select(waiting, [], [], PATIENCE_SECONDS)
        if self._channel in readable:
            self._listen()

    def _listen(self) -> dict[str, Any]:
        """What the listener says; waits for it. Raises EOFError, OSError."""
        message: dict[str, Any] = json.loads(self._channel.recv_bytes())
        self._is_wanted_back = self._is_wanted_back or "back" in message
        return message

    def _begin(self, request: StoreRequest) -> SpoolReception | None:
        agreed = self._contexts.get(request.context_id)
        if agreed is None:
            return None
        return SpoolReception(
            self._spool,
            request,
            negotiated=agreed[0],
            transfer_syntax_uid=agreed[1],
            calling_ae_title=self._title,
            may_store=lambda: True,  # who has a rate is served by the listener
            filed=self._filed,
            told=self._answered,
            at_rest=self._turn.paused,
        )

    def _filed(self, stored: Stored) -> None:
        """Has the study marked as open before its first Success. Raises SpoolFull."""
        if stored.study_instance_uid in self._studies:
            return
        self._tell(at_once=True)
        try:
            with self._turn.paused():
                answer = self._ask({"open": stored.study_instance_uid})
        except (EOFError, OSError) as error:
            raise SpoolFull("The listener has gone.") from error
        if not answer:
            raise SpoolFull("The study could not be marked as open.")
        self._studies.add(stored.study_instance_uid)

    def _ask(self, question: dict[str, Any]) -> bool:
        self._channel.send_bytes(json.dumps(question).encode())
        while "open" not in (answer := self._listen()):
            pass
        return bool(answer["open"])

    def _answered(self, answer: Answer, details: Details) -> None:
        came_again(self._spool, details, calling_ae_title=self._title)
        self._untold.append({"answer": asdict(answer), "details": details})

    def _tell(self, *, at_once: bool = False) -> None:
        """What was answered, and that the peer is alive."""
        now = time.monotonic()
        if not (self._untold or self._heard) or (not at_once and now - self._told_at < TELL_SECONDS):
            return
        untold, self._untold = self._untold, []
        self._told_at, self._heard = now, False
        message = {"told": untold, "unmarked": sorted(self._spool.unmarked)}
        self._channel.send_bytes(json.dumps(message).encode())
        if self._channel.poll():
            self._listen()

    def _give_back(self, step: Step) -> None:
        """Raises EOFError, OSError."""
        self._tell(at_once=True)
        self._channel.send_bytes(json.dumps({"over": step.name}).encode())
        self._channel.send_bytes(self._lane.take(self._lane.unread))
