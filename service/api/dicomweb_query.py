"""The query of a QIDO-RS request: keys, what to include, how much (PS3.18 8.3.4 and 10.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from hoichan.intake.matching import Unmatchable, check, matches
from service.api.dicomweb_attributes import Attributes

MOST = 1000  # results of one answer; whoever needs more asks again with an offset
LONGEST = 512  # characters of one value
_RESERVED = frozenset({"limit", "offset", "fuzzymatching", "includefield", "accept", "emptyvaluematching"})
_TAG = re.compile(r"[0-9A-Fa-f]{8}")


class QueryMalformed(ValueError):
    """The query cannot be answered; its text names parameters, never values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for."""

    wishes: Mapping[str, str]  # by keyword
    include: tuple[str, ...]  # keywords
    everything: bool
    fuzzy: bool
    limit: int
    offset: int

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]]) -> Query:
        """From the parameters of an address. Raises QueryMalformed."""
        wishes: dict[str, str] = {}
        include: list[str] = []
        plain: dict[str, str] = {}
        for name, value in parameters:
            if len(value) > LONGEST * (16 if "UID" in name else 1):
                raise QueryMalformed("A value is too long.")
            if name == "includefield":
                include += [part.strip() for part in value.split(",") if part.strip()]
            elif name in _RESERVED:
                plain[name] = value
            else:
                keyword = _keyword(name)
                if keyword in wishes:
                    raise QueryMalformed(f"{keyword} is asked for twice.")
                wishes[keyword] = value.strip()
        for keyword, value in wishes.items():
            try:
                check(_vr(keyword), value)
            except Unmatchable as error:
                raise QueryMalformed(f"{keyword}: {error}") from error
        everything = "all" in include
        return cls(
            wishes=wishes,
            include=tuple(_keyword(name) for name in include if name != "all"),
            everything=everything,
            fuzzy=_flag(plain.get("fuzzymatching", "false")),
            limit=min(MOST, _count(plain.get("limit", str(MOST)), "limit")),
            offset=_count(plain.get("offset", "0"), "offset"),
        )

    def of_level(self, keywords: Sequence[str]) -> dict[str, str]:
        """The wishes that speak of these attributes."""
        return {keyword: value for keyword, value in self.wishes.items() if keyword in keywords}

    def fits(self, attributes: Attributes, keywords: Iterable[str]) -> bool:
        """Whether these of the wishes are met; what the record knows is looked at first."""
        known = sorted(keywords, key=lambda keyword: keyword not in attributes.recorded)
        return all(
            matches(_vr(keyword), self.wishes[keyword], attributes.values(keyword), fuzzy=self.fuzzy)
            for keyword in known
        )


def _keyword(name: str) -> str:
    """The keyword of an attribute that is named by keyword or by tag. Raises QueryMalformed."""
    keyword = keyword_for_tag(int(name, 16)) if _TAG.fullmatch(name) else name
    if "." in keyword:
        raise QueryMalformed("Attributes inside of sequences cannot be asked for.")
    if not keyword or tag_for_keyword(keyword) is None:
        raise QueryMalformed("An attribute is unknown.")
    return keyword


def _vr(keyword: str) -> str:
    return dictionary_VR(keyword).split(" or ", maxsplit=1)[0]


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise QueryMalformed("fuzzymatching is true or false.")
    return text == "true"


def _count(text: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise QueryMalformed(f"{name} is a number of zero or more.")
    return int(text)
