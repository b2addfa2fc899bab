"""Logits become statements, and maps become places."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.analysis.evidence import heatmap, locate
from hoichan.analysis.findings import interpret, probabilities, probability
from hoichan.errors import RunnerFailed
from hoichan.testing.reports import a_manifest, a_result, a_study
from hoichan.types import Calibration, GraphicType, Presence, SOPInstanceUID, Tier

KEYS = ("pleural_effusion", "pneumothorax", "cardiomegaly")
UID = SOPInstanceUID("1.2.3")


def hill(row: int, column: int, shape: tuple[int, int] = (16, 12)) -> np.ndarray:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return (5 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4) - 1).astype(np.float32)


def result_of(**logits: float):
    manifest = a_manifest(KEYS)
    result = replace(
        a_result(a_study(), logits, manifest),
        rows=1600,
        columns=1200,
        class_activation_maps={key: hill(4, 3) for key in logits},
    )
    return manifest, result


def test_positives_come_first_by_tier_then_negatives():
    manifest, result = result_of(pleural_effusion=2.0, pneumothorax=0.5, cardiomegaly=-3.0)
    findings = interpret(manifest, result)
    assert [f.key for f in findings] == ["pneumothorax", "pleural_effusion", "cardiomegaly"]
    assert [f.presence for f in findings] == [Presence.PRESENT, Presence.PRESENT, Presence.ABSENT]
    assert findings[0].tier is Tier.CRITICAL
    assert findings[1].probability == pytest.approx(1 / (1 + math.exp(-2)))


def test_the_operating_point_itself_is_present():
    manifest, result = result_of(pleural_effusion=0.0, pneumothorax=-1e-9, cardiomegaly=-1)
    found = {f.key: f.presence for f in interpret(manifest, result)}
    assert found["pleural_effusion"] is Presence.PRESENT
    assert found["pneumothorax"] is Presence.ABSENT


def test_a_disabled_output_never_becomes_a_statement():
    manifest, result = result_of(pleural_effusion=9.0, pneumothorax=9.0, cardiomegaly=9.0)
    off = replace(manifest.outputs[0], enabled=False, disabled_reason="no better than chance")
    manifest = replace(manifest, outputs=(off, *manifest.outputs[1:]))
    assert "pleural_effusion" not in [f.key for f in interpret(manifest, result)]
    assert "pleural_effusion" in probabilities(manifest, dict(result.logits))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_a_failure(bad):
    manifest, result = result_of(pleural_effusion=bad, pneumothorax=0.0, cardiomegaly=0.0)
    with pytest.raises(RunnerFailed):
        interpret(manifest, result)


def test_a_missing_number_is_a_failure():
    manifest, result = result_of(pleural_effusion=0.0)
    with pytest.raises(RunnerFailed, match="pneumothorax"):
        interpret(manifest, result)


def test_only_positives_carry_evidence():
    manifest, result = result_of(pleural_effusion=2.0, pneumothorax=-2.0, cardiomegaly=-2.0)
    for finding in interpret(manifest, result):
        assert bool(finding.evidence) == (finding.presence is Presence.PRESENT)


def test_without_a_map_a_positive_has_no_evidence():
    manifest, result = result_of(pleural_effusion=2.0, pneumothorax=-2.0, cardiomegaly=-2.0)
    assert interpret(manifest, replace(result, class_activation_maps={}))[0].evidence == ()


@given(st.floats(-800, 800), st.floats(0.05, 5), st.floats(-10, 10))
def test_probabilities_are_between_nought_and_one_and_rise_with_the_logit(logit, slope, intercept):
    platt = Calibration(method="platt", slope=slope, intercept=intercept)
    p = probability(logit, platt)
    assert 0.0 <= p <= 1.0
    assert probability(logit + 1, platt) >= p


def test_calibration_none_ignores_slope_and_intercept():
    assert probability(0.0, Calibration(method="none", slope=3, intercept=2)) == 0.5


def test_the_box_is_closed_and_lies_around_the_peak_in_pixels_of_the_stored_image():
    evidence = locate(hill(4, 3), rows=1600, columns=1200, sop_instance_uid=UID)
    assert evidence.graphic_type is GraphicType.POLYLINE
    x, y = evidence.graphic_data[0::2], evidence.graphic_data[1::2]
    assert len(x) == 5 and (x[0], y[0]) == (x[4], y[4])
    assert 0 <= min(x) < 350 < max(x) <= 1200  # the peak is at column 3.5 cells of 100 pixels
    assert 0 <= min(y) < 450 < max(y) <= 1600
    assert evidence.heatmap.max() == 1.0 and evidence.heatmap.min() == 0.0


def test_a_second_hill_is_not_in_the_box():
    cam = hill(3, 3) + 0.9 * hill(12, 9)
    evidence = locate(cam, rows=1600, columns=1200, sop_instance_uid=UID)
    assert max(evidence.graphic_data[1::2]) < 900


def test_a_flat_map_has_no_box():
    evidence = locate(np.full((8, 8), 0.3, dtype=np.float32), rows=800, columns=800, sop_instance_uid=UID)
    assert evidence.graphic_type is None and evidence.graphic_data == ()
    assert not heatmap(np.full((8, 8), 0.3, dtype=np.float32)).any()


@given(st.integers(0, 15), st.integers(0, 11), st.integers(1, 4000), st.integers(1, 4000))
def test_boxes_never_leave_the_image(row, column, rows, columns):
    x = locate(hill(row, column), rows=rows, columns=columns, sop_instance_uid=UID).graphic_data
    assert all(0 <= v <= columns for v in x[0::2])
    assert all(0 <= v <= rows for v in x[1::2])
