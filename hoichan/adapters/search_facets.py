"""Finding studies by what is known of them besides people: a day, a sender, a finding, a state.

`understood` reads what was typed, without accents; `find` gives the rows, newest first. Findings are those of
the newest reports alone, so that a question costs the same on a site of any age; what a rejection note took
back finds nothing. A day may stand beside something else, a name or a number or another of these: `together`
takes them apart, `find_on_day` joins them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from hoichan import codes
from hoichan.adapters.rows import Row
from hoichan.adapters.schema import reports, studies
from hoichan.adapters.schema_front_door import rejected_reports
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.intake.names import number_key, words_of
from hoichan.types import StudyState

MOST_OF_A_DAY = 5_000
NEWEST_REPORTS = 20_000  # that are looked through for a finding
_SHORTEST = 4  # letters of the beginning of a finding's name
_DAY = re.compile(r"(\d{1,2})[/.-](\d{1,2})(?:[/.-](\d{4}))?")
_ISO_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_TITLE = re.compile(r"[A-Za-z0-9_. -]{1,16}")  # of a calling AE title, as modalities write them


class FacetKind(StrEnum):
    """What a word was understood as."""

    DAY = "day"
    SENDER = "sender"
    FINDING = "finding"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """One understanding of what was typed."""

    kind: FacetKind
    day: date | None = None
    sender: str = ""
    findings: tuple[str, ...] = ()  # keys
    state: StudyState | None = None


def understood(text: str, *, states: Mapping[str, StudyState], today: date) -> tuple[Facet, ...]:
    """Every way to read the text, the narrowest first. `states`: names of states, in each language."""
    found: list[Facet] = []
    day = _day(text.strip(), today)
    if day is not None:
        found.append(Facet(kind=FacetKind.DAY, day=day))
    folded = " ".join(words_of(text))
    named = {" ".join(words_of(name)): state for name, state in states.items()}
    if folded in named:
        found.append(Facet(kind=FacetKind.STATE, state=named[folded]))
    keys = tuple(
        key
        for key, term in codes.FINDINGS.items()
        if len(folded) >= _SHORTEST
        and any(" ".join(words_of(name)).startswith(folded) for name in (key, *term.display.values()))
    )
    if keys:
        found.append(Facet(kind=FacetKind.FINDING, findings=keys))
    if _TITLE.fullmatch(text.strip()):
        found.append(Facet(kind=FacetKind.SENDER, sender=text.strip()))
    return tuple(found)


def together(
    text: str, *, states: Mapping[str, StudyState], today: date
) -> tuple[Facet, tuple[Facet, ...], str] | None:
    """A day and what else was typed, as facets and as it stands; None where no day stands beside anything."""
    words = text.split()
    for place, word in enumerate(words):
        day = _day(word, today)
        rest = " ".join((*words[:place], *words[place + 1 :]))
        if day is not None and rest:
            return Facet(kind=FacetKind.DAY, day=day), understood(rest, states=states, today=today), rest
    return None


def find_on_day(
    connection: sa.Connection,
    day: Facet,
    others: Sequence[Facet],
    rest: str,
    *,
    zone: ZoneInfo,
    limit: int,
    offset: int = 0,
    sight: Sight = EVERYTHING,
) -> Sequence[Row]:
    """Rows of that day whose name or number is `rest`; where there is none, those of one of the others.

    A name is that of today; one from before a correction is found without a day.
    """
    of_day = (
        sa.select(studies)
        .where(_fits(day, zone), *sight.narrow())
        .order_by(studies.c.last_received_at.desc(), studies.c.study_instance_uid)
        .limit(MOST_OF_A_DAY)
    )
    named = [row for row in connection.execute(of_day).mappings() if _is_called(row, rest)]
    if named:
        return named[offset : offset + limit]
    for other in others:
        joined = of_day.where(_fits(other, zone)).limit(limit).offset(offset)
        if found := list(connection.execute(joined).mappings()):
            return found
    return []


def _is_called(row: Row, text: str) -> bool:
    """Whether each word begins another word of the name, or the text begins a number of the study."""
    number = number_key(text)
    numbers = (number_key(row[name] or "") for name in ("patient_id", "accession_number"))
    if number and any(one.startswith(number) for one in numbers):
        return True
    left = list(words_of(row["patient_name"] or ""))
    for word in sorted(words_of(text), key=len, reverse=True):
        match = next((one for one in left if one.startswith(word)), None)
        if match is None:
            return False
        left.remove(match)
    return bool(words_of(text))


def find(
    connection: sa.Connection,
    facet: Facet,
    *,
    zone: ZoneInfo,
    limit: int,
    offset: int = 0,
    sight: Sight = EVERYTHING,
) -> Sequence[Row]:
    """Rows of `studies`, newest first. A day is one of the site's zone."""
    statement = (
        sa.select(studies)
        .where(_fits(facet, zone), *sight.narrow())
        .order_by(studies.c.last_received_at.desc(), studies.c.study_instance_uid)
        .limit(limit)
        .offset(offset)
    )
    return list(connection.execute(statement).mappings())


def _fits(facet: Facet, zone: ZoneInfo) -> sa.ColumnElement[bool]:
    match facet.kind:
        case FacetKind.DAY:
            first = datetime.combine(facet.day or date.min, datetime.min.time(), zone)
            after = first + timedelta(days=1)
            return sa.or_(
                *(
                    sa.and_(column >= first, column < after)
                    for column in (studies.c.study_datetime, studies.c.last_received_at)
                )
            )
        case FacetKind.SENDER:
            spellings = {facet.sender, facet.sender.upper(), facet.sender.lower()}
            return studies.c.calling_ae_title.in_(sorted(spellings))
        case FacetKind.STATE:
            return studies.c.state == str(facet.state)
        case FacetKind.FINDING:
            newest = (
                sa.select(reports.c.study_instance_uid, reports.c.report_uid, reports.c.findings)
                .order_by(reports.c.created_at.desc())
                .limit(NEWEST_REPORTS)
                .subquery()
            )
            told = sa.cast(newest.c.findings, sa.Text)
            wanted = sa.or_(
                *(told.like(f'%"key": "{key}", "presence": "present"%') for key in facet.findings)
            )
            stands = newest.c.report_uid.not_in(sa.select(rejected_reports.c.report_uid))
            return studies.c.study_instance_uid.in_(
                sa.select(newest.c.study_instance_uid).where(wanted, stands)
            )


def _day(text: str, today: date) -> date | None:
    """A day as it is written here (21/11, 21/11/2026) or 2026-11-21; without a year the last there was."""
    try:
        if found := _ISO_DAY.fullmatch(text):
            return date(*map(int, found.groups()))
        if found := _DAY.fullmatch(text):
            number, month, year = found.groups()
            if year:
                return date(int(year), int(month), int(number))
            this = date(today.year, int(month), int(number))
            return this if this <= today else this.replace(year=today.year - 1)
    except ValueError:
        return None
    return None
