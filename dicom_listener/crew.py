"""The helpers of a listener as processes: begun with it, watched, and replaced where one dies.

    lost      its associations are aborted; the files that it had not finished are removed
    patience  1, 2, 4, 8 seconds, by how many were lost at this place during the last ten minutes
    replaced  by the nursery; the new one takes associations between two of their objects, like any helper
    given up  with the fifth loss in ten minutes: each one costs its senders an abort, and one process alone
              receives all the same. The place stays empty until the listener's next start

Places are numbered from 1. What is lost at one of them does not count for the others.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable

import structlog

from dicom_listener.nursery import Begun, Ended, Nursery, Serve
from dicom_listener.processes import Helpers, as_many_as_fit
from hoichan.errors import HoichanError
from hoichan.meters import LISTENER_HELPERS, Tally

log = structlog.get_logger()

FIRST_SECONDS = 1.0  # before the first try; then twice as long each time
MOST_LOSSES = 5  # of one place in the window: with that one it is given up
WINDOW_SECONDS = 600.0
END_SECONDS = 2.0  # for a try that is under way when the listener ends


class Place:
    """One place of a helper, and how often it was lost. For one thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket: socket.socket | None = None  # of whoever has it, or is about to
        self.is_replacement = False
        self.due: float | None = None  # when a new one is to begin
        self._losses: list[float] = []

    def lose(self, now: float) -> bool:
        """Whether a new one may try, at `due`. `now`: seconds of a clock that never goes back."""
        self._losses = [at for at in self._losses if now - at < WINDOW_SECONDS] + [now]
        may_try = len(self._losses) < MOST_LOSSES
        self.due = now + FIRST_SECONDS * 2 ** (len(self._losses) - 1) if may_try else None
        return may_try


class Crew:
    """A listener's helpers, from before its first thread to its end."""

    def __init__(
        self,
        serve: Serve,
        processes: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        nursery: Callable[[Serve], Nursery] = Nursery,
    ) -> None:
        """Forks; for a process with one thread. `serve`: what a helper does until its socket has ended.

        `processes`: all together; None: as many as fit. `clock`: seconds, never going back.
        """
        number, crowd = as_many_as_fit() if processes is None else (processes, None)
        self._clock = clock
        self._nursery = nursery(serve) if number > 1 else None
        self._places = {place: Place(place) for place in range(1, number)}
        sockets = []
        if self._nursery is not None:
            for place in self._places.values():
                place.socket = self._nursery.begin(place.number)
                sockets.append(place.socket)
        self.helpers = Helpers(sockets, crowd=crowd)
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, sweep: Callable[[], int], tally: Tally) -> None:
        """Has those that die replaced from now on, also who died before.

        `sweep`: removes what dead processes have not finished, and tells how much that was; raises OSError
        or HoichanError.
        """
        if self._nursery is None:
            return
        self._thread = threading.Thread(
            target=self._run, args=(self._nursery, sweep, tally), name="crew", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Nobody is replaced any more; those that are here stay until `helpers` is closed."""
        self._is_closing.set()
        if self._nursery is not None:
            self._nursery.close()
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def _run(self, nursery: Nursery, sweep: Callable[[], int], tally: Tally) -> None:
        try:
            while not self._is_closing.is_set():
                heard = nursery.hear(self._begin(nursery, tally))
                if isinstance(heard, Ended):
                    self._ended(heard, sweep, tally)
                elif isinstance(heard, Begun):
                    self._begun(heard, tally)
        except (EOFError, ConnectionError):
            if self._is_closing.is_set():
                return
            log.warning("nursery_lost", pid=nursery.pid)
            nursery.reap()

    def _begin(self, nursery: Nursery, tally: Tally) -> float | None:
        """Begins what is due; in how many seconds the next one is. Raises ConnectionError."""
        now = self._clock()
        for place in self._places.values():
            if place.due is None or place.due > now:
                continue
            place.due = None
            place.is_replacement = True
            log.info("helper_awaited", place=place.number)
            try:
                place.socket = nursery.begin(place.number)
            except ConnectionError:
                raise
            except OSError as error:  # of our own: no descriptors left
                log.warning("helper_not_begun", place=place.number, code=type(error).__name__)
                self._lost(place, tally)
        waiting = (place.due - now for place in self._places.values() if place.due is not None)
        return min(waiting, default=None)

    def _begun(self, begun: Begun, tally: Tally) -> None:
        place = self._places[begun.place]
        if begun.pid is None:
            log.warning("helper_not_begun", place=place.number)
            self._lost(place, tally)
        elif place.is_replacement and place.socket is not None:
            self.helpers.join(place.socket)
            tally.add(LISTENER_HELPERS, "replaced")
            log.info("helper_replaced", place=place.number, pid=begun.pid)

    def _ended(self, ended: Ended, sweep: Callable[[], int], tally: Tally) -> None:
        """Here every lock of the dead one is free, so a sweep sees what it left."""
        if self._is_closing.is_set():
            return
        place = self._places[ended.place]
        log.warning("helper_lost", place=place.number, pid=ended.pid, ended=_cause(ended.code))
        self._lost(place, tally)
        try:
            log.info("helper_swept", place=place.number, pid=ended.pid, swept=sweep())
        except (HoichanError, OSError) as error:  # a disk that is away: the next sweep removes it
            log.warning("helper_not_swept", place=place.number, pid=ended.pid, code=type(error).__name__)

    def _lost(self, place: Place, tally: Tally) -> None:
        if place.socket is not None:
            self.helpers.part(place.socket)
            place.socket = None
        tally.add(LISTENER_HELPERS, "lost")
        if not place.lose(self._clock()):
            tally.add(LISTENER_HELPERS, "given_up")
            log.error(
                "helper_given_up", place=place.number, losses=MOST_LOSSES, window_seconds=WINDOW_SECONDS
            )


def _cause(code: int) -> str:
    """The name of the signal that ended a process, or the code that it gave."""
    try:
        return signal.Signals(-code).name if code < 0 else str(code)
    except ValueError:  # a real-time signal
        return str(code)
