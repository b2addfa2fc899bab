"""What orders, corrected patients and changed images mean for studies: the worker's side of the order door.

One look a study (`look`), when images came, and one round every few seconds (`step`) over what was told
meanwhile. Everything is read from the record and written to it, so a crash anywhere repeats a step and
changes nothing twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import structlog

from hoichan.adapters.changes_sql import ChangesSql
from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.links_sql import LinksSql
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.errors import IntakeError
from hoichan.intake.changes import Changed, Difference, changes_of, difference
from hoichan.intake.dataset import read_spooled
from hoichan.intake.orders import may_fill
from hoichan.intake.patients import Doubt
from hoichan.ports import Clock, Spool, Spooled, Studies
from hoichan.reporting.deliveries import plan_retraction
from hoichan.settings import Settings
from hoichan.types import SOPInstanceUID, Study, StudyInstanceUID, StudyState

log = structlog.get_logger()


class Corrections:
    """Follows what is told of a study besides its images."""

    def __init__(
        self,
        corrections: CorrectionsSql,
        links: LinksSql,
        retractions: RetractionsSql,
        changes: ChangesSql,
        spool: Spool,
        studies: Studies,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._corrections = corrections
        self._links = links
        self._retractions = retractions
        self._changes = changes
        self._spool = spool
        self._studies = studies
        self._clock = clock
        self._settings = settings

    def use(self, settings: Settings) -> None:
        """Other receivers count from now on."""
        self._settings = settings

    def arrived(self, parts: Sequence[Study]) -> None:
        """New images of a study that is on record, before they are: are they of its patient?"""
        self._corrections.arrived(parts)

    def may_go_on(self, study: Study) -> bool:
        """Follow what was told before a study came; False while a person has to decide about it first."""
        uid = study.study_instance_uid
        self._follow_changes(study)
        if study.state is StudyState.RECEIVING:
            self._corrections.catch_up(uid)
            self._link(uid)
        return not self._corrections.holds(uid)

    def _follow_changes(self, study: Study) -> None:
        """Tell of refused objects, and of other content; follow a patient corrected at the console.

        Followed when every image of the study came again with the same pixels and the same other patient:
        then the whole study was somebody else's. Of a part of it only a person can say.
        """
        uid = study.study_instance_uid
        here = {instance.sop_instance_uid: instance.path for instance in study.instances}
        noted = changes_of(self._spool.notes, uid)
        for refused in (one for one in noted if one.refused is not None):
            self._changes.refused(study, refused)
            self._spool.notes.remove(refused.note)
        found = [one for one in noted if one.refused is None]
        for changed in found:
            if changed.sop_instance_uid not in here:
                continue  # not recorded yet: looked at again with it
            kind, part = self._compared(here[changed.sop_instance_uid], changed, study)
            instance = part.instances[0] if part is not None else None
            is_new = self._changes.add(
                uid,
                changed,
                kind,
                sha256=instance.sha256
                if instance
                else hashlib.sha256(str(changed.path).encode()).hexdigest(),
                patient=(part or study).patient,
                accession=(part or study).accession_number,
            )
            if is_new:
                log.error("content_changed", study=uid, instance=changed.sop_instance_uid, difference=kind)
            self._spool.notes.remove(changed.note)
        agreed = self._changes.agreed(uid) if found else None
        if agreed is not None:
            patient, accession, whole = agreed
            first = found[0].sop_instance_uid
            self._corrections.resent(uid, patient, accession, instance=first, whole=whole)

    def _compared(
        self, first: PurePosixPath, changed: Changed, study: Study
    ) -> tuple[Difference, Study | None]:
        kind = difference(self._spool, first, changed.path)
        spooled = Spooled(
            path=changed.path, calling_ae_title=changed.calling_ae_title, received_at=self._clock.now()
        )
        try:
            character_set = self._settings.listener.character_set_of(changed.calling_ae_title)
            part = read_spooled(self._spool, spooled, self._settings.site.zone, character_set)
        except (IntakeError, OSError):
            return Difference.UNREADABLE, None
        if part.study_instance_uid != study.study_instance_uid:
            return Difference.ATTRIBUTES, part
        return kind, part

    def expected(self, study: StudyInstanceUID) -> int | None:
        """How many images the order of the study consists of; None where nobody said."""
        link = self._links.of(study)
        procedure = link.order.procedure if link else None
        if procedure is None:
            return None
        wanted = (one for one in self._settings.orders.expectations if one.procedure == procedure.code_value)
        return next((one.instances for one in wanted), None)

    def step(self) -> tuple[StudyInstanceUID, ...]:
        """One round over what was told; the studies to be looked at again."""
        corrected = self._corrections.apply_events()
        for uid in corrected:
            log.info("patient_corrected", study=uid)
        ordered = self._links.take_fresh()
        for uid in dict.fromkeys((*corrected, *ordered)):
            self._link(uid)
        for retraction in self._retractions.pending():
            self.retract(retraction.study_instance_uid)
        return (*ordered, *self._corrections.released())

    def retract(self, study: StudyInstanceUID) -> None:
        """Write what takes the study's reports back from a former patient; before any new report of it."""
        from hoichan.encoding.retraction import (  # noqa: PLC0415
            BY_A_NOTE,
            BY_A_READER,
            WITHDRAWN,
            retraction_uid,
            withdraw,
        )

        for retraction in self._retractions.pending(study):
            now = self._clock.now().astimezone(self._settings.site.zone)
            words = BY_A_READER if retraction.by_reader else BY_A_NOTE if retraction.by_note else WITHDRAWN
            sent = self._retractions.sent(retraction)
            made = withdraw(sent, language=self._settings.site.language, now=now, words=words)
            uid = SOPInstanceUID(retraction_uid(retraction.report_uid))
            told = [
                one for one in self._settings.effective_destinations if one.name in retraction.destinations
            ]
            planned = plan_retraction(uid, study, told, made, self._clock.now())
            if self._retractions.keep(retraction, uid, conclusion=words, made=made, planned=planned):
                log.info("report_withdrawn", study=study, report=retraction.report_uid)

    def _link(self, uid: StudyInstanceUID) -> None:
        """Tie the study to its order. A number that only the order knows is a person's to take over.

        But the accession number, where the order is certainly the study's: it is filled in.
        """
        study = self._studies.current(uid)
        link = self._links.link(study) if study is not None else None
        if study is None or link is None:
            return
        order = link.order
        if not (study.accession_number or "").strip() and order.accession_number:
            certain = self._settings.orders.fill_accession and may_fill(link.match, study)
            if certain and self._corrections.fill_accession(uid, link.order_id, order.accession_number):
                log.info("accession_filled", study=uid, reason=link.reason)
                return
            self._corrections.propose(
                uid, Doubt.ACCESSION_PROPOSED, link.order_id, study.patient, order.accession_number
            )
        if not study.patient.patient_id.reveal().strip() and order.patient.patient_id.reveal().strip():
            self._corrections.propose(
                uid, Doubt.PATIENT_ID_PROPOSED, link.order_id, order.patient, study.accession_number
            )
