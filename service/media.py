"""A medium or a folder taken in as a whole: which files, what became of them, and how that is told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hoichan.errors import SpoolFull
from hoichan.intake.files import Counted
from hoichan.ports import Spool
from service.imports import Fate, Importer, Verdict

MEDIUM_BYTES = 16 * 1024**3  # of one file, and of what one archive unpacks to; a DVD holds 4.7 GB
_LONGEST_LIST = 20  # refused files that are printed; JSON has all


@dataclass(slots=True)
class Tally:
    """What became of all files."""

    fates: Counter[Fate] = field(default_factory=Counter)
    refused: list[Verdict] = field(default_factory=list)  # and set aside
    studies: dict[str, int] = field(default_factory=dict)  # new instances by Study Instance UID
    unreadable: int = 0  # files that the system would not give
    full: bool = False  # ended because the spool has no room

    def add(self, verdict: Verdict) -> None:
        """One verdict."""
        self.fates[verdict.fate] += 1
        if verdict.fate in (Fate.REFUSED, Fate.SET_ASIDE):
            self.refused.append(verdict)
        if verdict.study_instance_uid is not None:
            new = verdict.fate is Fate.ACCEPTED
            self.studies[verdict.study_instance_uid] = self.studies.get(verdict.study_instance_uid, 0) + new

    @property
    def good(self) -> bool:
        """Whether something came in and nothing was left out that should have come."""
        came = self.fates[Fate.ACCEPTED] + self.fates[Fate.DUPLICATE]
        return bool(came) and not (self.refused or self.unreadable or self.full)

    def as_json(self) -> dict[str, Any]:
        """For a machine."""
        return {
            **{fate.value: self.fates[fate] for fate in Fate},
            "unreadable": self.unreadable,
            "no_room": self.full,
            "studies": self.studies,
            "reasons": [{"file": one.name, "code": one.code} for one in self.refused],
        }

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"{label:<34} {self.fates[fate]}" for fate, label in _LABELS.items() if self.fates[fate]]
        told += [f"{'Not readable':<34} {self.unreadable}"] if self.unreadable else []
        told += [f"  {one.code}  {one.name}" for one in self.refused[:_LONGEST_LIST]]
        if len(self.refused) > _LONGEST_LIST:
            told.append(f"  and {len(self.refused) - _LONGEST_LIST} more: --json lists them all")
        told += [f"Study {study}: {new} new" for study, new in self.studies.items()]
        if self.full:
            told.append("No room: free some space and run the same again; what is in stays in.")
        return told or ["Nothing found."]


_LABELS = {
    Fate.ACCEPTED: "Accepted",
    Fate.DUPLICATE: "Already here",
    Fate.SET_ASIDE: "Known UID, other content: set aside",
    Fate.DIRECTORY: "Tables of contents (DICOMDIR)",
    Fate.NOT_DICOM: "Not DICOM, passed over",
    Fate.REFUSED: "Refused",
}


def find_files(paths: Iterable[Path], *, archives: bool) -> list[tuple[Path, bool]]:
    """Each file once, in order, and whether an archive is to be unpacked: named ones always are.

    Links inside folders are not followed.
    """
    found: dict[Path, bool] = {}
    for path in paths:
        place = path.resolve()
        if not place.is_dir():
            found[place] = True
            continue
        for folder, folders, names in os.walk(place):
            folders.sort()
            for name in sorted(names):
                file = Path(folder, name)
                if file.is_file() and not file.is_symlink():
                    found.setdefault(file, archives)
    return list(found.items())


def take_all(
    files: Sequence[tuple[Path, bool]],
    spool: Spool,
    *,
    sender: str,
    progress: Callable[[], None] = lambda: None,
    counted: Counted | None = None,
) -> Tally:
    """Every file, until the spool is full."""
    tally = Tally()
    importer = Importer(spool, sender=sender, maximum_bytes=MEDIUM_BYTES, counted=counted)
    with importer.batch():
        for file, unpacked in files:
            try:
                for verdict in importer.take(file, archives=unpacked):
                    tally.add(verdict)
            except SpoolFull:
                tally.full = True
                break
            except OSError:
                tally.unreadable += 1
            progress()
    return tally
