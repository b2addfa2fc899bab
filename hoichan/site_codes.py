"""Code tables that a site loads itself: services, indicators of Decision 1227, the ICD-10 list in force.

We ship none of them: they are other people's lists, and they change. A file says for each code from when
until when it counts and who answers for it; a row that nobody answers for is shown, and never sent.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from hoichan import codes

COLUMNS = ("code", "display", "valid_from", "valid_until", "usable", "finding_key", "verified_by")
MOST_ROWS = 200_000
_YES, _NO = frozenset({"", "1", "yes", "true", "x"}), frozenset({"0", "no", "false"})


class CodeTable(StrEnum):
    """Which list."""

    SERVICE = "service"  # national service codes, MA_DICH_VU of XML4; key: "CR/CHEST"
    INDICATOR = "indicator"  # Decision 1227/QĐ-BYT, MA_CHI_SO of XML4
    ICD10 = "icd10"  # Circular 06/2026/TT-BYT


_FORMS = {
    CodeTable.SERVICE: re.compile(r"[0-9A-Za-z]{1,4}(\.[0-9A-Za-z]{1,4}){0,4}"),
    CodeTable.INDICATOR: re.compile(r"[0-9A-Za-z._\-]{1,50}"),
    CodeTable.ICD10: re.compile(r"[A-Z][0-9]{2}(\.[0-9]{1,2})?[*†]?"),
}
_SERVICE_KEY = re.compile(r"[A-Z]{2,4}/[A-Z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCode:
    """One row."""

    code: str
    display: str
    valid_from: date | None = None
    valid_until: date | None = None  # the last day
    usable: bool = True
    finding_key: str | None = None
    verified_by: str | None = None

    def counts_on(self, day: date) -> bool:
        """Whether the code is in force on a day."""
        started = self.valid_from is None or self.valid_from <= day
        return started and (self.valid_until is None or day <= self.valid_until)


class TableUnreadable(ValueError):
    """The file cannot be loaded; the text says where and why, by line."""


def read_table(table: CodeTable, content: bytes) -> list[SiteCode]:
    """The rows of a CSV file in UTF-8, all or none. Raises TableUnreadable."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableUnreadable("The file is not UTF-8: save it as CSV UTF-8.") from error
    delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
    names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    unknown = sorted(set(names) - set(COLUMNS))
    if unknown or not {"code", "display"} <= set(names) or len(set(names)) != len(names):
        raise TableUnreadable(f"The first line names columns; known are {', '.join(COLUMNS)}.")
    reader.fieldnames = names
    found: list[SiteCode] = []
    faults: list[str] = []
    try:
        for number, row in enumerate(reader, start=2):
            if number > MOST_ROWS:
                raise TableUnreadable(f"The file has more than {MOST_ROWS} lines.")
            try:
                found.append(_row(table, row))
            except ValueError as error:
                faults.append(f"line {number}: {error}")
    except csv.Error as error:
        raise TableUnreadable(f"The file is no CSV: {error}.") from error
    faults += _overlaps(found)
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise TableUnreadable("; ".join(faults[:5]) + more)
    if not found:
        raise TableUnreadable("The file has no rows.")
    return found


def _row(table: CodeTable, row: dict[str | None, str | list[str] | None]) -> SiteCode:
    if None in row:
        raise ValueError("more values than columns")
    said = {str(name): str(value or "").strip() for name, value in row.items()}
    if not _FORMS[table].fullmatch(said["code"]):
        raise ValueError("this is no code of the table")
    if not said["display"]:
        raise ValueError("display is empty")
    usable = said.get("usable", "").lower()
    if usable not in _YES | _NO:
        raise ValueError("usable is yes or no")
    key = said.get("finding_key", "")
    is_key = _SERVICE_KEY.fullmatch(key) is not None if table is CodeTable.SERVICE else key in codes.FINDINGS
    if key and not is_key:
        raise ValueError("finding_key is unknown")
    start, end = _day(said.get("valid_from", "")), _day(said.get("valid_until", ""))
    if start and end and end < start:
        raise ValueError("valid_until is before valid_from")
    return SiteCode(
        code=said["code"],
        display=said["display"],
        valid_from=start,
        valid_until=end,
        usable=usable in _YES,
        finding_key=key or None,
        verified_by=said.get("verified_by") or None,
    )


def _day(text: str) -> date | None:
    """2026-07-01 or 01/07/2026."""
    if not text:
        return None
    match = re.fullmatch(r"(\d{2})/(\d{2})/(\d{4})", text)
    try:
        return date(int(match[3]), int(match[2]), int(match[1])) if match else date.fromisoformat(text)
    except ValueError:
        raise ValueError("a date is 2026-07-01 or 01/07/2026") from None


def _overlaps(rows: Iterable[SiteCode]) -> list[str]:
    """Codes that are there twice on one day."""
    ends: dict[str, date] = {}
    faults = []
    for row in sorted(rows, key=lambda one: (one.code, one.valid_from or date.min)):
        before = ends.get(row.code)
        if before is not None and (row.valid_from or date.min) <= before:
            faults.append(f"code {row.code} is there twice on one day")
        ends[row.code] = max(before or date.min, row.valid_until or date.max)
    return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A suggestion of ours that the site's list does not bear out."""

    finding_key: str
    code: str
    reason: str  # unknown | expired | not_yet | not_usable | unverified


def misfits(rows: Iterable[SiteCode], day: date) -> list[Misfit]:
    """Our ICD-10 suggestions that are not in a loaded list, or not in force in it on a day.

    A row that names a finding replaces our suggestion for it. Codes are compared whole: a more specific code
    of the list has to be chosen by a person.
    """
    table = list(rows)
    found = []
    for key, term in codes.FINDINGS.items():
        own = [row for row in table if row.finding_key == key]
        if own:
            reasons = {row.code: _fault(row, day) for row in own}
            if None in reasons.values():
                continue
            found += [Misfit(finding_key=key, code=code, reason=str(why)) for code, why in reasons.items()]
        elif term.icd10_suggestion is not None:
            same = [row for row in table if row.code.rstrip("*†") == term.icd10_suggestion]
            whys = [_fault(row, day) for row in same]
            if None not in whys:
                reason = str(whys[0]) if whys else "unknown"
                found.append(Misfit(finding_key=key, code=term.icd10_suggestion, reason=reason))
    return found


def _fault(row: SiteCode, day: date) -> str | None:
    """Why a row may not be used on a day."""
    if row.valid_until is not None and row.valid_until < day:
        return "expired"
    if row.valid_from is not None and row.valid_from > day:
        return "not_yet"
    if not row.usable:
        return "not_usable"
    return None if row.verified_by else "unverified"


def chosen(rows: Iterable[SiteCode], finding_key: str, day: date) -> SiteCode | None:
    """The one code to be sent for a key: in force, usable, answered for; None where none or several are."""
    found = [
        row
        for row in rows
        if row.finding_key == finding_key and row.usable and row.verified_by and row.counts_on(day)
    ]
    return found[0] if len(found) == 1 else None
