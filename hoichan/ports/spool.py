"""Where the doors put what they accept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from hoichan.types import SOPInstanceUID, StudyInstanceUID

AtRest = Callable[[], AbstractContextManager[None]]  # entered while the disk is waited for


class Clock(Protocol):
    """The time of day."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the spool did with an object. Returned only after it is safe on disk."""

    sop_instance_uid: SOPInstanceUID
    study_instance_uid: StudyInstanceUID
    path: PurePosixPath  # inside the spool
    duplicate: bool  # the same bytes were there before
    quarantined: str | None  # the reason, where it went to quarantine instead of the study


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """One file of a study as the spool holds it."""

    path: PurePosixPath  # inside the spool
    calling_ae_title: str
    received_at: datetime  # aware, UTC


class Notes(Protocol):
    """Small facts that outlive a power cut: JSON values, UIDs and counts only."""

    def write(self, path: PurePosixPath, note: Mapping[str, Any]) -> None:
        """Keep a note in the place of the former one. Raises SpoolFull."""
        ...

    def read(self, path: PurePosixPath) -> Mapping[str, Any] | None:
        """A note; None where there is none."""
        ...

    def names(self, folder: PurePosixPath) -> Sequence[PurePosixPath]:
        """The notes of a folder, in the order of their names."""
        ...

    def remove(self, path: PurePosixPath) -> None:
        """Take a note away, if it is there."""
        ...


class Incoming(Protocol):
    """A data set while it arrives. It ends with `keep` or `drop`."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append the next bytes; they are not looked at after the return. Raises SpoolFull."""
        ...

    def keep(self, at_rest: AtRest = nullcontext) -> Stored:
        """File what has arrived. Raises SpoolFull, NotDicom, IncompleteObject or WrongSopClass.

        `at_rest` is entered while the disk is waited for.
        """
        ...

    def drop(self) -> None:
        """Forget it: the sender broke off. From any thread, harmless after `keep` and more than once."""
        ...


class Spool(Protocol):
    """Where every door puts what it accepts, and the only tie between the doors and the house.

    Any number of doors, in threads and processes, may store at the same time: of two that bring the same SOP
    Instance UID one is first, and the other hears `duplicate` or `quarantined`.
    """

    unmarked: set[StudyInstanceUID]
    """Studies with objects that the house could not be told of; it is when one of them comes again."""

    def store(
        self,
        data_set: bytes,
        *,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        calling_ae_title: str,
    ) -> Stored:
        """Keep one data set. Raises SpoolFull, NotDicom, IncompleteObject or WrongSopClass."""
        ...

    def receive(
        self, *, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str, calling_ae_title: str
    ) -> Incoming:
        """Begin to keep a data set that arrives piece by piece. Raises SpoolFull."""
        ...

    def opened(self, study: StudyInstanceUID, association: str) -> None:
        """An association is still sending into this study."""
        ...

    def released(self, association: str) -> None:
        """An association ended, however it ended."""
        ...

    def take_fresh(self) -> Sequence[StudyInstanceUID]:
        """Studies with arrivals since the last call; each mark is taken before its files are listed."""
        ...

    def looking(self, study: StudyInstanceUID | None) -> None:
        """What is looked at now, should this process die of it; None: nothing. Never raises."""
        ...

    def looked_at(self, study: StudyInstanceUID) -> None:
        """What came before the mark was taken is written down: the mark may go."""
        ...

    def deaths(self, study: StudyInstanceUID) -> int:
        """How many processes died looking at a study that was taken and is not looked at yet."""
        ...

    def give_back(self) -> int:
        """Mark again what somebody took and died before it was looked at; how many studies.

        Raises SpoolFull.
        """
        ...

    def mark_fresh(self, study: StudyInstanceUID) -> None:
        """Have this study looked at again."""
        ...

    def every_study(self) -> Sequence[StudyInstanceUID]:
        """All studies on disk."""
        ...

    def everything(self) -> Iterator[Mapping[StudyInstanceUID, frozenset[PurePosixPath]]]:
        """All studies on disk with the paths of their files, some thousands at a time."""
        ...

    def listing(self, study: StudyInstanceUID) -> Sequence[Spooled]:
        """The files of one study, oldest first."""
        ...

    def is_open(self, study: StudyInstanceUID) -> bool:
        """Whether an association is still sending into this study."""
        ...

    def locate(self, instances: Collection[str], among: Collection[str] | None = None) -> Mapping[str, str]:
        """SOP Class UID by SOP Instance UID, of those instances that are filed and safe on disk.

        `among`: the studies to look in; None: all of them, which may take as long as there are many.
        """
        ...

    @property
    def notes(self) -> Notes:
        """What the door and the house have to remember besides objects."""
        ...

    def file(self, path: PurePosixPath) -> Path:
        """The place on this machine of a path inside the spool."""
        ...

    def free_bytes(self) -> int:
        """Free space where the spool lies."""
        ...
