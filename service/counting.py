"""How many images has the sender? Asked of its source while a study is coming, as evidence that it is whole.

Twice the same answer, with nothing come in between, and all of it here: the study closes at once. More there
than here: it waits, up to the cap. No answer: the quiet time decides, as without a source.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from hoichan.errors import Refused, Unreachable
from hoichan.intake.evidence import Count, keep_count
from hoichan.ports import Archive, Clock, Spool, Studies
from hoichan.settings import AnySource, sender_title
from hoichan.types import Study, StudyInstanceUID
from service.catch_up import lacking

log = structlog.get_logger()

SETTLED_SECONDS = 2.0  # the same answer after so long: nobody adds to it
LONGEST_SECONDS = 30.0  # between two questions about one study
DOWN_SECONDS = 30.0  # a source that does not answer is left alone for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What was last said of one study."""

    there: int
    held: int
    asked_at: datetime
    pause_seconds: float
    is_settled: bool


class Counting:
    """One source, asked about the studies of its senders only."""

    def __init__(
        self, source: AnySource, archive: Archive, spool: Spool, studies: Studies, clock: Clock
    ) -> None:
        self._source = source
        self._archive = archive
        self._spool = spool
        self._studies = studies
        self._clock = clock
        self._senders = {sender_title(source), *source.senders}
        self._answers: dict[StudyInstanceUID, _Answer] = {}
        self._not_before = clock.now()

    def step(self) -> None:
        """One look at every study that is still coming. Raises RecordsUnavailable."""
        if self._clock.now() < self._not_before:
            return
        receiving = list(self._studies.receiving())
        self._answers = {uid: self._answers[uid] for uid in receiving if uid in self._answers}
        for uid in receiving:
            before = self._answers.get(uid)
            now = self._clock.now()
            if before is not None and now < before.asked_at + timedelta(seconds=before.pause_seconds):
                continue
            study = self._studies.current(uid)
            if study is None or study.calling_ae_title not in self._senders or self._spool.is_open(uid):
                continue
            try:
                self._ask(study, before, now)
            except (Unreachable, Refused) as error:
                log.warning("count_failed", source=self._source.name, code=error.code)
                self._not_before = now + timedelta(seconds=DOWN_SECONDS)
                return

    def _ask(self, study: Study, before: _Answer | None, now: datetime) -> None:
        uid, held = study.study_instance_uid, len(study.instances)
        if before is not None and before.is_settled and before.held == held:
            return
        holding = self._archive.holding(uid)
        if holding is None:  # not there, or not yet: it says nothing
            self._answers[uid] = _Answer(
                there=0, held=held, asked_at=now, pause_seconds=LONGEST_SECONDS, is_settled=False
            )
            return
        missing = 0
        there = holding.instances
        if there is None or there != held:  # documents of ours may be there, too: only names tell
            listed = self._archive.instances(uid)
            there, missing = len(listed), len(lacking(self._spool, self._studies, uid, listed))
        same = before is not None and (before.there, before.held) == (there, held)
        settled = same and not missing
        pause = (
            SETTLED_SECONDS if before is None or not same else min(before.pause_seconds * 2, LONGEST_SECONDS)
        )
        self._answers[uid] = _Answer(
            there=there, held=held, asked_at=now, pause_seconds=pause, is_settled=settled
        )
        keep_count(
            self._spool,
            uid,
            Count(source=self._source.name, held=held, missing=missing, settled=settled),
        )
        if settled or (missing and not same):
            self._studies.note(
                uid, "instances_counted", sender=self._source.name, instances=there, missing=missing
            )
        log.info(
            "instances_counted",
            study=uid,
            source=self._source.name,
            there=there,
            held=held,
            missing=missing,
            settled=settled,
        )
