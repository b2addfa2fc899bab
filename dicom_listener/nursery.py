"""The process that starts the helpers: forked before the listener's first thread, and without threads itself.

A process with threads must not fork: a lock that another thread holds at that moment is held for ever in the
child. So a listener that has opened its door asks this one, which shares what is loaded and holds nothing: no
port, no association, no file of the spool.

    listener -> here   {"place": n}, with the socket at which the new helper listens
    here -> listener   {"place": n, "pid": p}    it has begun; null: the system could not fork
                       {"place": n, "pid": p, "code": c}
                                                 it has ended, and the system has let go of all its locks;
                                                 c: as of subprocess, -9 for SIGKILL

It ends with its listener, after the last helper. Where it is killed itself the helpers go on.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

log = structlog.get_logger()

Serve = Callable[[socket.socket], None]  # what a helper does until its socket has ended

_LARGEST_MESSAGE = 1 << 10  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A helper has begun."""

    place: int
    pid: int | None  # None: it could not be forked


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A helper has ended; what it had locked is free."""

    place: int
    pid: int
    code: int  # as of subprocess: below 0 the number of a signal


class Nursery:
    """The listener's end. For one thread, but for `close`."""

    def __init__(self, serve: Serve) -> None:
        """Forks; for a process with one thread."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _live(lambda: _tend(theirs, serve))
        theirs.close()

    def begin(self, place: int) -> socket.socket:
        """Has a helper begin; gives the end at which the listener talks to it.

        Raises ConnectionError once the nursery has ended, and OSError where there are no descriptors left.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._socket, [_message({"place": place})], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def hear(self, seconds: float | None) -> Begun | Ended | None:
        """What it says within so many seconds; None: nothing.

        Raises EOFError or ConnectionError once it has ended or was closed.
        """
        if not select.select([self._socket], [], [], seconds)[0]:
            return None
        told = self._socket.recv(_LARGEST_MESSAGE)
        if not told:
            raise EOFError
        word = json.loads(told)
        return Ended(**word) if "code" in word else Begun(**word)

    def close(self) -> None:
        """It starts no helper any more, and ends after the last one; whoever hears it is told."""
        with suppress(OSError):  # it has gone
            self._socket.shutdown(socket.SHUT_RDWR)

    def reap(self) -> None:
        """No entry of the one that has ended stays in the table of processes."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class _Child:
    """A helper, for the process that started it: its end is that of a pipe whose other end only it holds."""

    def __init__(self, place: int, pid: int, end: int) -> None:
        self.place = place
        self.pid = pid
        self._end = end

    def fileno(self) -> int:
        return self._end

    def wait(self) -> int:
        """Until the system has let go of everything that it had; its code."""
        os.close(self._end)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _tend(listener: socket.socket, serve: Serve) -> None:
    """The life of the nursery, until the listener has ended, and then the helpers."""
    children: list[_Child] = []
    with listener, suppress(ConnectionError):  # the listener has gone in the middle of a word
        while True:
            waiting: list[Any] = [listener, *children]
            readable, _, _ = select.select(waiting, [], [])
            for child in [each for each in children if each in readable]:
                children.remove(child)
                word = {"place": child.place, "pid": child.pid, "code": child.wait()}
                listener.send(_message(word))
            if listener in readable and not _heard(listener, serve, children):
                break
    for child in children:
        child.wait()


def _heard(listener: socket.socket, serve: Serve, children: list[_Child]) -> bool:
    """Starts a helper; False where there is nobody any more to ask for one. Raises ConnectionError."""
    asked, handles, _, _ = socket.recv_fds(listener, _LARGEST_MESSAGE, 1)
    if not asked:
        return False
    place = json.loads(asked)["place"]
    end, held = os.pipe()
    with socket.socket(fileno=handles[0]) as theirs:
        pid: int | None = None
        with suppress(OSError):  # no memory, or too many processes
            pid = os.fork()
        if pid == 0:
            for other in (end, *(child.fileno() for child in children)):
                os.close(other)
            listener.close()
            _live(lambda: serve(theirs))
    os.close(held)
    if pid is None:
        os.close(end)
    else:
        children.append(_Child(place, pid, end))
    listener.send(_message({"place": place, "pid": pid}))
    return True


def _live(life: Callable[[], None]) -> NoReturn:
    """The life of a forked process: never returns."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it ends with its listener
    gc.freeze()
    try:
        life()
    except BaseException as error:  # noqa: BLE001 (the outermost of this process)
        log.error("helper_ended", error=type(error).__name__)
    finally:
        os._exit(0)


def _message(word: Mapping[str, int | None]) -> bytes:
    return json.dumps(word).encode()
