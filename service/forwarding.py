"""Sends received images on, as the rules of the site say: finds what is due, prepares it, and hands it over.

One thread finds what the rules ask for, one a receiver sends; only the leading worker does either. What a
crash leaves half done is found again in the rows, and a receiver sees the same bytes under the same UIDs.

Each start of a try is counted in the rows (`service.starts`). After a death those that were on their way go
one by one; what was begun twice without an end is tried in a process of its own, whose death sets it aside.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hoichan.adapters import frames
from hoichan.adapters.forwards_sql import ANSWERED, CLOSED, ForwardsSql
from hoichan.errors import (
    HoichanError,
    IntakeError,
    NotConvertible,
    NotDeidentifiable,
    RecordsUnavailable,
    StudyUnknown,
    Unreachable,
)
from hoichan.guard.deidentify import deidentify
from hoichan.guard.options import Options
from hoichan.guard.reading import UNREADABLE
from hoichan.intake.rejections import withdrawn
from hoichan.ports import Spool, Studies
from hoichan.reporting.deliveries import next_attempt
from hoichan.reporting.forwarding import Courier, Errand, ForwardState, Piece, Told, errands_of
from hoichan.settings import AnyDestination, Forward, Work
from hoichan.types import Instance, Study
from service import background
from service.alone import POISON_STARTS
from service.starts import KILLS_WORKER, Starts

log = structlog.get_logger()

BATCH = 200  # instances handed over at a time
BATCH_WITHOUT_PERSON = 10  # each is a new file for as long as it travels
PLAN_SECONDS = 1.0
LONGEST_REST_SECONDS = 60.0  # of the thread of a receiver that does not answer
LEFT_BEHIND_SECONDS = 86400.0  # changed objects of a batch that old belong to a process that was killed
OUT_OF_MEMORY = "out_of_memory"
# Pixels come out of these as they went in (PS3.5 A.4); unpacking anything else could lose a little.
LOSSLESS = frozenset(
    {
        *frames.NATIVE,
        "1.2.840.10008.1.2.5",  # RLE
        "1.2.840.10008.1.2.4.57",  # JPEG lossless
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",  # JPEG-LS
        "1.2.840.10008.1.2.4.90",  # JPEG 2000
        "1.2.840.10008.1.2.4.201",  # HTJ2K
        "1.2.840.10008.1.2.4.202",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """Rules and receivers of one version."""

    rules: Mapping[str, Forward]
    destinations: Mapping[str, AnyDestination]
    couriers: Mapping[str, Courier]


def _nobody(_errand: Errand) -> bool:
    """There is no process of its own: what killed twice is set aside."""
    return False


class Forwarding:
    """The rules, the rows and the receivers."""

    def __init__(
        self,
        rules: Sequence[Forward],
        *,
        destinations: Mapping[str, AnyDestination],
        couriers: Mapping[str, Courier],
        forwards: ForwardsSql,
        studies: Studies,
        spool: Spool,
        work: Work,
        key: Callable[[], bytes],
        folder: Path,
        awaited: Callable[[str], bool] = lambda rule: False,
        alone: Callable[[Errand], bool] = _nobody,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key`: of de-identification; `folder`: where objects lie that are changed on the way.

        `awaited`: whether a rule that is not known here will be in a moment. `alone` tries one instance in a
        process of its own; False: that was killed.
        """
        self._lines = _Lines(
            rules={rule.name: rule for rule in rules}, destinations=destinations, couriers=couriers
        )
        self._awaited = awaited
        self._forwards = forwards
        self._studies = studies
        self._spool = spool
        self._work = work
        self._key = key
        self._folder = folder
        self._monotonic = monotonic
        self._alone = alone
        self._one_alone = threading.Lock()  # more of them may be what the memory cannot hold
        self._starts = Starts(forwards.begin_try, forwards.forgive_try)
        self._rests_until: dict[str, float] = {}
        self._thread: Callable[..., threading.Thread] | None = None  # starts one, once this has started
        self._threads: set[str] = set()

    def start(self, *, leads: Callable[[], bool], stop: threading.Event) -> None:
        """Begin, and go on until `stop`."""
        self.begin()
        self._thread = partial(background.start, leads=leads, stop=stop)
        self._start_threads()

    def begin(self) -> None:
        """From now on the rules count; what is here already stays. Raises RecordsUnavailable."""
        self._forwards.begin(list(self._lines.rules))

    def use(
        self,
        rules: Sequence[Forward],
        *,
        destinations: Mapping[str, AnyDestination],
        couriers: Mapping[str, Courier],
    ) -> None:
        """Other rules and receivers count from the next look on; what is on its way arrives as it began.

        Raises RecordsUnavailable, and then nothing has changed.
        """
        before = self._lines
        self._forwards.begin([rule.name for rule in rules])
        self._lines = _Lines(
            rules={rule.name: rule for rule in rules}, destinations=destinations, couriers=couriers
        )
        for name in couriers:
            if destinations[name] != before.destinations.get(name):  # where it goes now may answer
                self._rests_until.pop(name, None)
        self._start_threads()

    def _start_threads(self) -> None:
        """One that finds what is to be sent, and one a receiver. They stay; one with nothing to do looks."""
        if self._thread is None or not self._lines.rules:
            return
        work = {"forward-plan": (self.plan, PLAN_SECONDS)}
        for name in self._lines.couriers:
            work[f"forward-{name}"] = (partial(self.send, name), self._work.poll_seconds)
        for task in work.keys() - self._threads:
            step, pause_seconds = work[task]
            self._thread(task, step, pause_seconds=pause_seconds)
            self._threads.add(task)

    def plan(self) -> int:
        """Hold every rule against what is new; how many instances are to be sent."""
        planned, lines = 0, self._lines
        known = {name: one for name, one in lines.destinations.items() if one.active}
        for rule in lines.rules.values():
            if not rule.active:
                continue
            stage = ANSWERED if rule.needs_answer else CLOSED
            for revision in self._forwards.unplanned(rule.name, stage):
                try:
                    study = self._studies.load(revision.study, revision.revision)
                    errands = errands_of(rule, study, revision.answer, known, self._sender_of(study))
                except StudyUnknown:
                    errands = []
                if rule.deidentify is not None and errands:  # no note can follow them to take them back
                    rejected = withdrawn(self._spool, study) | self._studies.rejected(revision.study)
                    errands = [one for one in errands if one.sop_instance_uid not in rejected]
                planned += self._forwards.plan(rule.name, revision, stage, errands)
        return planned

    def _sender_of(self, study: Study) -> Callable[[Instance], str]:
        """Who sent each instance; the study's sender for what another machine received."""
        titles = {one.path: one.calling_ae_title for one in self._spool.listing(study.study_instance_uid)}
        return lambda instance: titles.get(instance.path, study.calling_ae_title)

    def send(self, destination: str) -> int:
        """Hand over what is due for one receiver, until nobody answers; how many were settled."""
        settled = 0
        while self._monotonic() >= self._rests_until.get(destination, 0.0):
            lines = self._lines
            courier = lines.couriers.get(destination)
            errands = self._forwards.due(destination, BATCH)
            if not errands:
                break
            rule = lines.rules.get(errands[0].rule)
            if rule is None or courier is None:
                settled += self._settle(self._without_rule(errands))
                continue
            if rule.deidentify is not None:
                errands = errands[:BATCH_WITHOUT_PERSON]
            with self._starts.counted(tuple(errands)) as begun:
                if begun and begun[0].begun > POISON_STARTS:  # it comes by itself
                    settled += self._try_alone(begun[0])
                elif begun:
                    settled += self._settle(self._words(courier, rule, begun))
        return settled

    def send_alone(self, errand: Errand) -> None:
        """Hand one over: this is the process of its own, and its start was counted."""
        courier, rule = self._lines.couriers.get(errand.destination), self._lines.rules.get(errand.rule)
        if rule is None or courier is None:
            self._settle(self._without_rule([errand]))
        else:
            self._settle(self._words(courier, rule, [errand]))

    def stop(self) -> None:
        """This worker is asked to end: nothing is begun any more, and what is cut off has killed nobody."""
        self._starts.stop()

    def _try_alone(self, errand: Errand) -> int:
        """Have it tried where its death hurts nobody; one that dies of it is set aside."""
        bound = log.bind(
            study=errand.study_instance_uid,
            instance=errand.sop_instance_uid,
            destination=errand.destination,
            rule=errand.rule,
        )
        with self._one_alone:
            self._starts.stay()
            bound.warning("forward_tried_alone", starts=errand.begun)
            if not self._alone(errand) and self._forwards.set_aside(errand, KILLS_WORKER):
                bound.error("forward_set_aside", detail=KILLS_WORKER)
        return 1

    def _settle(self, words: Sequence[Told]) -> int:
        """Write down what was said, and rest where somebody is to be asked later; how many were settled."""
        destination = words[0].errand.destination
        pauses = {one.errand.attempts: self._pause(one.errand) for one in words}
        words = self._forwards.settle(words, pauses)
        self._tell(destination, words)
        if any(one.later for one in words):
            rest = max(self._pause(one.errand).total_seconds() for one in words if one.later)
            self._rests_until[destination] = self._monotonic() + min(rest, LONGEST_REST_SECONDS)
        return sum(not one.later for one in words)

    def _pause(self, errand: Errand) -> timedelta:
        seconds = next_attempt(
            errand.attempts + 1, self._work.first_retry_seconds, self._work.longest_retry_seconds
        )
        return timedelta(seconds=seconds)

    def _without_rule(self, errands: Sequence[Errand]) -> list[Told]:
        if self._awaited(errands[0].rule):
            return [_later(one, "rule_awaited") for one in errands]
        return [_dead(one, "rule_not_configured") for one in errands]

    def _words(self, courier: Courier, rule: Forward, errands: Sequence[Errand]) -> list[Told]:
        with self._drawer() as drawer:
            prepared = [self._prepared(rule, errand, drawer) for errand in errands]
            words = [one for one in prepared if isinstance(one, Told)]
            words += self._brought(courier, [one for one in prepared if isinstance(one, Piece)])
            if rule.transcode == "lossless":
                words = list(self._in_another_syntax(courier, words, prepared, drawer))
        return words

    def _brought(self, courier: Courier, pieces: list[Piece]) -> list[Told]:
        """A word for each piece; those that nobody answered for are tried again."""
        words: list[Told] = []
        detail = "no answer"
        try:
            words.extend(courier.bring(pieces)) if pieces else None
        except Unreachable as error:
            detail = error.detail
        except Exception as error:  # noqa: BLE001  a third party's: one object must not hold up the others
            detail = error.code if isinstance(error, HoichanError) else type(error).__name__
        told = {word.errand for word in words}
        rest = [one.errand for one in pieces if one.errand not in told]
        return words + [_later(errand, detail, tries=1 if place else 2) for place, errand in enumerate(rest)]

    def _in_another_syntax(
        self, courier: Courier, words: Sequence[Told], prepared: Sequence[Piece | Told], drawer: Path
    ) -> Iterator[Told]:
        """What was refused for its transfer syntax, unpacked without loss, where that is possible."""
        pieces = {one.errand: one for one in prepared if isinstance(one, Piece)}
        for word in words:
            piece = pieces.get(word.errand)
            if not word.syntax_refused or piece is None:
                yield word
                continue
            last = word
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                try:
                    changed = _converted(piece, syntax, drawer)
                except MemoryError:
                    last = _later(word.errand, OUT_OF_MEMORY)
                    break
                if changed is None:
                    continue
                (last,) = self._brought(courier, [changed])
                if not last.syntax_refused:
                    break
            yield last

    # ------------------------------------------------------------------ objects on their way
    @contextmanager
    def _drawer(self) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another one cleared it
                if time.time() - left.stat().st_mtime > LEFT_BEHIND_SECONDS:
                    shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=self._folder) as drawer:
            yield Path(drawer)

    def _prepared(self, rule: Forward, errand: Errand, drawer: Path) -> Piece | Told:
        try:
            file = self._spool.file(PurePosixPath(errand.path))
        except IntakeError:
            return _dead(errand, "file_missing")
        except RecordsUnavailable as error:
            return _later(errand, error.code)
        if not file.exists():
            return _dead(errand, "file_missing")
        piece = Piece(
            errand=errand,
            study_instance_uid=errand.study_instance_uid,
            sop_class_uid=errand.sop_class_uid,
            sop_instance_uid=errand.sop_instance_uid,
            transfer_syntax_uid=errand.transfer_syntax_uid,
            file=file,
        )
        return piece if rule.deidentify is None else self._without_person(rule, piece, drawer)

    def _without_person(self, rule: Forward, piece: Piece, drawer: Path) -> Piece | Told:
        options = rule.deidentify
        assert options is not None
        chosen = Options(**options.model_dump(exclude={"allow_pixel_risk"}))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their texts quote values
                done = deidentify(dcmread(piece.file), key=self._key(), options=chosen)
                if done.burned_in_risk and not (options.allow_pixel_risk or piece.errand.released):
                    return Told(errand=piece.errand, state=ForwardState.HELD, detail="burned_in_risk")
                file = drawer / f"{done.data_set.SOPInstanceUID}.dcm"
                done.data_set.save_as(file, enforce_file_format=True)
        except NotDeidentifiable as error:
            return _dead(piece.errand, error.code)
        except MemoryError:  # there may be more of it later; those behind it go meanwhile
            return _later(piece.errand, OUT_OF_MEMORY)
        except (InvalidDicomError, *UNREADABLE):
            return _dead(piece.errand, "unreadable")
        return replace(
            piece,
            study_instance_uid=str(done.data_set.StudyInstanceUID),
            sop_instance_uid=str(done.data_set.SOPInstanceUID),
            sop_class_uid=str(done.data_set.SOPClassUID),
            transfer_syntax_uid=str(done.data_set.file_meta.TransferSyntaxUID),
            file=file,
        )

    def _tell(self, destination: str, words: Sequence[Told]) -> None:
        for word in words:
            if word.state in (ForwardState.DEAD, ForwardState.HELD):
                log.warning(
                    f"forward_{word.state}",
                    study=word.errand.study_instance_uid,
                    instance=word.errand.sop_instance_uid,
                    destination=destination,
                    rule=word.errand.rule,
                    detail=word.detail,
                )
        log.info(
            "forwarded",
            study=words[0].errand.study_instance_uid,
            destination=destination,
            rule=words[0].errand.rule,
            instances=sum(word.state is ForwardState.SENT for word in words),
            later=sum(word.later for word in words),
        )


def _converted(piece: Piece, syntax: str, drawer: Path) -> Piece | None:
    """The same object in another transfer syntax; None where that could lose something."""
    if piece.transfer_syntax_uid not in LOSSLESS or piece.transfer_syntax_uid == syntax:
        return None
    file = drawer / f"{piece.sop_instance_uid}.{syntax}.dcm"
    try:
        file.write_bytes(frames.converted(piece.file, syntax))
    except NotConvertible:
        return None
    return replace(piece, transfer_syntax_uid=syntax, file=file)


def _dead(errand: Errand, detail: str) -> Told:
    return Told(errand=errand, state=ForwardState.DEAD, detail=detail)


def _later(errand: Errand, detail: str, tries: int = 1) -> Told:
    return Told(errand=errand, state=ForwardState.PENDING, detail=detail, later=True, tries=tries)
