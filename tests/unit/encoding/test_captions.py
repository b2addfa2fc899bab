"""The words on the picture."""

from __future__ import annotations

import pytest

from hoichan import codes
from hoichan.encoding.captions import LEGEND, OTHER_IMAGE, caption
from hoichan.testing import a_finding, a_manifest, a_refused_report, a_report, a_study
from hoichan.testing.reports import NATIONAL_ID, PATIENT_ID, PATIENT_NAME
from hoichan.types import Refusal, RefusalCode

STUDY = a_study()
UID = STUDY.instances[0].sop_instance_uid


def words(report, uid=UID, language="vi"):
    return caption(report, sop_instance_uid=uid, rows=512, columns=448, language=language)


def test_positives_are_listed_with_score_threshold_and_tier():
    first, *_ = words(a_report(STUDY)).marks
    assert (first.number, first.name) == (1, "Tràn dịch màng phổi")
    assert first.detail == "điểm AI 0,91 (ngưỡng 0,52)"
    assert first.tier_name == "Ưu tiên"
    assert first.points[0] == pytest.approx((0.08, 0.62))
    assert first.heatmap is not None


def test_banner_and_demonstration_are_always_there():
    for report in (a_report(STUDY), a_report(STUDY, findings=[])):
        caption_ = words(report)
        assert caption_.banner == codes.BANNER["vi"]
        assert caption_.standing == (
            "Mô hình: Invented chest film model 1.2.0 · Bản trình diễn, chưa được thẩm định lâm sàng."
        )
        assert caption_.footer == codes.FOOTER["vi"]


def test_not_analysed_shows_the_reason_and_nothing_else():
    caption_ = words(a_refused_report(STUDY, RefusalCode.WRONG_BODY_PART))
    assert caption_.warning
    assert (caption_.title, caption_.message) == ("KHÔNG PHÂN TÍCH", "Bộ phận chụp không phải là ngực.")
    assert caption_.marks == caption_.below == ()
    assert not caption_.legend


def test_nothing_above_threshold_is_said_in_full():
    caption_ = words(a_report(STUDY, findings=[a_finding(STUDY, "edema", 0.1)]))
    assert caption_.message == codes.NOTHING_ABOVE_THRESHOLD["vi"]
    assert caption_.below == (("Phù phổi", "0,10 < 0,50"),)
    assert not caption_.warning


def test_a_finding_on_another_image_is_listed_but_not_drawn():
    mark, *_ = words(a_report(STUDY), uid="2.25.9").marks
    assert mark.graphic_type is None
    assert mark.heatmap is None
    assert mark.elsewhere == OTHER_IMAGE["vi"]


def test_the_map_is_explained_where_there_is_one():
    assert words(a_report(STUDY)).legend == LEGEND["vi"]
    without = a_report(STUDY, findings=[a_finding(STUDY, "edema", 0.9)])
    assert not words(without).legend


def test_calibrated_numbers_are_not_called_uncalibrated():
    report = a_report(STUDY, findings=[a_finding(STUDY, "edema", 0.9, calibration="platt")])
    assert not words(report).notes
    assert words(report).marks[0].detail == "độ tin cậy của AI 90% (ngưỡng 50%)"


def test_images_left_out_are_noted():
    refusal = Refusal(code=RefusalCode.WRONG_VIEW, algorithm_name="m", series_instance_uid=None)
    notes = words(a_report(STUDY, refusals=[refusal])).notes
    assert any(codes.REFUSALS[RefusalCode.WRONG_VIEW]["vi"] in note for note in notes)


@pytest.mark.parametrize("language", ["vi", "en"])
def test_no_text_about_the_patient(language):
    for report in (a_report(STUDY, manifest=a_manifest()), a_refused_report(STUDY)):
        text = repr(words(report, language=language))
        for value in (*PATIENT_NAME.split("^"), PATIENT_ID, NATIONAL_ID, "1985", "XR2611200042"):
            assert value not in text
