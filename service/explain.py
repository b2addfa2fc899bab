"""The trail of a study in plain words for the terminal: the sentences of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.neighbours_read import came_near
from hoichan.adapters.records_read import ReadingSql
from hoichan.adapters.set_aside_sql import SetAsideSql
from hoichan.errors import ConfigurationError
from hoichan.intake.door import is_uid
from hoichan.ports import TrailEntry
from hoichan.types import StudyInstanceUID
from service.story import Part, aside, refused, story
from service.web.rendering import catalogue
from service.web.words import Words
from service.wiring import House

MOST_READERS = 50
MARKS = {"ok": "+", "wait": "…", "bad": "!", "": " "}


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


def where(house: House, uid: StudyInstanceUID) -> Iterator[str]:
    """Where the study stands: a line a step or receiver, and under it what to do. Raises StudyUnknown."""
    words = words_of(house)
    parts = aside(words, SetAsideSql(house.engine, house.clock).standing(uid))
    current = house.studies.current(uid)
    reading = ReadingSql(house.engine, house.objects)
    if current is None:
        yield from _lines(parts + refused(words, reading.told(uid)))
        return
    _, opened = house.audit.search(Wanted(study_instance_uid=uid), limit=MOST_READERS)
    parts += story(
        words,
        reading.study(uid),
        house.studies.trail(uid),
        receivers=house.work.receivers(),
        opened=opened,
        study=current,
        near=came_near(house.engine, uid, current.calling_ae_title),
    )
    yield from _lines(parts)


def _lines(parts: Sequence[Part]) -> Iterator[str]:
    width = max((len(part.label) for part in parts), default=0)
    for part in parts:
        yield f"{MARKS[part.tone]} {part.label:<{width}}  {part.text}"
        if part.do:
            yield f"  {'':<{width}}  → {part.do}"


def head(house: House, uid: StudyInstanceUID) -> str:
    """One of several studies: UID, when it came, what it is, where it stands. Nothing about the person."""
    words = words_of(house)
    entry = ReadingSql(house.engine, house.objects).study(uid).entry
    kinds = "/".join(entry.modalities)
    return f"{uid}  {words.moment(entry.first_received_at)}  {kinds:<6}  {words.state(entry.state)}"


def words_of(house: House) -> Words:
    """The sentences of the site's language."""
    site = house.settings.site
    return Words(site.language, catalogue(site.language), site.zone)
