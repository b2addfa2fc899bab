"""A PACS that is asked for what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hoichan.types import Patient, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One study as an archive has it."""

    study_instance_uid: StudyInstanceUID
    instances: int | None = None  # (0020,1208); None: the archive does not say
    modalities: tuple[str, ...] = ()  # (0008,0061); empty: the archive does not say
    study_datetime: datetime | None = None  # aware, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What came to an archive since a mark."""

    holdings: Sequence[Holding]
    mark: str  # for the next question, once these are written down


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of fetching."""

    stored: int  # instances that are safe in the spool, those that were there before included
    failed: int  # that the archive did not give, or that could not be taken
    code: str = ""  # of the last failure


class Archive(Protocol):
    """A PACS that is asked for what it has. Every call raises Unreachable (again later) or Refused."""

    def changes(self, mark: str | None, *, now: datetime) -> Changes:
        """What came since the mark, and perhaps more; None: within the first window."""
        ...

    def holding(self, study: StudyInstanceUID) -> Holding | None:
        """One study; None when it is not there."""
        ...

    def instances(self, study: StudyInstanceUID) -> Mapping[SOPInstanceUID, SeriesInstanceUID]:
        """Every instance of a study, with its series."""
        ...

    def studies_of(self, patient: Patient) -> Sequence[Holding]:
        """Every study of one person, by the patient's number; none where that is empty or has wildcards."""
        ...

    def body_parts(self, study: StudyInstanceUID) -> Sequence[str]:
        """Body Part Examined (0018,0015) of the series of a study; none where the archive does not say."""
        ...

    def fetch(self, study: StudyInstanceUID, wanted: Mapping[SOPInstanceUID, SeriesInstanceUID]) -> Fetched:
        """Brings instances of a study into the spool. Raises SpoolFull, too."""
        ...
