"""Agreement: figures that can be worked out by hand, and gates that cannot be passed without evidence."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.analysis.acceptance import FindingGates, Gates, check
from hoichan.analysis.agreement import Case, auroc, bootstrap, calibration, compare, kappa, wilson


def case(number, truth, live, shadow, **groups):
    return Case(
        study_instance_uid=f"1.2.{number}",
        finding_key="mass",
        truth=truth,
        live=live,
        live_present=None if live is None else live >= 0.5,
        shadow=shadow,
        shadow_present=None if shadow is None else shadow >= 0.5,
        groups=groups,
    )


def test_the_interval_of_a_share_is_wilsons():
    assert wilson(0, 0) is None
    assert wilson(8, 10) == pytest.approx(
        (0.4902, 0.9433), abs=1e-4
    )  # Newcombe 1998, Statistics in Medicine 17
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_the_area_is_the_share_of_pairs_in_the_right_order(rows):
    scores, truth = np.array([r[0] for r in rows], dtype=float), np.array([r[1] for r in rows])
    pairs = [(p > n) + (p == n) / 2 for p in scores[truth] for n in scores[~truth]]
    area = auroc(scores, truth)
    assert (area is None) == (not pairs)
    if area is not None:
        assert area == pytest.approx(np.mean(pairs))


def test_calibration_by_hand():
    found = calibration(np.array([0.1, 0.1, 0.9, 0.9, 1.0]), np.array([False, True, True, True, True]))
    # 0.1: says 0.1, was 0.5, two of five; 0.9 and 1.0 share the last bin: says 0.9333, was 1
    assert found["ece"] == pytest.approx(2 / 5 * 0.4 + 3 / 5 * (1 - 2.8 / 3))
    assert [row["n"] for row in found["bins"]] == [2, 3]
    assert calibration(np.array([]), np.array([], dtype=bool)) == {"ece": None, "bins": []}


def test_kappa_by_hand():
    a = np.array([True] * 25 + [False] * 25)
    b = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    assert kappa(a, b) == pytest.approx(0.4)
    assert kappa(np.array([True]), np.array([True])) is None


def test_the_bootstrap_is_the_same_every_time_and_holds_the_mean():
    values = np.arange(100.0)
    first = bootstrap(100, lambda rows: float(values[rows].mean()))
    assert first == bootstrap(100, lambda rows: float(values[rows].mean()))
    assert first is not None and first[0] < 49.5 < first[1]
    assert first[1] - first[0] == pytest.approx(2 * 1.96 * 28.87 / 10, rel=0.1)
    assert bootstrap(0, lambda rows: 1.0) is None
    assert bootstrap(5, lambda rows: None) is None


@pytest.fixture(scope="module")
def cases():
    made = [case(i, True, 0.9, 0.95, sex="F") for i in range(10)]
    made += [case(i, True, 0.4, 0.6, sex="M") for i in range(10, 20)]  # the new one finds them
    made += [case(i, False, 0.2, 0.1, sex="M") for i in range(20, 70)]
    made += [case(i, False, 0.2, 0.7, sex="F") for i in range(70, 75)]  # and flags these
    made += [case(75, None, 0.1, 0.9), case(76, True, None, 0.9), case(77, None, None, None)]
    return made


@pytest.fixture(scope="module")
def found(cases):
    """The comparison that most tests read and none changes: a thousand draws for each interval."""
    return compare(cases)


def test_a_comparison_counts_what_was_answered_and_signed(found):
    assert (found["studies"], found["reviewed"], found["changed_count"]) == (78, 76, 16)
    assert (found["live"]["sensitivity"]["k"], found["live"]["sensitivity"]["n"]) == (10, 20)
    assert (found["shadow"]["sensitivity"]["k"], found["shadow"]["sensitivity"]["n"]) == (21, 21)
    assert found["shadow"]["specificity"]["share"] == pytest.approx(50 / 55)
    assert found["shadow"]["ppv"]["share"] == pytest.approx(21 / 26)
    assert found["agreement"]["n"] == 76
    difference = found["difference"]
    assert difference["n"] == 75
    assert difference["sensitivity"]["value"] == pytest.approx(0.5)
    low, high = difference["sensitivity"]["ci95"]
    assert 0.2 < low < 0.5 < high < 0.8
    assert difference["specificity"]["value"] == pytest.approx(-5 / 55)
    json.dumps(found)


def test_what_a_doctor_contradicts_comes_first(cases, found):
    changed = found["changed"]
    assert [row["truth"] for row in changed[:5]] == [False] * 5
    assert len(compare(cases, changes=3)["changed"]) == 3


def test_subgroups_say_how_many_they_are(found):
    rows = {row["value"]: row for row in found["subgroups"] if row["group"] == "sex"}
    assert (rows["F"]["n"], rows["F"]["positives"]) == (15, 10)
    assert rows["M"]["live"]["sensitivity"]["share"] == 0.0
    assert rows["M"]["shadow"]["sensitivity"]["share"] == 1.0
    assert rows["F"]["shadow"]["auroc"] == 1.0


def test_nothing_compares_as_nothing():
    found = compare([])
    assert found["live"]["sensitivity"]["share"] is None and found["difference"]["auroc"]["value"] is None
    assert not any(row["held"] for row in check(Gates(), {"mass": found}, ["mass"]))


def held(gates, found):
    return {row["gate"]: row["held"] for row in check(gates, {"mass": found}, ["mass"])}


def test_gates_hold_by_what_was_measured(found):
    gates = Gates(reviews=70, positives=20, loss=0.1)
    assert held(gates, found) == {
        "reviews": True,
        "positives": True,
        "sensitivity_against_live": True,
        "specificity_against_live": True,
        "auroc_against_live": True,
    }
    assert held(Gates(reviews=70, positives=20, loss=0.05), found)["specificity_against_live"] is False
    assert held(Gates(reviews=76), found)["reviews"] is False
    assert held(Gates(positives=22), found)["positives"] is False
    bars = FindingGates(sensitivity=0.9, specificity=0.95, ppv=0.8, auroc=0.9, ece=0.5)
    bar = held(Gates(findings={"mass": bars}), found)
    assert {name: bar[name] for name in ("sensitivity", "specificity", "ppv", "auroc", "ece")} == {
        "sensitivity": True, "specificity": False, "ppv": True, "auroc": True, "ece": True,
    }  # fmt: skip
    assert held(Gates(findings={"mass": FindingGates(ece=0.01)}), found)["ece"] is False


def test_a_finding_that_nobody_answered_does_not_pass():
    assert [row["held"] for row in check(Gates(reviews=0, positives=0), {}, ["mass"])] == [False]


def test_the_live_version_is_judged_on_the_studies_that_both_answered():
    """It read others before the shadow came; whether those were easy is no merit of it."""
    both = [case(n, n % 2 == 0, 0.4, 0.4) for n in range(20)]  # nobody tells anything apart
    easy = [case(100 + n, n % 2 == 0, 0.9 if n % 2 == 0 else 0.1, None) for n in range(40)]
    found = compare([*both, *easy])
    assert found["live"]["auroc"] > 0.8
    assert found["paired"]["live"]["n"] == found["paired"]["shadow"]["n"] == 20
    assert found["paired"]["live"]["auroc"] == found["paired"]["shadow"]["auroc"] == 0.5
    rows = check(Gates(reviews=20, positives=10, loss=0.0), {"mass": found}, ["mass"])
    assert all(row["held"] for row in rows), rows
