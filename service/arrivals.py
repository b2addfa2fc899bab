"""From the spool to assembled studies: record what arrived, and close a revision when it is complete.

The spool's marks say where to look; the files say what is there. A mark is taken before the files are
listed, so an image that comes in between is marked again and never missed. Whatever a crash leaves
half done is found by `recover` at the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from hoichan.errors import IntakeError
from hoichan.intake.assembly import completeness, merge
from hoichan.intake.dataset import read_spooled
from hoichan.intake.evidence import evidence_of
from hoichan.ports import Clock, Engine, Spool, Spooled, Studies
from hoichan.settings import Settings
from hoichan.types import Study, StudyInstanceUID
from service.rejections import is_of_results_only, rejection_in, tell

log = structlog.get_logger()

LONGEST_WAIT = timedelta(seconds=1)


class Arrivals:
    """Watches the spool and hands assembled revisions to the engine."""

    def __init__(
        self, spool: Spool, studies: Studies, engine: Engine, clock: Clock, settings: Settings
    ) -> None:
        self._spool = spool
        self._studies = studies
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._waiting: dict[StudyInstanceUID, datetime] = {}  # when to look again
        self._unreadable: set[str] = set()  # told once, not at every look

    def recover(self) -> None:
        """After a start: look at every study whose files or revisions are not all taken up."""
        for uid in self._spool.every_study():
            current = self._studies.current(uid)
            known = len(current.instances) if current else 0
            if known != len(self._spool.listing(uid)):
                self._spool.mark_fresh(uid)
        for uid in self._studies.receiving():
            self._spool.mark_fresh(uid)
        self.resume()

    def resume(self) -> None:
        """Give the engine every assembled revision it may not know, and again what it gave up.

        It gives up when the record could not be reached for minutes; a study is not to blame for that.
        One that kills its workers is set aside by the worker's own count.
        """
        for uid, revision, run in self._studies.unfinished():
            if self._engine.gave_up(uid, revision, run):
                again = self._studies.take_up(uid, revision)
                if again is not None:
                    self._engine.enqueue_study(uid, revision, again)
            else:
                self._engine.enqueue_study(uid, revision, run)

    def step(self) -> bool:
        """One round over what is fresh and what is due; whether anything was there to do."""
        now = self._clock.now()
        fresh = set(self._spool.take_fresh())
        due = {uid for uid, at in self._waiting.items() if at <= now}
        for uid in sorted(fresh | due):
            self._waiting.pop(uid, None)
            try:
                self._look(uid)
            except Exception:
                self._spool.mark_fresh(uid)  # taken, and not done: somebody has to look again
                raise
        return bool(fresh or due)

    def _look(self, uid: StudyInstanceUID) -> None:
        self._record(uid)
        study = self._studies.current(uid)
        if study is None:
            return
        verdict = completeness(
            study,
            is_open=self._spool.is_open(uid),
            now=self._clock.now(),
            rules=self._settings.assembly,
            senders=self._settings.listener.senders,
            evidence=evidence_of(self._spool, uid),
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
            self._engine.enqueue_study(uid, assembled.revision)

    def _record(self, uid: StudyInstanceUID) -> None:
        """Write down the instances of the study that are not in the record yet."""
        current = self._studies.current(uid)
        known = {instance.path for instance in current.instances} if current else set()
        parts = self._read(uid, [s for s in self._spool.listing(uid) if s.path not in known])
        own = self._studies.own([part.instances[0].sop_instance_uid for part in parts])
        parts = [part for part in parts if part.instances[0].sop_instance_uid not in own]
        if own:
            log.info("own_documents_returned", study=uid, instances=len(own))
        noted = [(part, note) for part in parts if (note := rejection_in(self._spool, part)) is not None]
        of_results = [part for part, note in noted if is_of_results_only(self._studies, note)]
        parts = [part for part in parts if part not in of_results]
        if parts:
            arrived = merge(parts)
            added = self._studies.add_arrivals(arrived, arrived.instances)
            log.info("instances_recorded", study=uid, instances=added, sender=arrived.calling_ae_title)
        for part, note in noted:
            tell(self._studies, part, note)

    def _read(self, uid: StudyInstanceUID, spooled: Sequence[Spooled]) -> list[Study]:
        parts = []
        for one in spooled:
            try:
                parts.append(read_spooled(self._spool, one, self._settings.site.zone))
            except IntakeError as error:
                name = str(one.path)
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    log.error("spooled_file_unreadable", study=uid, code=error.code)
        return parts
