"""From the spool to assembled studies: record what arrived, and close a revision when it is complete.

The spool's marks say where to look; the files say what is there. A mark is taken before the files are
listed, so an image that comes in between is marked again and never missed; it is kept until all is written
down. Whatever a crash leaves half done is found by `recover` at the next start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from pydicom.errors import BytesLengthException

from hoichan.adapters.set_aside_sql import WHOLE, SetAsideSql
from hoichan.adapters.spool_taken import BLAMED_AFTER
from hoichan.errors import HoichanError, KilledItsRecorders, NotRecorded, ValueNotKept
from hoichan.intake.assembly import completeness
from hoichan.intake.evidence import evidence_of
from hoichan.intake.priors import is_prior, prior_note
from hoichan.ports import Clock, Originals, Spool, Studies
from hoichan.settings import Settings
from hoichan.types import StudyInstanceUID
from service.corrections import Corrections
from service.order_of_work import Line
from service.recording import Recorder

log = structlog.get_logger()

LONGEST_WAIT = timedelta(seconds=1)  # until somebody looks whether its associations have ended
# What changes without a mark (a late order) is seen after so long: a look asks the record some twenty times.
LONGEST_REST = timedelta(seconds=5)
POISON_WAIT = timedelta(minutes=1)  # before a study that made us stumble is looked at again
# What an object that no library reads, or whose words no column holds, may raise; a disk or a database that
# is away raises none of these.
_OF_ONE_STUDY = (
    *(ArithmeticError, AttributeError, BytesLengthException, LookupError, TypeError, ValueError),
    ValueNotKept,
)
ADOPT_PAUSE = timedelta(seconds=60)
MOST_STUMBLES = 5  # over one study, a minute apart; then what we stumbled over is set aside
MOST_DEADLY = 8  # objects of one study that kill who reads them; then nobody looks at the rest either

Alone = Callable[[StudyInstanceUID], str | None]  # what it died of; "": nobody knows; None: it lives


@dataclass(frozen=True, slots=True)
class _Waits:
    """A study that is not complete."""

    at: datetime  # when to see whether an association has ended
    look_at: datetime  # when to look at the study whatever is seen then
    is_open: bool | None = None  # at the last look; None: look in any case


class Arrivals:
    """Watches the spool and puts closed revisions into the line of those that wait."""

    def __init__(
        self,
        spool: Spool,
        studies: Studies,
        line: Line,
        clock: Clock,
        settings: Settings,
        originals: Originals | None = None,
        corrections: Corrections | None = None,
        aside: SetAsideSql | None = None,
        alone: Alone | None = None,
    ) -> None:
        """`originals` None: every machine that works reads from the same spool.

        `alone`: records a study that killed processes in one of its own; what kills that is set `aside`.
        """
        self._corrections = corrections
        self._recorder = Recorder(spool, studies, settings, originals, corrections)
        self._aside = aside
        self._alone = alone
        self._spool = spool
        self._studies = studies
        self._line = line
        self._clock = clock
        self._settings = settings
        self._waiting: dict[StudyInstanceUID, _Waits] = {}
        self._stumbles: dict[StudyInstanceUID, int] = {}
        self._reading = WHOLE  # the object that is read now
        self._looked_at = datetime.min.replace(tzinfo=UTC)  # by a clock that somebody may set
        self._adopted_at = datetime.min.replace(tzinfo=UTC)

    def recover(self) -> None:
        """After a start: look at what was taken and not looked at, and at what no revision holds yet.

        What lies in the spool without any mark is found by `LeftBehind`. What we stumbled over is tried anew:
        this may be a newer version.
        """
        if self._aside is not None:
            self._aside.try_anew(NotRecorded.code)
        self.take_over()
        for uid in self._studies.receiving():
            self._spool.mark_fresh(uid)

    def take_over(self) -> int:
        """Look at what somebody took who died meanwhile; returns how many studies."""
        for uid in self._aside.released() if self._aside is not None else ():
            self._spool.mark_fresh(uid)
            if self._aside is not None:
                self._aside.forget(uid)
        return self._spool.give_back()

    def adopt(self) -> int:
        """Look at studies that nobody closes, for the machine that received them is gone; returns how many.

        Only the leading worker does, once a minute: another machine knows best what its doors still receive.
        """
        now = self._clock.now()
        if abs(now - self._adopted_at) < ADOPT_PAUSE:
            return 0
        self._adopted_at = now
        longest = timedelta(seconds=self._settings.assembly.cap_seconds) + ADOPT_PAUSE
        left = 0
        for uid in self._studies.receiving():
            study = self._studies.current(uid) if uid not in self._waiting else None
            came = [instance.received_at for instance in study.instances] if study is not None else []
            if came and now - max(came) > longest:
                self._spool.mark_fresh(uid)
                left += 1
        return left

    def step(self) -> bool:
        """One round over what is fresh and what is due; whether anything was there to do."""
        now = self._clock.now()
        if now < self._looked_at:  # the clock was set back: what was planned would come too late
            self._waiting = dict.fromkeys(self._waiting, _Waits(now, now))
        self._looked_at = now
        fresh = set(self._spool.take_fresh())
        due = {
            uid
            for uid, waits in list(self._waiting.items())
            if waits.at <= now and self._is_due(uid, waits, now)
        }
        todo = sorted(fresh | due)
        for position, uid in enumerate(todo):
            try:
                self._waiting.pop(uid, None)
                self._spool.looking(uid)
                if self._look_once(uid):
                    self._spool.looked_at(uid)
            except Exception:
                for left in todo[position:]:  # their marks are taken: somebody has to look again
                    self._spool.mark_fresh(left)
                raise
        if todo:
            self._spool.looking(None)
        return bool(fresh or due)

    def _is_due(self, uid: StudyInstanceUID, waits: _Waits, now: datetime) -> bool:
        """Whether to look at the study; else its association is looked after again in a moment."""
        if waits.is_open is None or now >= waits.look_at or self._spool.is_open(uid) != waits.is_open:
            return True
        self._waiting[uid] = replace(waits, at=min(waits.look_at, now + LONGEST_WAIT))
        return False

    def _look_once(self, uid: StudyInstanceUID) -> bool:
        """Whether the study was looked at; else soon again: it must not hold up all those behind it."""
        self._reading = WHOLE
        try:
            self._look(uid)
        except _OF_ONE_STUDY as error:
            code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
            log.error("study_not_looked_at", study=uid, code=code)
            stumbles = self._stumbles.get(uid, 0) + 1
            wait = POISON_WAIT
            if self._aside is not None and stumbles >= MOST_STUMBLES:
                self._put_aside(uid, self._aside)
                stumbles, wait = 0, timedelta()
            self._stumbles[uid] = stumbles
            self._waiting[uid] = _Waits(at=self._looked_at + wait, look_at=self._looked_at + wait)
            return False
        self._stumbles.pop(uid, None)
        return True

    def _put_aside(self, uid: StudyInstanceUID, aside: SetAsideSql) -> None:
        """Set aside what we stumbled over again and again. Raises RecordsUnavailable."""
        instance = self._reading if len(aside.of(uid)) < MOST_DEADLY else WHOLE
        log.error("set_aside", study=uid, instance=instance, code=NotRecorded.code)
        aside.add(uid, instance, code=NotRecorded.code)

    def _is_read(self, instance: str) -> None:
        self._reading = instance

    def _look(self, uid: StudyInstanceUID) -> None:
        aside = self._aside.of(uid) if self._aside is not None else frozenset()
        if WHOLE in aside:
            return
        if self._spool.deaths(uid) >= BLAMED_AFTER and self._aside is not None and self._alone is not None:
            self._record_alone(uid, self._aside, self._alone)
            aside = self._aside.of(uid)
            if WHOLE in aside:
                return
        if self._is_prior(uid):
            return
        self._recorder.record(uid, aside, self._is_read)
        study = self._studies.current(uid)
        if study is None:
            return
        expected = None
        if self._corrections is not None:
            if not self._corrections.may_go_on(study):
                return  # looked at again when a person has decided
            study = self._studies.current(uid) or study
            expected = self._corrections.expected(uid)
        is_open, now = self._spool.is_open(uid), self._clock.now()
        verdict = completeness(
            study,
            is_open=is_open,
            now=now,
            rules=self._settings.assembly,
            senders=self._settings.listener.senders,
            evidence=evidence_of(self._spool, uid),
            expected_instances=expected,
        )
        if not verdict.complete:
            if verdict.look_again_at is not None:  # an association may end without a further mark
                look_at = min(verdict.look_again_at, now + LONGEST_REST)
                self._waiting[uid] = _Waits(min(look_at, now + LONGEST_WAIT), look_at, is_open)
            return
        assembled = self._studies.assemble(replace(study, closed_by=verdict.closed_by))
        if assembled is not None:
            log.info(
                "study_assembled",
                study=uid,
                revision=assembled.revision,
                instances=len(assembled.instances),
                closed_by=verdict.closed_by,
            )
            self._line.enlist(assembled)

    def _record_alone(self, uid: StudyInstanceUID, aside: SetAsideSql, alone: Alone) -> None:
        """Set aside what kills a process that records it, until one lives. Raises RecordsUnavailable."""
        log.warning("study_recorded_alone", study=uid)
        for _ in range(MOST_DEADLY):
            died_of = alone(uid)
            if died_of is None:
                return
            log.error("set_aside", study=uid, instance=died_of, code=KilledItsRecorders.code)
            aside.add(uid, died_of, code=KilledItsRecorders.code)
            if died_of == WHOLE:
                return
        aside.add(uid, WHOLE, code=KilledItsRecorders.code)

    def _is_prior(self, uid: StudyInstanceUID) -> bool:
        """Whether it was fetched beside another study, and holds nothing that somebody sent to be judged."""
        return prior_note(self._spool.notes, uid) is not None and (
            self._studies.current(uid) is None
            and is_prior(self._spool.notes, uid, (one.path.stem for one in self._spool.listing(uid)))
        )
