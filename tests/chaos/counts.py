"""What the page's metrics say; asked every few moments they cost less than a command."""

from __future__ import annotations

import re

from hoichan.testing.house import RunningHouse

_LINE = re.compile(r'^(?P<name>hoichan_\w+)\{state="(?P<state>\w+)"\} (?P<value>[0-9.e+]+)$', re.MULTILINE)


def counts(house: RunningHouse, name: str) -> dict[str, int]:
    """A gauge by its states, those that are not zero; empty while the page does not answer."""
    return _by_state(_told(house), name)


def held(house: RunningHouse) -> int:
    """How many studies wait for a person's word about whose they are."""
    found = re.search(r'^hoichan_questions\{holds="yes"\} ([0-9.e+]+)$', _told(house), re.MULTILINE)
    return int(float(found[1])) if found else 0


def is_delivered(house: RunningHouse, studies: int) -> bool:
    """Whether so many studies are delivered, none is under way, and nothing waits."""
    told = _told(house)  # both from one answer: between two the page may be killed
    return _by_state(told, "hoichan_studies") == {"delivered": studies} and "pending" not in _by_state(
        told, "hoichan_deliveries"
    )


def _told(house: RunningHouse) -> str:
    try:
        return house.get("metrics")
    except OSError:  # the page itself was killed, or says that it cannot know now
        return ""


def _by_state(told: str, name: str) -> dict[str, int]:
    return {
        line["state"]: int(float(line["value"]))
        for line in _LINE.finditer(told)
        if line["name"] == name and float(line["value"])
    }
