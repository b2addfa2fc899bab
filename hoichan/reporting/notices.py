"""When a critical finding is told to people, and when that ends; what follows a finding. Pure rules.

A notice is born of a report: the machine's, then it is unconfirmed, or a signed one. What somebody was told
already is not told twice; what a doctor has judged is the doctor's to tell. It ends when a person
acknowledges it, when a signed report no longer holds it, or when a newer notice of the study takes its place.
What a doctor signed and withdraws is told too, by a notice without findings: whoever knows the finding must
know that it does not stand. Afterwards nobody was told: a later report with it is told anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from hoichan.types import Finding, Presence, ReportStatus, Tier

SIGNED = frozenset({ReportStatus.FINAL, ReportStatus.AMENDED})
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=5)


class NoticeState(StrEnum):
    """Where a notice stands. Only an open one is told to anybody."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    REFUTED = "refuted"  # a doctor signed a report without it
    SUPERSEDED = "superseded"  # a newer notice of the study says it
    WITHDRAWN = "withdrawn"  # the doctor withdrew the report that it was born of


class NoticeStep(StrEnum):
    """What can happen to a notice."""

    ACKNOWLEDGE = "acknowledge"
    REFUTE = "refute"
    SUPERSEDE = "supersede"
    WITHDRAW = "withdraw"


NOTICE_STEPS: Mapping[tuple[NoticeState, NoticeStep], NoticeState] = {
    (NoticeState.OPEN, NoticeStep.ACKNOWLEDGE): NoticeState.ACKNOWLEDGED,
    (NoticeState.OPEN, NoticeStep.REFUTE): NoticeState.REFUTED,
    (NoticeState.OPEN, NoticeStep.SUPERSEDE): NoticeState.SUPERSEDED,
    (NoticeState.OPEN, NoticeStep.WITHDRAW): NoticeState.WITHDRAWN,
    (NoticeState.ACKNOWLEDGED, NoticeStep.WITHDRAW): NoticeState.WITHDRAWN,
}


ONGOING = (NoticeState.OPEN, NoticeState.ACKNOWLEDGED)  # somebody is being told, or knows


class FollowUpKind(StrEnum):
    """What shall be done next."""

    SPUTUM_TEST = "sputum_test"
    CT = "ct"
    REFERRAL = "referral"
    REPEAT_FILM = "repeat_film"
    OTHER = "other"  # then the words say what


class FollowUpState(StrEnum):
    """Where a follow-up stands."""

    OPEN = "open"
    DONE = "done"
    NOT_REACHED = "not_reached"  # the patient was not found, or did not come
    NOT_NEEDED = "not_needed"  # then the words say why


FOLLOW_UP_STEPS: Mapping[tuple[FollowUpState, FollowUpState], FollowUpState] = {
    (FollowUpState.OPEN, end): end
    for end in (FollowUpState.DONE, FollowUpState.NOT_REACHED, FollowUpState.NOT_NEEDED)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A report that may have to be told."""

    status: ReportStatus
    critical: frozenset[str]  # keys of its critical findings that are present
    judged: bool = False  # a machine's report about which a doctor has signed already, or that was taken back
    withdrawn: bool = False  # it takes back what a doctor had signed, by the doctor's word


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A notice of the study that is there already."""

    number: int
    state: NoticeState
    confirmed: bool
    critical: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one report does to the notices of its study."""

    born: bool
    ends: tuple[tuple[int, NoticeStep], ...] = ()  # of notices, by their numbers


def after(state: NoticeState, step: NoticeStep) -> NoticeState | None:
    """The state after a step; None where the step cannot be made."""
    return NOTICE_STEPS.get((state, step))


def critical_of(findings: Sequence[Finding]) -> frozenset[str]:
    """The keys of what is present and critical."""
    return frozenset(
        one.key for one in findings if one.presence is Presence.PRESENT and one.tier is Tier.CRITICAL
    )


def judge(source: Source, known: Sequence[Known]) -> Verdict:
    """Whether a notice is born of a report, and which open ones end by it."""
    if source.withdrawn:
        return _withdrawal(known)
    standing = [one for one in known if one.state is NoticeState.OPEN and one.critical]
    if source.status not in SIGNED and source.status is not ReportStatus.UNVERIFIED:
        return Verdict(born=False)  # what takes a report back says nothing of the patient: notices stay
    if source.status in SIGNED:
        told = _told(one for one in known if one.confirmed)
        born = bool(source.critical - told)
        ends = []
        for one in standing:
            if born:
                ends.append((one.number, NoticeStep.SUPERSEDE))
            elif not one.critical & source.critical:
                ends.append((one.number, NoticeStep.REFUTE))
            elif not one.confirmed:  # the doctor's own notice of the same was acknowledged or still stands
                ends.append((one.number, NoticeStep.SUPERSEDE))
        return Verdict(born=born, ends=tuple(ends))
    born = not source.judged and bool(source.critical - _told(known))
    machines = [one for one in standing if not one.confirmed and one.critical <= source.critical]
    return Verdict(born=born, ends=tuple((one.number, NoticeStep.SUPERSEDE) for one in machines if born))


def _withdrawal(known: Sequence[Known]) -> Verdict:
    """The doctor's notices do not stand any more; a notice says so to whoever was told."""
    told = [one.number for one in known if one.confirmed and one.critical and one.state in ONGOING]
    return Verdict(born=bool(told), ends=tuple((number, NoticeStep.WITHDRAW) for number in told))


def _told(known: Iterable[Known]) -> frozenset[str]:
    """What somebody is being told, or knows."""
    return frozenset(key for one in known if one.state in ONGOING for key in one.critical)


def is_due(born_at: datetime, after_minutes: float, now: datetime) -> bool:
    """Whether a channel is to tell of an open notice by now."""
    return now >= born_at + timedelta(minutes=after_minutes)


def pause(attempts: int) -> timedelta:
    """How long to wait after so many tries that failed; it is tried until the notice ends."""
    doubled: int = 2 ** min(max(attempts - 1, 0), 10)
    return min(FIRST_PAUSE * doubled, LONGEST_PAUSE)
