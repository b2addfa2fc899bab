"""Whether an attribute fits what a query asks for (PS3.4 C.2.2.2, as QIDO-RS uses it in PS3.18 8.3.4).

An empty wish fits everything. Lists of UIDs, wildcards, ranges of dates and times, numbers, and names with or
without their accents. Pure: values in, yes or no out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from hoichan.intake import names

WILDCARDS = re.compile(r"[*?]")
_RANGE = frozenset({"DA", "TM", "DT"})
_NUMBERS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
_NEVER = frozenset({"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_NUMBER = re.compile(r"[+-]?([0-9]{1,16}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_UIDS = re.compile(r"[,\\]")


class Unmatchable(ValueError):
    """The wish cannot be understood, or the attribute cannot be asked for."""


def uids_of(wanted: str) -> list[str]:
    """The members of a list of UIDs, with commas or backslashes between (PS3.18 8.3.4.1)."""
    return [uid.strip() for uid in _UIDS.split(wanted) if uid.strip()]


def range_of(wanted: str) -> tuple[str, str]:
    """First and last of a date, a time, or a range of them; "" where a range is open."""
    if wanted.startswith("-"):
        return "", wanted[1:].strip()
    first, dash, last = wanted.partition("-")
    return first.strip(), (last.strip() if dash else first.strip())


def check(vr: str, wanted: str) -> None:
    """Raises Unmatchable for a wish that no value of this VR could fit."""
    if vr in _NEVER:
        raise Unmatchable("This attribute cannot be matched.")
    if vr in _RANGE and wanted:
        digits = {"DA": r"[0-9]{8}", "TM": r"[0-9]{2,6}(\.[0-9]{1,6})?", "DT": r"[0-9.]{4,21}"}[vr]
        ends = range_of(_plain(vr, wanted))
        if not any(ends) or any(end and not re.fullmatch(digits, end) for end in ends):
            raise Unmatchable("Not a date, a time, or a range of them.")
    if vr in _NUMBERS and wanted:
        _number(wanted)


def matches(vr: str, wanted: str, values: Sequence[str], *, fuzzy: bool = False) -> bool:
    """Whether one of the values fits the wish. Raises Unmatchable where `check` would.

    `fuzzy`: names by the beginnings of their words, bare of marks.
    """
    check(vr, wanted)
    if not wanted.strip("*"):
        return True
    if vr == "UI":
        return bool(set(uids_of(wanted)) & set(values))
    if vr in _RANGE:
        first, last = range_of(_plain(vr, wanted))
        return any(_within(vr, _plain(vr, value), first, last) for value in values if value)
    if vr in _NUMBERS:
        return any(_is_number(value) and float(value) == _number(wanted) for value in values)
    if vr == "PN":
        return any(_is_name(wanted, value, fuzzy) for value in values)
    pattern = _pattern(unicodedata.normalize("NFC", wanted))
    return any(pattern.fullmatch(unicodedata.normalize("NFC", value.strip())) for value in values)


def _is_name(wanted: str, value: str, fuzzy: bool) -> bool:
    if fuzzy:
        return names.matches(wanted.replace("*", " ").replace("?", " "), value)
    groups = [group.rstrip("^ ") for group in unicodedata.normalize("NFC", value).casefold().split("=")]
    pattern = _pattern(unicodedata.normalize("NFC", wanted).casefold().rstrip("^ "))
    return any(pattern.fullmatch(group) for group in groups if group)


def _pattern(wanted: str) -> re.Pattern[str]:
    """`*` is any number of letters, `?` is one (PS3.4 C.2.2.2.4)."""
    merged = re.sub(r"\*+", "*", wanted)  # many stars in a row would only take time
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in merged)
    return re.compile("".join(parts), re.DOTALL)


def _plain(vr: str, text: str) -> str:
    """Old forms of dates and times have dots and colons (PS3.5 6.2)."""
    if vr == "DA":
        return text.replace(".", "")
    return text.replace(":", "") if vr == "TM" else text


def _within(vr: str, value: str, first: str, last: str) -> bool:
    """Ends belong to the range; what is shorter stands for everything that begins with it."""
    value = value.strip()
    if vr == "DA" and len(value) != 8:
        return False
    low = first <= value[: max(len(first), len(value))] if first else True
    high = value[: len(last)] <= last if last else True
    return (low or value.startswith(first)) and high


def _number(text: str) -> float:
    if not _is_number(text):
        raise Unmatchable("Not a number.")
    return float(text)


def _is_number(text: str) -> bool:
    return (
        re.fullmatch(r"\s*[+-]?([0-9]{1,16}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", text) is not None
    )
