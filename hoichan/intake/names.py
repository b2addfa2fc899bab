"""Vietnamese names and numbers as people type them: compared without accents and order, checked, masked.

Old consoles write `NGUYEN VAN AN` into one component, newer ones `Nguyễn^An^Văn`; both are the same name.
A folded name is for finding and comparing only: it never replaces the name as it was given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_STROKE = str.maketrans({"đ": "d", "Đ": "D", "ð": "d", "Ð": "D"})  # no decomposition; ð is a common mistyping
_WORD = re.compile(r"[^\W_]+")
_ALPHABETIC_GROUP = "="

_CITIZEN_ID = re.compile(r"[0-9]{12}")  # province 3, century and sex 1, year 2, number 6
_OLD_IDENTITY_CARD = re.compile(r"[0-9]{9}")
_HEALTH_CARD = re.compile(
    r"[A-Z]{2}[1-5][0-9]{2}[0-9]{10}"
)  # object, benefit, province, social insurance number
_SOCIAL_INSURANCE = re.compile(r"[0-9]{10}")
_SEPARATORS = re.compile(r"[\s.\-]+")
_SHORTEST_SHOWN = 9  # characters; below that every digit counts


def fold(text: str) -> str:
    """Lower case without any mark: "Đỗ Thị Ánh" becomes "do thi anh", however its letters are composed."""
    bare = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).translate(_STROKE))
    kept = "".join(letter for letter in bare if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", kept.casefold().translate(_STROKE))


def words_of(name: str) -> tuple[str, ...]:
    """The folded words of a name in the order they came; "^" and every other sign separates.

    Of several groups of a person name (PS3.5 6.2.1) the first that is not empty counts.
    """
    groups = (tuple(_WORD.findall(fold(group))) for group in name.split(_ALPHABETIC_GROUP))
    return next((words for words in groups if words), ())


def search_key(name: str) -> str:
    """One string for all ways of writing a name: its words folded and sorted, with a space between.

    Written beside the name when it is stored; "" for a name without a letter.
    """
    return " ".join(sorted(words_of(name)))


def same_name(one: str, other: str) -> bool:
    """Whether two names have the same words, each as often. Two empty names are not: nothing is known."""
    key = search_key(one)
    return key != "" and key == search_key(other)


def matches(query: str, name: str) -> bool:
    """Whether every word of a query begins a word of its own in the name; an empty query matches everything.

    "van a" finds "Nguyễn Văn An". Where two words of the query could take the same word of the name, the
    longer is placed first, so that "t thi" finds "Trần Thị".
    """
    left = list(words_of(name))
    for wanted in sorted(words_of(query), key=len, reverse=True):
        found = min((word for word in left if word.startswith(wanted)), key=len, default=None)
        if found is None:
            return False
        left.remove(found)
    return True


class NumberKind(StrEnum):
    """What a personal number is (standards of Vietnam, in force in 2026)."""

    CITIZEN_ID = "citizen_id"  # 12 digits; since 2025-08-15 also the number of health insurance
    IDENTITY_CARD = "identity_card"  # the 9 digits of cards issued before 2016
    HEALTH_CARD = "health_card"  # 15 characters, the old health insurance card
    SOCIAL_INSURANCE = "social_insurance"  # 10 digits, the newer health insurance card


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalNumber:
    """A number that was understood. It identifies a person: wrap it in Phi before it travels."""

    kind: NumberKind
    value: str  # without separators, upper case


def read_number(text: str) -> PersonalNumber | None:
    """A citizen id, identity card or health insurance number; None for anything else.

    Spaces, dots and hyphens are ignored. Whether a number was ever issued cannot be seen: there is no check
    digit.
    """
    value = _SEPARATORS.sub("", unicodedata.normalize("NFKC", text)).upper()
    for kind, pattern in (
        (NumberKind.CITIZEN_ID, _CITIZEN_ID),
        (NumberKind.HEALTH_CARD, _HEALTH_CARD),
        (NumberKind.SOCIAL_INSURANCE, _SOCIAL_INSURANCE),
        (NumberKind.IDENTITY_CARD, _OLD_IDENTITY_CARD),
    ):
        if value.isascii() and pattern.fullmatch(value):
            return PersonalNumber(kind=kind, value=value)
    return None


def is_citizen_id(text: str) -> bool:
    """Twelve digits: the number of CCCD, căn cước and VNeID."""
    number = read_number(text)
    return number is not None and number.kind is NumberKind.CITIZEN_ID


def is_insurance_number(text: str) -> bool:
    """Anything that health insurance takes today: old card, social insurance number or citizen id."""
    number = read_number(text)
    return number is not None and number.kind is not NumberKind.IDENTITY_CARD


def mask(number: str) -> str:
    """A number as it may be shown: `079*****1234`. Of one below 12 characters only the last three stand."""
    value = number.strip()
    if len(value) < _SHORTEST_SHOWN:
        return "*" * len(value)
    start, end = (3, 4) if len(value) >= 12 else (0, 3)
    return value[:start] + "*" * (len(value) - start - end) + value[-end:]


# ---------------------------------------------------------------------- finding
class KeyKind(StrEnum):
    """What a key of the search stands for."""

    NAME = "name"
    NUMBER = "number"  # of the patient, the citizen, the insurance, the order


MOST_WORDS = 6  # of a name that are keys of their own
LONGEST_KEY = 160  # characters
_COMPONENT = "^"
UID_QUERY = re.compile(r"[0-2]\.[0-9]+(\.[0-9]+)+\.?")  # the beginning of a UID, in whole components


def spoken_words(name: str) -> tuple[str, ...]:
    """The folded words in Vietnamese order: `Nguyễn^An^Văn` gives nguyen, van, an."""
    group = next((part for part in name.split(_ALPHABETIC_GROUP) if words_of(part)), "")
    family, given, middle, *rest = [*group.split(_COMPONENT), "", "", ""]
    return words_of(" ".join((family, middle, given, *rest)))


def name_keys(name: str) -> frozenset[str]:
    """Every rotation of the spoken name, so that each word begins a key and the whole name is in all.

    `Nguyễn^An^Văn` gives "nguyen van an", "van an nguyen" and "an nguyen van".
    """
    words = spoken_words(name)
    return frozenset(
        " ".join((*words[place:], *words[:place]))[:LONGEST_KEY]
        for place in range(min(len(words), MOST_WORDS))
    )


def number_key(text: str) -> str:
    """A number as it is compared: no spaces, dots, hyphens or slashes, lower case."""
    return re.sub(r"[\s.\-/_]+", "", unicodedata.normalize("NFKC", text)).casefold()[:LONGEST_KEY]


def search_keys(names: Iterable[str], numbers: Iterable[str]) -> frozenset[tuple[KeyKind, str]]:
    """The keys under which something is found."""
    by_name = {(KeyKind.NAME, key) for name in names for key in name_keys(name)}
    return frozenset(by_name | {(KeyKind.NUMBER, key) for number in numbers if (key := number_key(number))})


def kind_of_query(text: str) -> str:
    """What kind of thing is looked for, for the audit log: "uid", "number", "name" or "name and number"."""
    if UID_QUERY.fullmatch(text.strip()):
        return "uid"
    digits = any(letter.isdigit() for letter in text)
    letters = any(word.isalpha() for word in words_of(text))
    return {(True, True): "name and number", (True, False): "number"}.get((digits, letters), "name")
