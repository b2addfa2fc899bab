"""Agreement of two measurements, against figures that can be worked out by hand."""

import pytest

from hoichan.analysis.volume_agreement import Pair, compare_volumes


def pairs(*values, **groups):
    return [
        Pair(study_instance_uid=f"2.25.{n}", part="P", live=a, shadow=b, groups=groups)
        for n, (a, b) in enumerate(values)
    ]


def test_a_constant_offset_is_a_bias_without_spread():
    found = compare_volumes(pairs(*((v, v + 0.5) for v in (1.0, 2.0, 3.0, 4.0, 5.0))))
    assert found["bias_ml"] == pytest.approx(0.5)
    assert found["bias_ci95"] == pytest.approx((0.5, 0.5))
    assert found["limits_ml"] == pytest.approx((0.5, 0.5))
    assert found["mean_ml"] == pytest.approx({"live": 3.0, "shadow": 3.5})
    assert found["concordance"] == pytest.approx(2 * 2.0 / (2.0 + 2.0 + 0.25))  # Lin 1989


def test_limits_hold_twice_the_deviation_of_the_differences():
    found = compare_volumes(pairs((1.0, 1.1), (1.0, 0.9), (2.0, 2.1), (2.0, 1.9)))
    spread = (4 * 0.01 / 3) ** 0.5
    assert found["bias_ml"] == pytest.approx(0.0)
    assert found["limits_ml"] == pytest.approx((-1.96 * spread, 1.96 * spread))
    assert found["bias_ci95"] is None  # four pairs


def test_the_largest_differences_are_told_first():
    found = compare_volumes(pairs((1.0, 1.1), (2.0, 3.0), (3.0, 2.5)))
    assert [one["study_instance_uid"] for one in found["changed"]] == ["2.25.1", "2.25.2", "2.25.0"]


def test_small_subgroups_are_told_by_their_size_only():
    few, many = pairs((1.0, 1.2), sender="A"), pairs(*((v, v) for v in (1.0, 2.0, 3.0, 4.0, 5.0)), sender="B")
    a, b = compare_volumes([*few, *many])["subgroups"]
    assert (a["value"], a["n"], a["bias_ml"]) == ("A", 1, None)
    assert (b["value"], b["n"], b["bias_ml"], b["concordance"]) == ("B", 5, 0.0, 1.0)


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing_is_no_reason_to_fail(count):
    found = compare_volumes(pairs(*[(1.0, 1.0)] * count))
    assert (found["n"], found["concordance"], found["limits_ml"]) == (count, None, None)
