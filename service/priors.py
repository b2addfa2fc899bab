"""Earlier studies of the same patient, fetched before scoring, so that they are there for whoever reads.

They are kept and named, and nothing more: no model is asked about them, no report is written, and no report
says that anything was compared. A source that does not answer in time holds nobody up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo

import structlog

from hoichan.adapters.sources_sql import SourcesSql
from hoichan.errors import HoichanError
from hoichan.intake.priors import PriorNote, body_parts, is_prior, mark_prior, may_compare
from hoichan.ports import Archive, Clock, Holding, Spool, Studies
from hoichan.privacy import Phi
from hoichan.settings import AnySource
from hoichan.types import Patient, SOPInstanceUID, Study, StudyInstanceUID
from service.catch_up import lacking

log = structlog.get_logger()

MOST_ASKED = 40  # earlier studies of one person whose body part is asked for, newest first
AT_A_TIME = 2  # studies whose earlier ones are fetched
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSource:
    """A source that is asked for earlier studies."""

    source: AnySource
    archive: Archive


class Priors:
    """Looks for earlier studies in the order of the sources; the first that has any gives them."""

    def __init__(
        self,
        sources: Sequence[PriorSource],
        record: SourcesSql,
        spool: Spool,
        studies: Studies,
        clock: Clock,
        zone: tzinfo,
        former_numbers: Callable[[Patient], Sequence[tuple[str, str | None]]] = lambda patient: (),
    ) -> None:
        """`former_numbers`: numbers and issuers that were merged into a patient's."""
        self._former_numbers = former_numbers
        self._zone = zone
        self._sources = [one for one in sources if one.source.priors]
        self._record = record
        self._spool = spool
        self._studies = studies
        self._clock = clock
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="priors")
        self._running: dict[StudyInstanceUID, Future[tuple[date, ...]]] = {}
        self._lock = threading.Lock()

    def gather(self, study: Study) -> tuple[date, ...]:
        """Fetches them, or goes on without after `prior_wait_seconds`; what is late comes all the same.

        Returns the days of those that are here, newest first, in the site's zone.
        """
        if not self._sources or not study.patient.patient_id.reveal().strip():
            return ()
        with self._lock:
            work = self._running.get(study.study_instance_uid)
            if work is None or work.done():
                work = self._pool.submit(self._gather, study)
                self._running = {uid: one for uid, one in self._running.items() if not one.done()}
                self._running[study.study_instance_uid] = work
        try:
            return work.result(timeout=max(one.source.prior_wait_seconds for one in self._sources))
        except OutOfTime:
            log.warning("priors_late", study=study.study_instance_uid)
            return ()

    def close(self) -> None:
        """Begins nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _gather(self, study: Study) -> tuple[date, ...]:
        for one in self._sources:
            try:
                found = self._from(one, study)
            except HoichanError as error:
                log.warning(
                    "priors_failed", study=study.study_instance_uid, source=one.source.name, code=error.code
                )
            except Exception as error:  # noqa: BLE001 (outermost: nothing here may keep a study from its answer)
                log.error("priors_failed", study=study.study_instance_uid, error=type(error).__name__)
            else:
                if found is not None:
                    return found
        return ()

    def _from(self, one: PriorSource, study: Study) -> tuple[date, ...] | None:
        """The days of the earlier studies that are here now; None where this source has none."""
        contact = self._record.contact(one.source.name)
        if contact.next_at is not None and self._clock.now() < contact.next_at:
            return None  # it is known to be down
        found, unsure = self._chosen(one, study, self._studies_of(one, study.patient))
        if not found:
            return None
        here = [holding for holding in found if self._fetch(one, study, holding)]
        counts = {"priors": len(found), "here": len(here)}
        name = one.source.name
        self._studies.note(study.study_instance_uid, "priors_available", sender=name, **counts)
        if unsure:
            self._studies.note(study.study_instance_uid, "priors_by_modality", sender=name, priors=unsure)
        log.info("priors_available", study=study.study_instance_uid, source=name, unsure=unsure, **counts)
        return tuple(
            holding.study_datetime.astimezone(self._zone).date() for holding in here if holding.study_datetime
        )

    def _studies_of(self, one: PriorSource, patient: Patient) -> Sequence[Holding]:
        """What the source has under the patient's number and those that were merged into it, each once."""
        found = {holding.study_instance_uid: holding for holding in one.archive.studies_of(patient)}
        for number, issuer in self._former_numbers(patient):
            former = replace(patient, patient_id=Phi(number), issuer_of_patient_id=issuer)
            for holding in one.archive.studies_of(former):
                found.setdefault(holding.study_instance_uid, holding)
        return list(found.values())

    def _chosen(self, one: PriorSource, study: Study, found: Sequence[Holding]) -> tuple[list[Holding], int]:
        """The newest that show the same, and of how many of them nobody could tell the body part."""
        wanted = body_parts(series.body_part_examined for series in study.series)
        chosen: list[Holding] = []
        unsure = 0
        for holding in self._fitting(one, study, found)[:MOST_ASKED]:
            theirs = body_parts(one.archive.body_parts(holding.study_instance_uid) if wanted else ())
            if may_compare(wanted, theirs):
                chosen.append(holding)
                unsure += not wanted or not theirs
            if len(chosen) == one.source.priors:
                break
        return chosen, unsure

    def _fitting(self, one: PriorSource, study: Study, found: Sequence[Holding]) -> list[Holding]:
        """Those that are older than this one, of its modality, and that nobody waits to have judged."""
        modalities = {series.modality.upper() for series in study.series}
        at = study.study_datetime or self._clock.now()
        fitting = [
            holding
            for holding in found
            if holding.study_instance_uid != study.study_instance_uid
            and (holding.study_datetime is None or holding.study_datetime < at)
            and (not holding.modalities or not modalities.isdisjoint(holding.modalities))
            and not self._may_be_new(one, holding)
        ]
        return sorted(fitting, key=lambda holding: holding.study_datetime or BEGINNING, reverse=True)

    def _may_be_new(self, one: PriorSource, holding: Holding) -> bool:
        """Whether the catch-up has it in hand: a study that was missed is to be judged, not only kept."""
        if self._studies.current(holding.study_instance_uid) is not None:
            return False  # judged already
        if self._record.names(holding.study_instance_uid):
            return True
        if not one.source.catch_up or holding.study_datetime is None:
            return False
        window = timedelta(hours=one.source.window_hours)
        return holding.study_datetime > self._clock.now() - window

    def _fetch(self, one: PriorSource, study: Study, holding: Holding) -> bool:
        """Whether an earlier study is here, whole."""
        uid = holding.study_instance_uid
        there = one.archive.instances(uid)
        missing = lacking(self._spool, self._studies, uid, there)
        if not missing:
            return bool(there)
        arrived = {SOPInstanceUID(spooled.path.stem) for spooled in self._spool.listing(uid)}
        if self._studies.current(uid) is None and (not arrived or is_prior(self._spool.notes, uid, arrived)):
            note = PriorNote(
                study_instance_uid=uid,
                fetched_for=study.study_instance_uid,
                source=one.source.name,
                instances=frozenset(there),
            )
            mark_prior(self._spool.notes, note)
            one.archive.fetch(uid, missing)
            return not lacking(self._spool, self._studies, uid, there)
        return False  # it came by itself, in part; what is missing is the catch-up's
