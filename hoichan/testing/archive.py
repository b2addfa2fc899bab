"""A PACS in memory: the `Archive` port with whatever a test puts in, and its bad days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from pydicom import Dataset

from hoichan.errors import Refused, Unreachable
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.ports import Changes, Fetched, Holding, Spool
from hoichan.testing.datasets import encode
from hoichan.types import Patient, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID


class FakeArchive:
    """Gives what it holds to a spool, until it is told otherwise."""

    def __init__(self, spool: Spool, *, sender: str = "PACS") -> None:
        self._spool = spool
        self._sender = sender
        self._held: dict[StudyInstanceUID, dict[SOPInstanceUID, Dataset]] = {}
        self._log: list[StudyInstanceUID] = []  # the mark is a place in it
        self.is_down = False
        self.refuses = False
        self.withholds: set[str] = set()  # SOP Instance UIDs that it names and does not give
        self.tells_counts = True
        self.tells_parts = True
        self.questions: list[str] = []  # names of the calls, in order

    def put(self, *data_sets: Dataset) -> None:
        """Have it hold these."""
        for data_set in data_sets:
            study = StudyInstanceUID(str(data_set.StudyInstanceUID))
            self._held.setdefault(study, {})[SOPInstanceUID(str(data_set.SOPInstanceUID))] = data_set
            self._log.append(study)

    def changes(self, mark: str | None, *, now: datetime) -> Changes:
        """What was put since."""
        self._asked("changes")
        fresh = self._log[int(mark or 0) :]
        return Changes(
            holdings=[self._holding(study) for study in dict.fromkeys(fresh)], mark=str(len(self._log))
        )

    def holding(self, study: StudyInstanceUID) -> Holding | None:
        """One study."""
        self._asked("holding")
        return self._holding(study) if study in self._held else None

    def instances(self, study: StudyInstanceUID) -> Mapping[SOPInstanceUID, SeriesInstanceUID]:
        """All that it names, those that it does not give included."""
        self._asked("instances")
        held = self._held.get(study, {})
        return {uid: SeriesInstanceUID(str(one.SeriesInstanceUID)) for uid, one in held.items()}

    def studies_of(self, patient: Patient) -> Sequence[Holding]:
        """Those with exactly this number."""
        self._asked("studies_of")
        number = patient.patient_id.reveal()
        return [
            self._holding(study)
            for study, held in self._held.items()
            if number and any(str(one.PatientID) == number for one in held.values())
        ]

    def body_parts(self, study: StudyInstanceUID) -> Sequence[str]:
        """Those of its series, unless it does not tell."""
        self._asked("body_parts")
        if not self.tells_parts:
            return []
        return [str(one.get("BodyPartExamined", "")) for one in self._held.get(study, {}).values()]

    def fetch(self, study: StudyInstanceUID, wanted: Mapping[SOPInstanceUID, SeriesInstanceUID]) -> Fetched:
        """Into the spool."""
        self._asked("fetch")
        if self.refuses:
            raise Refused("fake", "0xA801")
        given = [uid for uid in wanted if uid not in self.withholds and uid in self._held.get(study, {})]
        for uid in given:
            one = self._held[study][uid]
            self._spool.store(
                encode(one),
                transfer_syntax_uid=EXPLICIT_LITTLE,
                sop_class_uid=str(one.SOPClassUID),
                sop_instance_uid=uid,
                calling_ae_title=self._sender,
            )
        failed = len(wanted) - len(given)
        return Fetched(stored=len(given), failed=failed, code="0xB000" if failed else "")

    def _asked(self, name: str) -> None:
        self.questions.append(name)
        if self.is_down:
            raise Unreachable("fake", "no association")

    def _holding(self, study: StudyInstanceUID) -> Holding:
        held = list(self._held[study].values())
        moments = [
            datetime.strptime(f"{one.StudyDate}{one.StudyTime}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            for one in held
        ]
        assert all(first == second for first, second in pairwise(moments)), "one study, one moment"
        return Holding(
            study_instance_uid=study,
            instances=len(held) if self.tells_counts else None,
            modalities=tuple(sorted({str(one.Modality) for one in held})),
            study_datetime=moments[0],
        )
