"""From the spool to assembled studies: record what arrived, and close a revision when it is complete.

The spool's marks say where to look; the files say what is there. A mark is taken before the files are
listed, so an image that comes in between is marked again and never missed; it is kept until all is written
down. Whatever a crash leaves half done is found by `recover` at the next start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import structlog
from pydicom.errors import BytesLengthException

from hoichan.errors import IntakeError
from hoichan.intake.assembly import completeness, merge
from hoichan.intake.dataset import read_spooled
from hoichan.intake.evidence import evidence_of
from hoichan.intake.patients import is_other_person
from hoichan.intake.priors import is_prior, prior_note
from hoichan.ports import Clock, Originals, Spool, Spooled, Studies
from hoichan.settings import Settings
from hoichan.types import Instance, SOPInstanceUID, Study, StudyInstanceUID
from service.corrections import Corrections
from service.damaged import tell_damaged
from service.order_of_work import Line
from service.rejections import is_of_results_only, rejection_in, tell

log = structlog.get_logger()

LONGEST_WAIT = timedelta(seconds=1)
POISON_WAIT = timedelta(minutes=1)  # before a study that made us stumble is looked at again
# What an object that no library reads may raise; neither the disk nor the database raises these.
_OF_ONE_STUDY = (ArithmeticError, AttributeError, BytesLengthException, LookupError, TypeError, ValueError)
ADOPT_PAUSE = timedelta(seconds=60)


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
    ) -> None:
        """`originals` None: every machine that works reads from the same spool."""
        self._corrections = corrections
        self._originals = originals
        self._spool = spool
        self._studies = studies
        self._line = line
        self._clock = clock
        self._settings = settings
        self._waiting: dict[StudyInstanceUID, datetime] = {}  # when to look again
        self._looked_at = datetime.min.replace(tzinfo=UTC)  # by a clock that somebody may set
        self._adopted_at = datetime.min.replace(tzinfo=UTC)
        self._damaged: dict[tuple[StudyInstanceUID, SOPInstanceUID], str] = {}  # code; told once

    def recover(self) -> None:
        """After a start: look at what was taken and not looked at, and at what no revision holds yet.

        What lies in the spool without any mark is found by `LeftBehind`.
        """
        self.take_over()
        for uid in self._studies.receiving():
            self._spool.mark_fresh(uid)

    def take_over(self) -> int:
        """Look at what somebody took who died meanwhile; returns how many studies."""
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
            self._waiting = dict.fromkeys(self._waiting, now)
        self._looked_at = now
        fresh = set(self._spool.take_fresh())
        due = {uid for uid, at in self._waiting.items() if at <= now}
        todo = sorted(fresh | due)
        for position, uid in enumerate(todo):
            try:
                self._waiting.pop(uid, None)
                self._spool.looking(uid)
                self._look(uid)
                self._spool.looked_at(uid)
            except _OF_ONE_STUDY as error:  # it must not hold up all those behind it
                log.error("study_not_looked_at", study=uid, code=f"unexpected.{type(error).__name__}")
                self._waiting[uid] = now + POISON_WAIT
            except Exception:
                for left in todo[position:]:  # their marks are taken: somebody has to look again
                    self._spool.mark_fresh(left)
                raise
        if todo:
            self._spool.looking(None)
        return bool(fresh or due)

    def _look(self, uid: StudyInstanceUID) -> None:
        if self._is_prior(uid):
            return
        self._record(uid)
        study = self._studies.current(uid)
        if study is None:
            return
        expected = None
        if self._corrections is not None:
            if not self._corrections.may_go_on(study):
                return  # looked at again when a person has decided
            study = self._studies.current(uid) or study
            expected = self._corrections.expected(uid)
        verdict = completeness(
            study,
            is_open=self._spool.is_open(uid),
            now=self._clock.now(),
            rules=self._settings.assembly,
            senders=self._settings.listener.senders,
            evidence=evidence_of(self._spool, uid),
            expected_instances=expected,
        )
        if not verdict.complete:
            if verdict.look_again_at is not None:  # an association may end without a further mark
                self._waiting[uid] = min(verdict.look_again_at, self._clock.now() + LONGEST_WAIT)
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

    def _is_prior(self, uid: StudyInstanceUID) -> bool:
        """Whether it was fetched beside another study, and holds nothing that somebody sent to be judged."""
        return prior_note(self._spool.notes, uid) is not None and (
            self._studies.current(uid) is None
            and is_prior(self._spool.notes, uid, (one.path.stem for one in self._spool.listing(uid)))
        )

    def _record(self, uid: StudyInstanceUID) -> None:
        """Write down the instances of the study that are not in the record yet."""
        current = self._studies.current(uid)
        known = {instance.path: instance for instance in current.instances} if current else {}
        listing = self._spool.listing(uid)
        self._hold_against(known, listing)
        parts = self._read(uid, [s for s in listing if s.path not in known])
        own = self._studies.own([part.instances[0].sop_instance_uid for part in parts])
        parts = [part for part in parts if part.instances[0].sop_instance_uid not in own]
        if own:
            log.info("own_documents_returned", study=uid, instances=len(own))
        noted = [(part, note) for part in parts if (note := rejection_in(self._spool, part)) is not None]
        of_results = [part for part, note in noted if is_of_results_only(self._studies, note)]
        parts = [part for part in parts if part not in of_results]
        for part, note in noted:  # before it is recorded: a crash in between forgets nothing
            tell(self._studies, part, note)
        parts = [part for part in parts if self._is_shared(part)]
        for group in self._by_person(parts, known=current is not None):
            arrived = merge(group)
            added = self._studies.add_arrivals(arrived, arrived.instances)
            log.info("instances_recorded", study=uid, instances=added, sender=arrived.calling_ae_title)
        for part, note in noted:
            tell(self._studies, part, note)
        tell_damaged(self._studies, uid, self._damaged)

    def _by_person(self, parts: Sequence[Study], *, known: bool) -> Iterator[Sequence[Study]]:
        """The parts in the order in which they are recorded: of somebody else only after that was told.

        So a crash in between never leaves two people in one study without a question.
        """
        if self._corrections is None or not parts:
            yield from [parts] if parts else []
            return
        first = min(parts, key=lambda part: part.instances[0].received_at).patient
        others = [part for part in parts if known or is_other_person(first, part.patient)]
        if len(others) < len(parts):
            yield [part for part in parts if part not in others]
        if others:
            self._corrections.arrived(others)
            yield others

    def _is_shared(self, part: Study) -> bool:
        """Whether every machine can read the instance now; not, where its file was damaged meanwhile."""
        if self._originals is not None:
            try:
                self._originals.share(part.instances[0])
            except IntakeError as error:
                self._cannot_read(part.study_instance_uid, part.instances[0].sop_instance_uid, error)
                return False
        return True

    def _hold_against(self, known: Mapping[PurePosixPath, Instance], listing: Sequence[Spooled]) -> None:
        """Set aside what this machine received under a UID that another recorded with other bytes."""
        if self._originals is None:
            return
        for one in listing:
            instance = known.get(one.path)
            if instance is not None and self._originals.set_aside_if_other(instance, one):
                log.error("changed_content_set_aside", sop_instance_uid=instance.sop_instance_uid)

    def _read(self, uid: StudyInstanceUID, spooled: Sequence[Spooled]) -> list[Study]:
        parts = []
        for one in spooled:
            try:
                character_set = self._settings.listener.character_set_of(one.calling_ae_title)
                parts.append(read_spooled(self._spool, one, self._settings.site.zone, character_set))
            except IntakeError as error:
                self._cannot_read(uid, SOPInstanceUID(one.path.stem), error)
        return parts

    def _cannot_read(self, uid: StudyInstanceUID, instance: SOPInstanceUID, error: IntakeError) -> None:
        if (uid, instance) not in self._damaged:
            self._damaged[uid, instance] = error.code
            log.error("spooled_file_unreadable", study=uid, instance=instance, code=error.code)
