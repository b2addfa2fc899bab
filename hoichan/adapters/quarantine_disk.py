"""The quarantine of one spool: what lies in it, how a file leaves it, and how many notes of it are kept.

Senders make up study UIDs as they like, so whatever is kept of a refusal beside its file has a bound: each
machine tells the record of its newest `KEPT_REFUSED` only, and keeps as many notes for studies that never
came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hoichan.adapters.spool_disk import CHANGED_CONTENT, study_path
from hoichan.errors import RecordsUnavailable
from hoichan.intake.changes import FOLDER as CHANGES
from hoichan.intake.part10 import is_part10, write_meta
from hoichan.types import StudyInstanceUID

KEPT_REFUSED = 1_000  # of what was refused for its content; what only differs is kept all
_LONGEST_TITLE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Lying:
    """One file in quarantine, as its note says; None for what an earlier version did not note."""

    reason: str  # code of the error, or CHANGED_CONTENT
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None  # None, too, where the data set names none that can be read
    calling_ae_title: str | None = None
    received_at: datetime | None = None  # aware, UTC
    size_bytes: int | None = None  # of the data set


def lying_in(spool_dir: Path, known: Mapping[str, Lying] | None = None) -> Mapping[str, Lying]:
    """What lies in the quarantine of a spool, by the name of its note; nothing `known` is read again.

    Raises RecordsUnavailable where the disk says no, or a note cannot be read.
    """
    known = known or {}
    found = {}
    try:
        for note in (spool_dir / "quarantine").glob("*.json"):
            found[note.name] = known.get(note.name) or _said(json.loads(note.read_bytes()))
    except (OSError, ValueError, KeyError) as error:
        raise RecordsUnavailable("The quarantine cannot be read.") from error
    return found


def _said(about: Mapping[str, str]) -> Lying:
    at, title = about.get("received_at"), about.get("calling_ae_title")
    size = about.get("size_bytes")
    return Lying(
        reason=str(about["reason"]),
        sop_instance_uid=about["sop_instance_uid"],
        study_instance_uid=about.get("study_instance_uid"),
        calling_ae_title=None if title is None else _printable(title),
        received_at=None if at is None else datetime.fromisoformat(at),
        size_bytes=None if size is None else int(size),
    )


def _printable(title: str) -> str:
    return "".join(c for c in title if c.isprintable())[:_LONGEST_TITLE]


def newest(lying: Mapping[str, Lying], most: int = KEPT_REFUSED) -> Mapping[str, Lying]:
    """Without the older ones of what was refused: a note's name begins with its time."""
    refused = sorted(name for name, one in lying.items() if one.reason != CHANGED_CONTENT)
    gone = set(refused[: -most or None])
    return {name: one for name, one in lying.items() if name not in gone}


def content_of(spool_dir: Path, note: str) -> tuple[str, bytes]:
    """Who sent a file in quarantine, and the file with a file meta. Raises RecordsUnavailable."""
    folder = spool_dir / "quarantine"
    try:
        about = json.loads((folder / note).read_bytes())
        content = (folder / str(about["file"])).read_bytes()
        title, syntax = str(about["calling_ae_title"]), str(about["transfer_syntax_uid"])
    except (OSError, ValueError, KeyError) as error:
        raise RecordsUnavailable("The quarantine cannot be read.") from error
    if not is_part10(content):  # it has no names but those that the data set may hold
        content = (
            write_meta(
                sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=syntax, calling_ae_title=title
            )
            + content
        )
    return title, content


def take_out(spool_dir: Path, note: str) -> None:
    """A file leaves the quarantine for good: first its note, so that no note is without its file.

    Raises RecordsUnavailable.
    """
    folder = spool_dir / "quarantine"
    try:
        file = str(json.loads((folder / note).read_bytes())["file"])
        (folder / note).unlink()
        (folder / file).unlink(missing_ok=True)
    except (OSError, ValueError, KeyError) as error:
        raise RecordsUnavailable("The quarantine cannot be changed.") from error


def forget_refusals(spool_dir: Path, most: int = KEPT_REFUSED) -> int:
    """Take away what waits to be told on trails of studies that never came, but the newest; how many notes.

    Raises RecordsUnavailable.
    """
    folder = spool_dir / CHANGES
    notes: list[Path] = []
    gone = 0
    try:
        for study in folder.iterdir() if folder.is_dir() else ():
            if not (spool_dir / study_path(StudyInstanceUID(study.name))).is_dir():
                notes += study.iterdir()
        for note in sorted(notes, key=lambda path: path.name)[: -most or None]:
            if "refused" in json.loads(note.read_bytes()):
                note.unlink(missing_ok=True)
                gone += 1
                with suppress(OSError):  # others are in it, or are coming
                    note.parent.rmdir()
    except (OSError, ValueError) as error:
        raise RecordsUnavailable("What was refused cannot be read.") from error
    return gone
