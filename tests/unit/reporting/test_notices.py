"""When a critical finding is told, and when that ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.reporting.notices import (
    FOLLOW_UP_STEPS,
    LONGEST_PAUSE,
    FollowUpState,
    Known,
    NoticeState,
    NoticeStep,
    Source,
    Verdict,
    after,
    critical_of,
    is_due,
    judge,
    pause,
)
from hoichan.testing.ports import FakeClock
from hoichan.testing.reports import a_finding, a_study
from hoichan.types import ReportStatus, Tier

AIR, FLUID = frozenset({"pneumothorax"}), frozenset({"mediastinal_shift"})
NOTHING = frozenset()
MACHINE, FINAL = ReportStatus.UNVERIFIED, ReportStatus.FINAL


def source(status=MACHINE, critical=AIR, **more):
    return Source(status=status, critical=critical, **more)


def known(state=NoticeState.OPEN, *, number=1, confirmed=False, critical=AIR):
    return Known(number=number, state=state, confirmed=confirmed, critical=critical)


def ends(step, number=1):
    return ((number, step),)


@pytest.mark.parametrize(
    ("told", "there", "expected"),
    [
        (source(), (), Verdict(born=True)),
        (source(critical=NOTHING), (), Verdict(born=False)),
        (source(), (known(),), Verdict(born=False)),  # a later revision says the same
        (source(), (known(NoticeState.ACKNOWLEDGED),), Verdict(born=False)),
        (source(), (known(NoticeState.REFUTED),), Verdict(born=True)),  # new images, and again
        (source(critical=AIR | FLUID), (known(),), Verdict(born=True, ends=ends(NoticeStep.SUPERSEDE))),
        (source(critical=FLUID), (known(),), Verdict(born=True)),  # another finding: the first one stays
        (source(critical=NOTHING), (known(),), Verdict(born=False)),  # a machine refutes nothing
        (source(judged=True), (), Verdict(born=False)),  # a doctor has signed before anybody was told
        (source(FINAL), (), Verdict(born=True)),
        (source(FINAL), (known(),), Verdict(born=True, ends=ends(NoticeStep.SUPERSEDE))),
        (source(FINAL), (known(NoticeState.ACKNOWLEDGED),), Verdict(born=True)),  # now it is a doctor's word
        (source(FINAL, NOTHING), (known(),), Verdict(born=False, ends=ends(NoticeStep.REFUTE))),
        (
            source(ReportStatus.AMENDED),
            (known(NoticeState.ACKNOWLEDGED, confirmed=True),),
            Verdict(born=False),
        ),
        (source(ReportStatus.AMENDED), (known(confirmed=True),), Verdict(born=False)),
        (
            source(ReportStatus.AMENDED, NOTHING),
            (known(confirmed=True),),
            Verdict(born=False, ends=ends(NoticeStep.REFUTE)),
        ),
        (source(ReportStatus.WITHDRAWN, NOTHING), (known(), known(number=2)), Verdict(born=False)),
        (  # a doctor takes back what was told: those who know must hear of it
            source(ReportStatus.WITHDRAWN, NOTHING, withdrawn=True),
            (known(NoticeState.ACKNOWLEDGED, confirmed=True), known(number=2, confirmed=True)),
            Verdict(born=True, ends=(*ends(NoticeStep.WITHDRAW), *ends(NoticeStep.WITHDRAW, 2))),
        ),
        (  # nobody was told by a doctor: there is nothing to take back
            source(ReportStatus.WITHDRAWN, NOTHING, withdrawn=True),
            (known(), known(NoticeState.REFUTED, number=2, confirmed=True)),
            Verdict(born=False),
        ),
        (source(FINAL), (known(NoticeState.WITHDRAWN, confirmed=True),), Verdict(born=True)),  # told again
        (  # the notice of a withdrawal ends when a person has seen it, not before
            source(FINAL, NOTHING),
            (known(confirmed=True, critical=NOTHING),),
            Verdict(born=False),
        ),
    ],
)
def test_what_a_report_does_to_the_notices_of_its_study(told, there, expected):
    assert judge(told, there) == expected


def test_only_an_open_notice_moves():
    for state in NoticeState:
        for step in NoticeStep:
            taken_back = step is NoticeStep.WITHDRAW and state is NoticeState.ACKNOWLEDGED
            assert (after(state, step) is not None) == (state is NoticeState.OPEN or taken_back)
    assert after(NoticeState.OPEN, NoticeStep.ACKNOWLEDGE) is NoticeState.ACKNOWLEDGED


def test_only_an_open_follow_up_is_closed():
    ended = set(FollowUpState) - {FollowUpState.OPEN}
    assert {(FollowUpState.OPEN, end): end for end in ended} == FOLLOW_UP_STEPS


def test_what_is_absent_or_not_critical_is_not_told():
    study = a_study()
    found = [a_finding(study, "pneumothorax", 0.9), a_finding(study, "cardiomegaly", 0.9)]
    assert [one.tier for one in found] == [Tier.CRITICAL, Tier.ROUTINE]
    assert critical_of(found) == AIR
    assert critical_of([a_finding(study, "pneumothorax", 0.1)]) == NOTHING


def test_the_next_people_are_told_when_their_time_has_come():
    now = FakeClock().now()
    assert is_due(now, 0, now)
    assert not is_due(now, 10, now + timedelta(minutes=9, seconds=59))
    assert is_due(now, 10, now + timedelta(minutes=10))


@given(st.integers(1, 10_000))
def test_pauses_grow_and_end_nowhere(attempts):
    assert timedelta(0) < pause(attempts) <= pause(attempts + 1) <= LONGEST_PAUSE
