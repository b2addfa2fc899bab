"""From the spool to the record: what arrived of a study is written down, once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import structlog

from hoichan.errors import IntakeError
from hoichan.intake.assembly import merge
from hoichan.intake.dataset import read_spooled
from hoichan.intake.patients import is_other_person
from hoichan.ports import Originals, Spool, Spooled, Studies
from hoichan.settings import Settings
from hoichan.types import Instance, SOPInstanceUID, Study, StudyInstanceUID
from service.corrections import Corrections
from service.damaged import tell_damaged
from service.rejections import is_of_results_only, rejection_in, tell

log = structlog.get_logger()

Reading = Callable[[str], object]  # SOP Instance UID; "": nothing


def _quiet(_instance: str) -> None:
    """Nobody asks what is read."""


class Recorder:
    """Records the images of studies."""

    def __init__(
        self,
        spool: Spool,
        studies: Studies,
        settings: Settings,
        originals: Originals | None = None,
        corrections: Corrections | None = None,
    ) -> None:
        """`originals` None: every machine that works reads from the same spool."""
        self._spool = spool
        self._studies = studies
        self._settings = settings
        self._originals = originals
        self._corrections = corrections
        self._damaged: dict[tuple[StudyInstanceUID, SOPInstanceUID], str] = {}  # code; told once

    def record(self, uid: StudyInstanceUID, but: Collection[str] = (), reading: Reading = _quiet) -> None:
        """Write down the instances of the study that are not in the record yet.

        `but`: instances that are not read. `reading` is told each instance before it is read, and "" after.
        """
        current = self._studies.current(uid)
        known = {instance.path: instance for instance in current.instances} if current else {}
        listing = [one for one in self._spool.listing(uid) if one.path.stem not in but]
        self._hold_against(known, listing)
        parts = self._read(uid, [s for s in listing if s.path not in known], reading)
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

    def _read(self, uid: StudyInstanceUID, spooled: Sequence[Spooled], reading: Reading) -> list[Study]:
        parts = []
        for one in spooled:
            reading(one.path.stem)
            try:
                character_set = self._settings.listener.character_set_of(one.calling_ae_title)
                parts.append(read_spooled(self._spool, one, self._settings.site.zone, character_set))
            except IntakeError as error:
                self._cannot_read(uid, SOPInstanceUID(one.path.stem), error)
        reading("")
        return parts

    def _cannot_read(self, uid: StudyInstanceUID, instance: SOPInstanceUID, error: IntakeError) -> None:
        if (uid, instance) not in self._damaged:
            self._damaged[uid, instance] = error.code
            log.error("spooled_file_unreadable", study=uid, instance=instance, code=error.code)
