"""Which of a study's instances go where, by the rules of the site. Pure; sending is for others.

Nothing goes back to where it came from: an instance is never planned for a PACS that sent it, nor for a rule
whose `except_senders` name its sender.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from hoichan.settings import AnyDestination, DicomDestination, Forward
from hoichan.types import Instance, Series, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a revision ended."""

    state: str  # reported | not_analysed | failed
    tier: str | None  # critical | urgent | routine; None: nothing is flagged


class ForwardState(StrEnum):
    """Where one instance stands on its way to one receiver."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"  # refused: a person must look; can be sent again
    HELD = "held"  # its pixels may name somebody: goes when a person has looked


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One instance to one receiver by one rule."""

    rule: str
    destination: str
    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str  # inside the spool
    attempts: int = 0
    released: bool = False  # a person took the risk of its pixels on
    created_at: datetime | None = None  # when it was planned
    begun: int = 0  # starts of a try that had no end


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An errand's object as it travels: as it came, without its person, or in another transfer syntax."""

    errand: Errand
    study_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: Path  # Part 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one piece."""

    errand: Errand
    state: ForwardState
    detail: str  # DIMSE or HTTP status, a reason; nothing of a patient
    later: bool = False  # still pending: no answer, or "later"
    tries: int = 1  # what on its way ended the line counts twice: the others go first next time
    syntax_refused: bool = False  # the object may be taken in another transfer syntax
    not_wanted: bool = False  # the receiver refuses our associations, and calls that permanent (PS3.8 9.3.4)


GIVEN_UP_AFTER = timedelta(days=7)


def given_up(told: Told, now: datetime) -> Told:
    """A word as it counts: who has refused us for a week does not know us, and somebody has to ask why."""
    planned_at = told.errand.created_at
    if not told.not_wanted or planned_at is None or now - planned_at < GIVEN_UP_AFTER:
        return told
    return replace(told, state=ForwardState.DEAD, later=False)


class Courier(Protocol):
    """Brings objects of one study to one receiver."""

    def bring(self, pieces: list[Piece]) -> Iterator[Told]:
        """A word for each piece. Raises Unreachable: those without a word are tried again."""
        ...


def errands_of(
    rule: Forward,
    study: Study,
    answer: Answer | None,
    destinations: Mapping[str, AnyDestination],
    sender_of: Callable[[Instance], str],
) -> list[Errand]:
    """What a rule sends of a study; nothing of it before the answer where the rule asks for one."""
    if rule.needs_answer and not _fits_answer(rule, answer):
        return []
    return [
        Errand(
            rule=rule.name,
            destination=name,
            study_instance_uid=study.study_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            path=str(instance.path),
        )
        for name in rule.to
        if name in destinations  # one that is switched off gets nothing new
        for series in study.series
        for instance in series.instances
        if _fits(rule, series, instance, sender_of(instance))
        and not _came_from(destinations[name], sender_of(instance))
    ]


def _fits_answer(rule: Forward, answer: Answer | None) -> bool:
    if answer is None:
        return False
    return (not rule.states or answer.state in rule.states) and (not rule.tiers or answer.tier in rule.tiers)


def _fits(rule: Forward, series: Series, instance: Instance, sender: str) -> bool:
    return (
        _is_one_of(sender, rule.senders)
        and not (rule.except_senders and _is_one_of(sender, rule.except_senders))
        and _is_one_of(series.modality, rule.modalities)
        and _is_one_of(series.body_part_examined or "", rule.body_parts)
        and _is_one_of(instance.sop_class_uid, rule.sop_classes)
    )


def _is_one_of(value: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(value.upper(), pattern.upper()) for pattern in patterns)


def _came_from(destination: AnyDestination, sender: str) -> bool:
    return isinstance(destination, DicomDestination) and destination.ae_title.strip() == sender.strip()
