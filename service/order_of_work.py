"""Who is next: urgent before old, one sender not before another, and models within their limits.

The engine only ever has a few pieces more than it can run, so that whoever comes with something urgent, or
from another sender, waits for those and not for the whole backlog.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from hoichan.adapters.work_sql import Key, Piece, WorkSql
from hoichan.ports import Clock, Engine, Studies
from hoichan.settings import Settings
from hoichan.types import Study, Urgency
from service.pace import Pace

log = structlog.get_logger()

FEWEST, MOST = 2, 16  # pieces in the engine's hands for each that can run at a time
PATIENCE = timedelta(minutes=30)  # what waits longer, however little it hurries, has a share of the places
SHARE = 4  # every fourth place is theirs, so that urgent work never ends all other work


def choose(
    waiting: Sequence[Piece],
    in_flight: Sequence[Piece],
    *,
    room: int,
    limits: Mapping[str, int],
    served: Mapping[str, int],
    given: int = 0,
    now: datetime | None = None,
) -> list[Piece]:
    """Up to `room` pieces in the order in which they should begin.

    By band first. Within one, the sender who has least in flight is next, then who was served longest ago
    (`served`: a number that grows with time), and of each sender the piece that waits longest. A piece one
    of whose models is at its limit lets others pass.

    Every fourth place (`given`: how many were given out before) is of what waits longest, where that is too
    long by `now`; it then has the first band, so that nothing goes before it any more.
    """
    of_sender = Counter(piece.sender for piece in in_flight)
    of_model = Counter(model for piece in in_flight for model in piece.models)
    turns = dict(served)
    left = sorted(waiting, key=lambda piece: (piece.band, piece.since, piece.study_instance_uid))
    chosen: list[Piece] = []
    while len(chosen) < room:
        able = [p for p in left if all(of_model[m] < limits.get(m, room + of_model[m]) for m in p.models)]
        if not able:
            break
        heads: dict[str, Piece] = {}
        for piece in able:
            if piece.band == able[0].band:
                heads.setdefault(piece.sender, piece)
        piece = min(heads.values(), key=lambda p: (of_sender[p.sender], turns.get(p.sender, 0), p.since))
        oldest = min(able, key=lambda p: p.since)
        is_share = (given + len(chosen)) % SHARE == SHARE - 1
        if is_share and now is not None and now - oldest.since > PATIENCE:
            left.remove(oldest)
            piece = replace(oldest, band=0)
        else:
            left.remove(piece)
        chosen.append(piece)
        of_sender[piece.sender] += 1
        of_model.update(piece.models)
        turns[piece.sender] = max(turns.values(), default=0) + 1
    return chosen


class Window:
    """How many pieces the engine may have: few, for the order's sake, but never so few that it idles."""

    def __init__(self) -> None:
        self._each = FEWEST

    def room(self, slots: int, still_open: int, *, more_waits: bool) -> int:
        """How many more it may have. `slots`: what can run at a time."""
        if not still_open and more_waits:  # it ran dry between two looks
            self._each = min(MOST, self._each * 2)
        elif still_open * 2 > slots * self._each:
            self._each = max(FEWEST, self._each - 1)
        return max(0, slots * self._each - still_open)


class Line:
    """Where closed revisions wait until it is their turn."""

    def __init__(
        self,
        work: WorkSql,
        studies: Studies,
        engine: Engine,
        clock: Clock,
        settings: Settings,
        models_for: Callable[[Study], Sequence[str]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._studies = studies
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._models_for = models_for
        self._open: list[Piece] = []
        self._given: set[Key] = set()
        self._served: dict[str, int] = {}
        self._given_out = 0
        self._window = Window()
        self._more_waits = False
        self._pace = Pace(monotonic)

    def enlist(self, study: Study) -> None:
        """A revision was closed: it waits for its turn."""
        rule = next(
            (
                sender.urgency
                for sender in self._settings.listener.senders
                if sender.urgency and sender.ae_title in ("*", study.calling_ae_title)
            ),
            None,
        )
        self._work.enlist(
            study.study_instance_uid,
            study.revision,
            models=self._models_for(study),
            backlog=self._is_old(study),
            rule=Urgency(rule) if rule else None,
        )

    def resume(self) -> None:
        """Look after what the engine has: give it again what it may not know, and take up what it gave up.

        It gives up when the record could not be reached for minutes; a study is not to blame for that.
        One that kills its workers is set aside by the worker's own count.
        """
        self._open = list(self._work.in_flight())
        for piece in self._open:
            if self._engine.gave_up(*piece.key):
                self._studies.take_up(piece.study_instance_uid, piece.revision)
            elif piece.key not in self._given:  # by a worker that led before
                self._engine.enqueue_study(*piece.key, band=piece.band)
        self._given = {piece.key for piece in self._open}

    def dispatch(self, slots: int) -> int:
        """Give the engine what is next; returns how many pieces. `slots`: what all workers run at a time."""
        self._open = list(self._work.still_open(self._open))
        room = self._window.room(slots, len(self._open), more_waits=self._more_waits)
        if not room or not self._pace.is_due():
            return 0
        now = self._clock.now().astimezone(self._settings.site.zone)
        work = self._settings.work
        with self._pace:
            waiting = self._work.waiting(each=room, backlog=work.is_off_peak(now.time()))
        chosen = choose(
            waiting,
            self._open,
            room=room,
            limits=work.model_limits,
            served=self._served,
            given=self._given_out,
            now=now,
        )
        self._given_out += len(chosen)
        for piece in chosen:
            self._engine.enqueue_study(*piece.key, band=piece.band)
            self._given.add(piece.key)
            self._served[piece.sender] = max(self._served.values(), default=0) + 1
        if chosen:
            self._work.dispatched(chosen)
        self._open += chosen
        self._more_waits = len(chosen) == room
        return len(chosen)

    def _is_old(self, study: Study) -> bool:
        work = self._settings.work
        if work.backlog_hours is None or study.study_datetime is None:
            return False
        return self._clock.now() - study.study_datetime > timedelta(days=work.backlog_after_days)
