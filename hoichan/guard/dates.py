"""Dates and times of DICOM text moved by a span, in the precision they came in (PS3.5 6.2).

None stands for text that cannot be moved: it is no date, ends before the day, or would leave the calendar.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

_DATE = re.compile(r"([0-9]{4})[.\-]?([0-9]{2})[.\-]?([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):?([0-9]{2})(:?[0-9]{2}(?:\.[0-9]{1,6})?)?")
_DATETIME = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2}(?:\.[0-9]{1,6})?)?)?([+-][0-9]{4})?"
)
_ZONE = re.compile(r"[+-](0[0-9]|1[0-4])(00|15|30|45)")


def move_date(text: str, by: timedelta) -> str | None:
    """A DA value; only whole days of the span count."""
    match = _DATE.fullmatch(text.strip(" \0"))
    moved = _moved(match, None, timedelta(days=by.days)) if match else None
    return f"{moved:%Y%m%d}".zfill(8) if moved else None


def move_date_and_time(day: str, at: str, by: timedelta) -> tuple[str, str] | None:
    """A DA and the TM that belongs to it; the span is in whole minutes, so seconds stay as they are."""
    found, clock = _DATE.fullmatch(day.strip(" \0")), _TIME.fullmatch(at.strip(" \0"))
    if not found or not clock:
        return None
    moved = _moved(found, clock.groups()[:2], by)
    if moved is None:
        return None
    return f"{moved:%Y%m%d}".zfill(8), f"{moved:%H%M}{(clock[3] or '').lstrip(':')}"


def move_time(text: str, by: timedelta) -> str | None:
    """A TM value around the clock."""
    moved = move_date_and_time("20000101", text, by)
    return moved[1] if moved else None


def move_datetime(text: str, by: timedelta) -> str | None:
    """A DT value; without hour and minute only whole days of the span count."""
    match = _DATETIME.fullmatch(text.strip(" \0"))
    if match is None:
        return None
    if match[4] is None:
        moved = _moved(match, None, timedelta(days=by.days))
        return f"{moved:%Y%m%d}".zfill(8) + (match[7] or "") if moved else None
    moved = _moved(match, (match[4], match[5]), by)
    return f"{moved:%Y%m%d%H%M}".zfill(12) + (match[6] or "") + (match[7] or "") if moved else None


def is_zone(text: str) -> bool:
    """Whether this is an offset from UTC (0008,0201)."""
    return _ZONE.fullmatch(text.strip(" \0")) is not None


def full_years(birth: str, at: str) -> int | None:
    """Age on a day, both in DA; None where one is no date or the order is wrong."""
    first, second = _DATE.fullmatch(birth.strip(" \0")), _DATE.fullmatch(at.strip(" \0"))
    if not first or not second:
        return None
    born, then = _moved(first, None, timedelta()), _moved(second, None, timedelta())
    if born is None or then is None or then < born:
        return None
    return then.year - born.year - ((then.month, then.day) < (born.month, born.day))


def _moved(day: re.Match[str], clock: tuple[str | None, ...] | None, by: timedelta) -> datetime | None:
    try:
        at = time(int(clock[0] or 0), int(clock[1] or 0)) if clock else time()
        return datetime.combine(date(int(day[1]), int(day[2]), int(day[3])), at) + by
    except (ValueError, OverflowError):
        return None
