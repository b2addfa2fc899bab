"""The trail of a study in plain words for the terminal: the sentences of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from hoichan.errors import ConfigurationError
from hoichan.intake.door import is_uid
from hoichan.ports import TrailEntry
from hoichan.types import StudyInstanceUID
from service.web.rendering import catalogue
from service.web.words import Words


def study_uid(text: str) -> StudyInstanceUID:
    """The text as a UID. Raises ConfigurationError when it cannot be one."""
    if not is_uid(text):
        raise ConfigurationError("A Study Instance UID holds only digits and dots, 64 at most.")
    return StudyInstanceUID(text)


def trail(entries: Sequence[TrailEntry], language: str, zone: ZoneInfo) -> Iterator[str]:
    """One line an entry: site time, who, and what happened."""
    words = Words(language, catalogue(language), zone)
    for entry in entries:
        at = entry.at.astimezone(zone)
        yield f"{at:%Y-%m-%d %H:%M:%S}  {words.who(entry):<16}  {words.happened(entry)}"
