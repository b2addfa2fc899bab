"""Thresholds by capacity: no more are flagged than can be seen, and what is not known is said so."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hoichan.analysis.capacity import Group, Scored, expect, groups, propose, who_line
from hoichan.analysis.versions import Rule


def scored(score, truth=None, sex="F", age=40):
    return Scored(score=score, sex=sex, age_years=age, truth=truth)


@given(
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=60),  # no bar is above a score of 1
    st.floats(0.5, 100),
    st.floats(0.5, 8),
)
@example([0.0, 0.57], 1.0, 0.5)  # 0.57 * 10,000 is less than 5,700
def test_no_more_are_flagged_than_can_be_followed_up(scores, per_week, weeks):
    rules, told = propose([scored(s) for s in scores], weeks=weeks, per_week=per_week)
    assert told["flagged_per_week"] <= per_week + 1e-9 or told["flagged"]["k"] == len(scores)
    assert told["flagged_per_week"] * weeks <= per_week * weeks + 1e-6
    assert 0.0 <= rules[-1].operating_point <= 1.0


def test_the_capacity_is_used_up_where_scores_differ():
    rng = np.random.default_rng(3)
    found = [scored(float(s)) for s in rng.random(2000)]
    (rule,), told = propose(found, weeks=4, per_week=40)
    assert 158 <= told["flagged"]["k"] <= 160
    assert rule.operating_point == pytest.approx(0.92, abs=0.02)
    assert told["missed_per_week"] is None and told["known"] is False
    assert told["sensitivity"]["share"] is None


def test_who_are_all_flagged_when_there_is_room_for_all():
    (rule,), told = propose([scored(0.3), scored(0.2)], weeks=1, per_week=40)
    assert rule.operating_point <= 0.2 and told["flagged"]["k"] == 2
    assert told["enough_scores"] is False


def test_expected_misses_and_false_alarms_by_hand():
    """A tenth of 400 studies in four weeks was reviewed."""
    reviewed = [scored(0.9, True)] * 8 + [scored(0.1, True)] * 2 + [scored(0.9, False)] * 3
    reviewed += [scored(0.1, False)] * 27
    told = expect([*reviewed, *[scored(0.1)] * 360], [Rule(operating_point=0.5)], weeks=4)
    assert told["reviewed"] == 40 and told["known"]
    assert told["missed_per_week"] == pytest.approx(2 * 10 / 4)
    assert told["false_alarms_per_week"] == pytest.approx(3 * 10 / 4)
    assert told["sensitivity"]["share"] == 0.8
    assert told["specificity"]["share"] == 0.9
    assert told["flagged_per_week"] == 11 / 4


def test_groups_get_the_same_share():
    rng = np.random.default_rng(4)
    women = [scored(float(s), sex="F") for s in rng.random(500) * 0.5]
    men = [scored(float(s), sex="M") for s in rng.random(500)]
    parted = groups(by_sex=True, age_bands=[])
    rules, told = propose([*women, *men], weeks=10, per_week=10, parted=parted)
    assert [r.sex for r in rules] == ["F", "M", None]
    assert rules[0].operating_point == pytest.approx(0.45, abs=0.02)
    assert rules[1].operating_point == pytest.approx(0.90, abs=0.02)
    assert told["flagged_per_week"] <= 10
    assert [row["group"] for row in told["groups"]] == ["F", "M"]


def test_a_small_group_gets_the_threshold_of_all():
    rng = np.random.default_rng(4)
    found = [scored(float(s), age=30) for s in rng.random(300)] + [scored(0.99, age=80)] * 20
    parted = groups(by_sex=False, age_bands=[(0, 59), (60, 150)])
    assert [g.label for g in parted] == ["0-59", "60-150"]
    rules, told = propose(found, weeks=4, per_week=8, parted=parted)
    assert [r.age_years for r in rules] == [(0, 59), None]
    assert told["groups"][1]["of_all"] is True
    assert groups(by_sex=False, age_bands=[]) == () and Group().label == "all"


def test_the_line_of_who_is_for_tuberculosis():
    told = expect([scored(0.9, True)] * 10 + [scored(0.1, False)] * 10, [Rule(operating_point=0.5)], weeks=1)
    assert who_line("mass", told) is None
    assert who_line("tuberculosis", told) == {"sensitivity": 0.9, "specificity": 0.7, "met": True}
    unknown = expect([scored(0.9)], [Rule(operating_point=0.5)], weeks=1)
    assert who_line("tuberculosis", unknown)["met"] is None


@pytest.mark.parametrize(("weeks", "per_week"), [(0, 40), (1, 0), (-1, 5)])
def test_figures_that_cannot_be(weeks, per_week):
    with pytest.raises(ValueError, match="positive"):
        propose([scored(0.1)], weeks=weeks, per_week=per_week)
    with pytest.raises(ValueError, match="no study"):
        propose([], weeks=1, per_week=1)
