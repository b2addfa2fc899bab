"""Whether the images of a study may go, and why not. Pure; a row of the record in, a verdict out.

What forbids comes before what allows: a legal hold, work that is not done, a receiver that has not
acknowledged, an object in quarantine. Then a rule must fit and its days must have passed, and where no other
archive has the images, also the years of the medical record (Circular 33/2025/TT-BYT: 10, 20 or 30).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from hoichan.settings.retention import Retention, RetentionRule
from hoichan.types import StudyInstanceUID, StudyState

_DONE = (StudyState.DELIVERED, StudyState.SIGNED, StudyState.NOT_ANALYSED)
_DAYS_OF_YEAR = 365.25
PRESSURE = "disk_pressure"  # stands for a rule where the disk was nearly full


class RecordClass(StrEnum):
    """The classes of medical records whose keeping differs."""

    GENERAL = "general"
    ACCIDENT_OR_PSYCHIATRY = "accident_or_psychiatry"
    DEATH = "death"


class Kept(StrEnum):
    """Why the images of a study stay. Stable; texts are in the command's help and docs/operations.md."""

    LEGAL_HOLD = "legal_hold"
    IN_WORK = "in_work"  # receiving, waiting, being analysed
    FAILED = "failed"  # a person has to look
    UNDELIVERED = "undelivered"
    QUARANTINED = "quarantined"  # another version of an image was set aside
    NO_RULE = "no_rule"
    YOUNG = "young"
    RECORD_CLASS = "record_class"  # the years of the record are not over


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides about one study."""

    study_instance_uid: StudyInstanceUID
    state: StudyState
    modalities: tuple[str, ...]
    calling_ae_title: str
    last_received_at: datetime
    record_class: RecordClass
    on_hold: bool
    undelivered: int  # deliveries that are neither acknowledged nor given up by a person
    open_revisions: int  # assembled, and without an answer
    quarantined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the images of a study go now."""

    study_instance_uid: StudyInstanceUID
    rule: str | None  # the rule by which they go; None: they stay
    kept: Kept | None  # why they stay
    until: datetime | None = None  # the earliest moment that they could go, where only time is missing

    @property
    def goes(self) -> bool:
        """Whether the images go."""
        return self.rule is not None


def decide(facts: Facts, settings: Retention, now: datetime, *, pressure: bool = False) -> Verdict:
    """The verdict on one study. `pressure`: the disk is nearly full, and the settings allow for it."""
    uid = facts.study_instance_uid
    forbidden = _forbidden(facts)
    if forbidden is not None:
        return Verdict(study_instance_uid=uid, rule=None, kept=forbidden)
    if pressure and settings.originals == "elsewhere":
        until = facts.last_received_at + timedelta(days=settings.pressure_days)
        if now >= until:
            return Verdict(study_instance_uid=uid, rule=PRESSURE, kept=None)
    rule = next((rule for rule in settings.rules if _fits(rule, facts)), None)
    if rule is None:
        return Verdict(study_instance_uid=uid, rule=None, kept=Kept.NO_RULE)
    until = facts.last_received_at + timedelta(days=rule.days)
    if now < until:
        return Verdict(study_instance_uid=uid, rule=None, kept=Kept.YOUNG, until=until)
    if settings.originals == "here":
        until = facts.last_received_at + timedelta(days=_days(_years(facts.record_class, settings)))
        if now < until:
            return Verdict(study_instance_uid=uid, rule=None, kept=Kept.RECORD_CLASS, until=until)
    return Verdict(study_instance_uid=uid, rule=rule.name, kept=None)


def least_days(settings: Retention, *, pressure: bool = False) -> float:
    """A study younger than this cannot go, whatever it is: no need to look at it."""
    days = min((float(rule.days) for rule in settings.rules), default=float("inf"))
    if settings.originals == "here":
        days = max(days, _days(min(_years(one, settings) for one in RecordClass)))
    return min(days, settings.pressure_days) if pressure else days


def _forbidden(facts: Facts) -> Kept | None:
    if facts.on_hold:
        return Kept.LEGAL_HOLD
    if facts.state is StudyState.FAILED:
        return Kept.FAILED
    if facts.undelivered:
        return Kept.UNDELIVERED
    if facts.state not in _DONE or facts.open_revisions:
        return Kept.IN_WORK
    return Kept.QUARANTINED if facts.quarantined else None


def _fits(rule: RetentionRule, facts: Facts) -> bool:
    return (
        (not rule.states or facts.state.value in rule.states)
        and (not rule.modalities or not set(rule.modalities).isdisjoint(facts.modalities))
        and (not rule.senders or facts.calling_ae_title in rule.senders)
    )


def _days(years: int) -> int:
    """The most days that so many years can have by the calendar: ten may have three leap days, or two."""
    return ceil(years * _DAYS_OF_YEAR)


def _years(record_class: RecordClass, settings: Retention) -> int:
    match record_class:
        case RecordClass.GENERAL:
            return settings.general_years
        case RecordClass.ACCIDENT_OR_PSYCHIATRY:
            return settings.accident_or_psychiatry_years
        case RecordClass.DEATH:
            return settings.death_years
