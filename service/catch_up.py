"""Nothing missed after downtime: each source is asked what came since the last contact.

    what is new there -> written down with the mark -> compared with ours -> what is missing is fetched

What has to be compared is in the record before the mark moves on, so a kill at any moment loses no study and
fetches none twice. Fetched instances go through the spool like all others; no step here makes a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from hoichan.adapters.sources_sql import Contact, SourcesSql, Wanted, WantedState
from hoichan.errors import HoichanError, Refused, SpoolFull, Unreachable
from hoichan.ports import Archive, Clock, Holding, Spool, Studies
from hoichan.settings import AnySource
from hoichan.types import SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID

log = structlog.get_logger()

STUDIES_A_STEP = 5  # then the thread looks whether it is to stop
OPEN_SECONDS = 10.0  # until a study that is just being sent is looked at again
COMPARED_SECONDS = 3600.0  # until a study of a source that tells no numbers is compared again
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 15.0, 900.0  # while a source does not answer
MOST_ATTEMPTS = 6  # that brought nothing, before a study is given up
KEPT = timedelta(days=90)  # settled studies that a source does not name any more


class CatchUp:
    """One source. Safe to be stopped anywhere, and to run twice at the same time."""

    def __init__(
        self,
        source: AnySource,
        archive: Archive,
        record: SourcesSql,
        spool: Spool,
        studies: Studies,
        clock: Clock,
    ) -> None:
        self._source = source
        self._archive = archive
        self._record = record
        self._spool = spool
        self._studies = studies
        self._clock = clock
        self._begun = False  # asked since this process started
        self._fetch_at = clock.now()  # not before, where the line is thin

    def step(self) -> None:
        """One look: ask when it is time, and fetch what is due. Raises RecordsUnavailable."""
        contact = self._record.contact(self._source.name)
        now = self._clock.now()
        if contact.next_at is not None and now < contact.next_at and self._begun:
            return
        try:
            if self._is_time(contact, now):
                self._ask(contact, now)
            for wanted in self._record.wanted(self._source.name, now, limit=STUDIES_A_STEP):
                if self._clock.now() < self._fetch_at:
                    break
                self._compare(wanted)
        except (Unreachable, Refused, SpoolFull) as error:
            self._failed(contact, error)

    # ---------------------------------------------------------------------------------------------- asking
    def _is_time(self, contact: Contact, now: datetime) -> bool:
        """At once after a start; then every `every_seconds`."""
        if not self._begun or contact.contacted_at is None or contact.failures:
            return True
        return now - contact.contacted_at >= timedelta(seconds=self._source.every_seconds)

    def _ask(self, contact: Contact, now: datetime) -> None:
        changes = self._archive.changes(contact.mark, now=now)
        holdings = [holding for holding in changes.holdings if self._is_ours(holding)]
        wanted = self._record.answered(
            self._source.name, holdings, mark=changes.mark, now=now, due_at=self._due_at(contact, now)
        )
        self._record.forget(self._source.name, before=now - KEPT)
        self._begun = True
        away = (now - contact.contacted_at).total_seconds() if contact.contacted_at else None
        log.info(
            "source_asked",
            source=self._source.name,
            studies=len(holdings),
            to_compare=wanted,
            seconds_since_contact=None if away is None else round(away),
        )

    def _due_at(self, contact: Contact, now: datetime) -> datetime:
        """What is new there may be on its way to us; after a gap nobody is going to send it again."""
        gap = timedelta(seconds=2 * self._source.every_seconds)
        if contact.contacted_at is None or now - contact.contacted_at > gap:
            return now
        return now + timedelta(seconds=self._source.settle_seconds)

    def _is_ours(self, holding: Holding) -> bool:
        chosen = set(self._source.modalities)
        return not chosen or not holding.modalities or not chosen.isdisjoint(holding.modalities)

    def _failed(self, contact: Contact, error: HoichanError) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(contact.failures, 16), LONGEST_PAUSE_SECONDS)
        self._begun = True
        failures = self._record.failed(
            self._source.name,
            code=error.code,
            next_at=self._clock.now() + timedelta(seconds=pause),
        )
        detail = getattr(error, "detail", None) or getattr(error, "status", None)
        log.warning(
            "source_failed",
            source=self._source.name,
            code=error.code,
            detail=detail,
            failures=failures,
            seconds=pause,
        )

    # -------------------------------------------------------------------------------------------- fetching
    def _compare(self, wanted: Wanted) -> None:
        """Fetches what is missing of one study. Raises Unreachable, Refused or SpoolFull."""
        study, now = wanted.study_instance_uid, self._clock.now()
        if self._spool.is_open(study):
            self._settle(wanted, WantedState.WANTED, missing=0, due_at=now + timedelta(seconds=OPEN_SECONDS))
            return
        missing = lacking(self._spool, self._studies, study, self._archive.instances(study))
        if not missing:
            self._held(wanted, now)
            return
        name = self._source.name
        try:
            fetched = self._archive.fetch(study, missing)
        except Refused as error:  # this study only: the next one may be given
            log.error("study_refused", source=name, study=study, status=error.status)
            self._without(wanted, missing, code=error.status)
            return
        still = lacking(self._spool, self._studies, study, missing)
        came = len(missing) - len(still)
        self._pace(came)
        log.info("study_fetched", source=name, study=study, instances=came, missing=len(still))
        if came:
            self._studies.note(study, "study_fetched", sender=name, instances=came, missing=len(still))
        if not still:
            self._held(wanted, now)
        elif came:
            self._settle(wanted, WantedState.WANTED, missing=len(still), due_at=self._clock.now())
        else:
            self._without(wanted, still, code=fetched.code)

    def _held(self, wanted: Wanted, now: datetime) -> None:
        again = now + timedelta(seconds=COMPARED_SECONDS)
        self._settle(wanted, WantedState.HELD, missing=0, due_at=again)

    def _without(
        self, wanted: Wanted, missing: Mapping[SOPInstanceUID, SeriesInstanceUID], *, code: str
    ) -> None:
        """Nothing came: again later, and at last no more."""
        attempts = wanted.attempts + 1
        if attempts < MOST_ATTEMPTS:
            pause = min(FIRST_PAUSE_SECONDS * 2**attempts, LONGEST_PAUSE_SECONDS)
            due_at = self._clock.now() + timedelta(seconds=pause)
            self._settle(wanted, WantedState.WANTED, missing=len(missing), attempts=attempts, due_at=due_at)
            return
        study = wanted.study_instance_uid
        self._settle(
            wanted,
            WantedState.GIVEN_UP,
            missing=len(missing),
            attempts=attempts,
            due_at=self._clock.now() + timedelta(seconds=COMPARED_SECONDS),
        )
        log.error("study_not_fetched", source=self._source.name, study=study, missing=len(missing), code=code)
        self._studies.note(study, "study_not_fetched", sender=self._source.name, missing=len(missing))

    def _settle(
        self, wanted: Wanted, state: WantedState, *, missing: int, due_at: datetime, attempts: int = 0
    ) -> None:
        self._record.settle(
            self._source.name,
            wanted.study_instance_uid,
            state,
            missing=missing,
            attempts=attempts,
            due_at=due_at,
        )

    def _pace(self, instances: int) -> None:
        if self._source.instances_per_minute:
            seconds = 60.0 * instances / self._source.instances_per_minute
            self._fetch_at = self._clock.now() + timedelta(seconds=seconds)


def lacking(
    spool: Spool,
    studies: Studies,
    study: StudyInstanceUID,
    there: Mapping[SOPInstanceUID, SeriesInstanceUID],
) -> dict[SOPInstanceUID, SeriesInstanceUID]:
    """What a source has of a study and we have not: neither in the spool nor on record, nor written by us."""
    here = {spooled.path.stem for spooled in spool.listing(study)}
    current = studies.current(study)
    known = {str(instance.sop_instance_uid) for instance in current.instances} if current else set()
    held = here | known
    rest = [uid for uid in there if uid not in held]
    own = studies.own(rest) if rest else set()
    return {uid: there[uid] for uid in rest if uid not in own}
