"""Finding studies by what is known of them besides people: a day, a sender, a finding, a state.

`understood` reads what was typed, without accents; `find` gives the rows, newest first. Findings are those of
the newest reports alone, so that a question costs the same on a site of any age.
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
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.intake.names import words_of
from hoichan.types import StudyState

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
                sa.select(reports.c.study_instance_uid, reports.c.findings)
                .order_by(reports.c.created_at.desc())
                .limit(NEWEST_REPORTS)
                .subquery()
            )
            told = sa.cast(newest.c.findings, sa.Text)
            wanted = sa.or_(
                *(told.like(f'%"key": "{key}", "presence": "present"%') for key in facet.findings)
            )
            return studies.c.study_instance_uid.in_(sa.select(newest.c.study_instance_uid).where(wanted))


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
