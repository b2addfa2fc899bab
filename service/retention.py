"""Removes the images that the rules let go: decided, written down, then done; at night, by one worker.

A removal that was decided and not finished, by a kill or a power cut, is finished after the next start: every
step changes nothing the second time. Results, documents, the trail and the audit log stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath

import structlog

from hoichan.adapters.audit_sql import AuditSql
from hoichan.adapters.retention_sql import DONE, DROPPED, Removal, RetentionSql
from hoichan.adapters.spool_shared import SharedSpool
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.ports import Clock
from hoichan.reporting.retention import Facts, Verdict, decide, least_days
from hoichan.settings import Settings
from hoichan.types import Sha256, SOPInstanceUID, Study, StudyInstanceUID

log = structlog.get_logger()

STEP_SECONDS = 60.0  # between two looks at the clock and the disk
PASS_AGAIN = timedelta(hours=1)  # after a whole pass
_AT_ONCE = 500  # studies asked about in one query

Trim = Callable[[datetime], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would happen now."""

    goes: Sequence[tuple[Verdict, int]]  # with the bytes on this machine
    kept: Sequence[Verdict]  # old enough for some rule, and staying all the same

    @property
    def reasons(self) -> dict[str, int]:
        """How many stay, by reason."""
        return dict(sorted(Counter(str(verdict.kept) for verdict in self.kept).items()))


