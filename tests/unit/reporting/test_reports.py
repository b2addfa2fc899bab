"""What a report says: outcome, order, wording."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.codes import FINDINGS, FOOTER, NOTHING_ABOVE_THRESHOLD, REFUSALS
from hoichan.reporting import compose, score_text
from hoichan.reporting.reports import follows, number_text
from hoichan.testing import a_finding, a_manifest, a_refused_report, a_report, a_result, a_study
from hoichan.testing.reports import REPORTED_AT
from hoichan.types import Outcome, Presence, Refusal, RefusalCode, ReportStatus

STUDY = a_study()
FORBIDDEN = ("chẩn đoán", "diagnos")


def refusal(code: RefusalCode) -> Refusal:
    return Refusal(code=code, algorithm_name="m", series_instance_uid=None)


def composed(findings=(), refusals=(), *, answered=True, manifest=None):
    manifest = manifest or a_manifest()
    return compose(
        STUDY,
        results=(a_result(STUDY, {}, manifest),) if answered else (),
        findings=findings,
        refusals=refusals,
        manifests=(manifest,) if answered else (),
        predecessor=None,
        now=REPORTED_AT,
    )


@pytest.mark.parametrize(
    ("score", "code", "outcome"),
    [
        (0.9, None, Outcome.WITH_FINDINGS),
        (0.1, None, Outcome.WITHOUT_FINDINGS),
        (0.9, RefusalCode.MODEL_FAILED, Outcome.PARTIAL_WITH_FINDINGS),
        (0.1, RefusalCode.UNDECODABLE_PIXELS, Outcome.PARTIAL_WITHOUT_FINDINGS),
        (
            0.9,
            RefusalCode.WRONG_VIEW,
            Outcome.WITH_FINDINGS,
        ),  # a lateral film is none of the model's business
    ],
)
def test_outcome(score, code, outcome):
    report = composed([a_finding(STUDY, "edema", score)], [refusal(code)] if code else [])
    assert report.outcome is outcome


def test_without_results_it_is_not_analysed_and_says_why():
    report = a_refused_report(STUDY, RefusalCode.AGE_UNDER_LIMIT)
    assert report.outcome is Outcome.NOT_ANALYSED
    assert report.conclusion["vi"] == f"KHÔNG PHÂN TÍCH: {REFUSALS[RefusalCode.AGE_UNDER_LIMIT]['vi']}"
    assert report.conclusion["en"].startswith("NOT ANALYSED: ")
    assert report.status is ReportStatus.UNVERIFIED


def test_without_results_and_without_refusals_it_still_gives_a_reason():
    report = composed(answered=False)
    assert report.conclusion["vi"] == f"KHÔNG PHÂN TÍCH: {REFUSALS[RefusalCode.NO_MODEL]['vi']}"


def test_positives_come_first_by_tier_then_by_score():
    keys = [("nodule", 0.9), ("edema", 0.6), ("pneumothorax", 0.55), ("mass", 0.8), ("hernia", 0.1)]
    report = composed([a_finding(STUDY, key, score) for key, score in keys])
    assert [finding.key for finding in report.findings] == [
        "pneumothorax",
        "mass",
        "edema",
        "nodule",
        "hernia",
    ]
    assert report.findings[-1].presence is Presence.ABSENT


def test_conclusion_suggests_and_names_score_and_threshold():
    finding = a_finding(STUDY, "pleural_effusion", 0.912, operating_point=0.52)
    report = composed([finding, a_finding(STUDY, "nodule", 0.1)])
    assert report.conclusion["vi"] == (
        "AI gợi ý: Tràn dịch màng phổi (điểm AI 0,91, ngưỡng 0,52). Đã xét, không vượt ngưỡng: nốt mờ phổi."
    )
    assert report.conclusion["en"].startswith(
        "AI suggests: Pleural effusion (AI score 0.91, threshold 0.52)."
    )


def test_only_a_calibrated_number_is_a_confidence_in_percent():
    assert score_text(a_finding(STUDY, "edema", 0.734), "vi") == "điểm AI 0,73"
    assert score_text(a_finding(STUDY, "edema", 0.734, calibration="platt"), "vi") == "độ tin cậy của AI 73%"


@pytest.mark.parametrize(
    ("probability", "vi", "en"), [(0.083, "8,3%", "8.3%"), (0.0995, "10%", "10%"), (0.004, "0,4%", "0.4%")]
)
def test_small_confidences_keep_a_decimal(probability, vi, en):
    finding = a_finding(STUDY, "edema", 0.5, calibration="platt")
    assert number_text(finding, probability, "vi") == vi
    assert number_text(finding, probability, "en") == en


def test_nothing_found_is_not_called_normal():
    report = composed([a_finding(STUDY, "edema", 0.1)])
    assert report.conclusion["vi"].startswith(NOTHING_ABOVE_THRESHOLD["vi"])
    assert "Điều này không có nghĩa là phim bình thường." in report.conclusion["vi"]


def test_images_left_out_are_named_in_the_conclusion():
    report = composed([a_finding(STUDY, "edema", 0.9)], [refusal(RefusalCode.WRONG_VIEW)])
    assert (
        f"Ca chụp còn hình KHÔNG PHÂN TÍCH: {REFUSALS[RefusalCode.WRONG_VIEW]['vi']}"
        in report.conclusion["vi"]
    )


def test_earlier_studies_are_named_as_at_hand_and_never_as_compared():
    study = a_study()
    plain = a_refused_report(study).conclusion
    beside = compose(
        replace(study, earlier_study_dates=(date(2026, 1, 20), date(2025, 3, 1))),
        results=(),
        findings=(),
        refusals=(),
        manifests=(),
        predecessor=None,
        now=REPORTED_AT,
    ).conclusion
    assert beside["vi"].endswith(" Có ca chụp trước, AI không so sánh: 20/01/2026, 01/03/2025.")
    assert beside["en"].endswith(" Earlier studies at hand, not compared by AI: 2026-01-20, 2025-03-01.")
    assert "không so sánh" not in plain["vi"]


def test_disclaimer_is_the_models_own_words_and_the_footer():
    report = composed()
    assert report.disclaimer["vi"] == f"Bản trình diễn, chưa được thẩm định lâm sàng. {FOOTER['vi']}"
    assert a_refused_report(STUDY).disclaimer["en"] == FOOTER["en"]


def test_a_missing_translation_falls_back_to_english():
    report = composed(manifest=a_manifest(disclaimer={"en": "Demonstration."}))
    assert report.disclaimer["vi"] == f"Demonstration. {FOOTER['vi']}"


def test_report_uid_depends_on_study_revision_and_models_only():
    first, again = a_report(STUDY), a_report(STUDY, findings=[])
    assert first.report_uid == again.report_uid
    assert a_report(a_study(revision=2)).report_uid != first.report_uid
    assert a_report(STUDY, manifest=a_manifest(algorithm_version="1.2.1")).report_uid != first.report_uid
    assert re.fullmatch(r"2\.25\.\d{1,39}", first.report_uid)


def test_the_same_refusal_is_told_once():
    twice = [refusal(RefusalCode.WRONG_VIEW)] * 2
    assert len(composed(refusals=twice).refusals) == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(FINDINGS)), st.floats(0, 1)), max_size=16),
    st.lists(st.sampled_from(list(RefusalCode)), max_size=4),
    st.booleans(),
)
def test_no_text_ever_sounds_like_a_doctor(scores, codes, answered):
    findings = [a_finding(STUDY, key, score) for key, score in scores] if answered else []
    report = composed(findings, [refusal(code) for code in codes], answered=answered)
    for text in (*report.conclusion.values(), *report.disclaimer.values()):
        assert text == text.strip()
        assert unicodedata.is_normalized("NFC", text)
        assert not any(word in text.lower() for word in FORBIDDEN)
        rest = text.replace(NOTHING_ABOVE_THRESHOLD["vi"], "").replace(NOTHING_ABOVE_THRESHOLD["en"], "")
        assert "bình thường" not in rest
        assert "normal" not in rest
    assert sorted(report.findings, key=id) == sorted(findings, key=id)


@given(answers=st.lists(st.sampled_from("ABN"), min_size=1, max_size=8))
def test_what_was_said_last_stands_and_the_same_twice_is_one(answers):
    """Each answer that differs from the one before is a report of its own, and names that one."""
    told = []
    before = None
    for answer in answers:
        uid, replaced = follows(answer, told)
        if answer == before:
            assert (uid, replaced) == told[0]
            continue
        assert uid not in {one for one, _ in told}
        assert replaced == (told[0][0] if told else None)
        told.insert(0, (uid, replaced))
        before = answer
        assert follows(answer, told) == told[0]  # a walk that is repeated after a crash