class Keeper:
    """Carries the rules out on one machine."""

    def __init__(
        self,
        retention: RetentionSql,
        spool: SharedSpool,
        clock: Clock,
        settings: Settings,
        *,
        audit: AuditSql,
        trim: Trim | None = None,
        busy: Callable[[], bool] = lambda: False,
        elsewhere: Callable[[], Set[SOPInstanceUID]] = frozenset,
    ) -> None:
        """`trim` forgets finished work of the engine before a moment. While `busy`, nothing is removed.

        `elsewhere`: the instances of which another machine has a version in quarantine.
        """
        self._elsewhere = elsewhere
        self._busy = busy
        self._sql = retention
        self._spool = spool
        self._clock = clock
        self._settings = settings.retention
        self._zone = settings.site.zone
        self._audit = audit
        self._trim = trim
        self._passed_at: datetime | None = None
        self._swept_at: datetime | None = None

    # ------------------------------------------------------------------ what may go
    def plan(self) -> Plan:
        """What would go now, and what stays for another reason than its youth. Changes nothing."""
        goes, kept = [], []
        for _, verdict in self._verdicts(pressure=self._is_pressed()):
            if verdict.goes:
                trial = Removal(
                    removal_id=0,
                    study_instance_uid=verdict.study_instance_uid,
                    rule=str(verdict.rule),
                    marked_at=self._clock.now(),
                )
                paths = [image.path for image in self._sql.images(trial)]
                goes.append((verdict, self._spool.originals.size(paths)))
            else:
                kept.append(verdict)
        return Plan(goes=goes, kept=kept)

    def _verdicts(self, *, pressure: bool) -> Iterator[tuple[Facts, Verdict]]:
        days = least_days(self._settings, pressure=pressure)
        if days == float("inf"):
            return
        now = self._clock.now()
        for facts in self._sql.candidates(now - timedelta(days=days), self._quarantined()):
            yield facts, decide(facts, self._settings, now, pressure=pressure)

    def _quarantined(self) -> set[SOPInstanceUID]:
        """What lies in this machine's quarantine now, and what others told of theirs."""
        return self._spool.originals.quarantined() | self._elsewhere()

    def _is_pressed(self) -> bool:
        return self._spool.free_bytes() < self._settings.pressure_free_bytes

    # ------------------------------------------------------------------ the worker that leads
    def step(self) -> int:
        """One look at what is to be done now; returns how many studies lost their images."""
        if self._busy():
            return 0
        done = self.finish()
        now = self._clock.now()
        off_hours = self._settings.is_time(now.astimezone(self._zone).time())
        if self._settings.enabled and self._is_pressed():
            done += self.remove(pressure=True)
        if off_hours and (self._passed_at is None or now - self._passed_at >= PASS_AGAIN):
            if self._settings.enabled:
                done += self.remove()
            if self._trim is not None:
                self._trim(now - timedelta(days=self._settings.workflow_history_days))
            self._passed_at = now
        return done

    def finish(self) -> int:
        """Carry out what was decided and not finished; returns how many studies lost their images."""
        return sum(self._carry_out(removal) for removal in self._sql.marked())

    def remove(self, *, pressure: bool = False, progress: Callable[[], object] = lambda: None) -> int:
        """Remove what may go, oldest first; under pressure until the disk has room again."""
        count = 0
        quarantined = self._quarantined()
        for facts, verdict in self._verdicts(pressure=pressure):
            if pressure and not self._is_pressed():
                break
            if verdict.goes and self._remove(facts.study_instance_uid, quarantined, pressure=pressure):
                count += 1
                progress()
        return count

    def _remove(self, study: StudyInstanceUID, quarantined: set[SOPInstanceUID], *, pressure: bool) -> bool:
        now = self._clock.now()
        removal = self._sql.mark(
            study, lambda facts: decide(facts, self._settings, now, pressure=pressure), quarantined, now
        )
        return removal is not None and self._carry_out(removal)

    def _carry_out(self, removal: Removal) -> bool:
        """Files, then copies, then the word that it is done. Again from the start after a kill."""
        if self._busy():
            return False
        self._audit.check()  # nothing goes that could not be recorded
        if self._sql.is_held(removal.study_instance_uid):
            self._sql.end(removal, DROPPED, at=self._clock.now())
            return False
        images = self._sql.images(removal)
        removed = self._spool.originals.remove(
            [*(image.path for image in images), *self._own(removal)], before=removal.marked_at
        )
        self._spool.originals.remove_shared(Sha256(image.sha256) for image in images)
        self._audit.append(self._record(removal.study_instance_uid, removal.rule))
        log.info(
            "images_removed",
            study=removal.study_instance_uid,
            rule=removal.rule,
            files=removed.files,
            size_bytes=removed.size_bytes,
        )
        return self._sql.end(
            removal, DONE, at=self._clock.now(), files=removed.files, size_bytes=removed.size_bytes
        )

    def _own(self, removal: Removal) -> list[PurePosixPath]:
        """Files that are documents of ours, sent back by a PACS: the object store has them."""
        listing = self._spool.listing(removal.study_instance_uid)
        own = self._sql.own([spooled.path.stem for spooled in listing])
        return [spooled.path for spooled in listing if spooled.path.stem in own]

    # ------------------------------------------------------------------ every worker
    def sweep(self) -> int:
        """Remove from this machine what another one removed at its own; once a night. Returns the files."""
        now = self._clock.now()
        off_hours = self._settings.is_time(now.astimezone(self._zone).time())
        if self._busy() or not self._settings.enabled or not off_hours:
            return 0
        if self._swept_at is not None and now - self._swept_at < PASS_AGAIN:
            return 0
        files, here = 0, list(self._spool.every_study())
        for begin in range(0, len(here), _AT_ONCE):
            for study, removal in self._sql.done_of(here[begin : begin + _AT_ONCE]).items():
                if not self._sql.is_held(study):
                    paths = [image.path for image in self._sql.images(removal)]
                    files += self._spool.originals.remove(paths, before=removal.marked_at).files
                    files += self._remove_again(removal, paths, now)
        self._swept_at = now
        return files

    def _remove_again(self, removal: Removal, paths: Sequence[PurePosixPath], now: datetime) -> int:
        """Images that were removed and came once more, unchanged: they go by the rules as if they came first.

        Nothing new is recorded of them, so the study does not look younger to `step`. Returns the files.
        """
        study = removal.study_instance_uid
        here = [one.received_at for one in self._spool.listing(study) if one.path in set(paths)]
        came = [at for at in here if at >= removal.marked_at]
        facts = self._sql.facts(study, self._quarantined()) if came else None
        if facts is None:
            return 0
        youngest = max(facts.last_received_at, *came)
        verdict = decide(replace(facts, last_received_at=youngest), self._settings, now)
        if verdict.rule is None:
            return 0
        self._audit.check()  # nothing goes that could not be recorded
        removed = self._spool.originals.remove(paths, before=youngest + timedelta(microseconds=1))
        if removed.files:
            self._audit.append(self._record(study, verdict.rule))
            self._sql.removed_again(
                study, verdict.rule, at=now, files=removed.files, size_bytes=removed.size_bytes
            )
            log.info("images_removed_again", study=study, rule=verdict.rule, files=removed.files)
        return removed.files

    def _record(self, study: StudyInstanceUID, rule: str) -> AuditRecord:
        return AuditRecord(
            what=Audited.STUDY_DELETED,
            when=self._clock.now(),
            who="system",
            role="system",
            source="",
            uids=(study,),
            detail=f"retention:{rule}",
        )


def mark_removed(study: Study, retention: RetentionSql, spool: SharedSpool) -> Study:
    """The study, with those of its images marked that nobody can read any more. Raises RecordsUnavailable."""
    if not retention.done_of([study.study_instance_uid]):
        return study
    gone = {
        instance.sop_instance_uid
        for instance in study.instances
        if instance.rows is not None and not spool.holds(instance)
    }
    return replace(
        study,
        series=tuple(
            replace(
                series,
                instances=tuple(
                    replace(instance, removed=True) if instance.sop_instance_uid in gone else instance
                    for instance in series.instances
                ),
            )
            for series in study.series
        ),
    )
