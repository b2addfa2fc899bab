"""Verdicts about volumes: which are kept and signed, and what a signed report says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.errors import ReviewRefused
from hoichan.reporting.reviews import rebased, withdraw
from hoichan.reporting.sealing import is_sealed, signed_content, volumes_json, volumes_of
from hoichan.reporting.signed import signed_report
from hoichan.reporting.volume_verdicts import (
    check_volumes,
    measurement_id,
    rejected_volumes,
    volume_judgement_of,
)
from hoichan.testing import a_report, a_study
from hoichan.testing.reviews import SIGNED_AT, SIGNER, a_draft, a_review
from hoichan.testing.volumes import measured
from hoichan.types import SOPInstanceUID, Verdict, VolumeJudgement

STUDY = a_study()
REPORT = replace(a_report(STUDY), measurements=measured(STUDY))
IDS = [measurement_id(REPORT.report_uid, one) for one in REPORT.measurements]
ACCEPTED = VolumeJudgement(measurement_id=IDS[0], verdict=Verdict.ACCEPTED, value_ml=1.524)
EDITED = VolumeJudgement(measurement_id=IDS[1], verdict=Verdict.EDITED, value_ml=1.4)
REJECTED = VolumeJudgement(measurement_id=IDS[2], verdict=Verdict.REJECTED, reason="poor_image: nhòe")
GIVEN = (ACCEPTED, EDITED, REJECTED)  # the fourth volume has no verdict


def review(*volumes, **more):
    return a_review(REPORT, STUDY, draft=replace(a_draft(REPORT), volumes=volumes), **more)


def signed(said):
    return signed_report(REPORT, said, STUDY, time="08:32 20/11/2026")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([replace(ACCEPTED, measurement_id="another")], "unknown_finding"),
        ([ACCEPTED, replace(ACCEPTED, verdict=Verdict.EDITED)], "judged_twice"),
        ([replace(ACCEPTED, verdict=Verdict.ADDED)], "wrong_verdict"),
        ([replace(ACCEPTED, reason="other")], "wrong_verdict"),
        ([replace(ACCEPTED, value_ml=1.5)], "wrong_size"),  # another number is a correction
        ([replace(ACCEPTED, value_ml=None)], "wrong_size"),
        ([replace(EDITED, value_ml=0.0)], "wrong_size"),
        ([replace(EDITED, value_ml=float("nan"))], "wrong_size"),
        ([replace(EDITED, value_ml=float("inf"))], "wrong_size"),
        ([replace(REJECTED, value_ml=1.0)], "wrong_size"),
        ([replace(REJECTED, reason="because")], "reason_needed"),
        ([replace(REJECTED, reason="other: " + 500 * "x")], "too_long"),
    ],
)
def test_a_verdict_that_cannot_be_kept(given, code):
    with pytest.raises(ReviewRefused) as refused:
        check_volumes(REPORT, given)
    assert refused.value.reason == code


def test_a_draft_may_lack_the_reason_and_a_signature_may_not():
    nameless = replace(REJECTED, reason="")
    check_volumes(REPORT, [nameless])
    with pytest.raises(ReviewRefused, match="needs a reason"):
        review(nameless)


def test_only_what_a_person_stands_for_is_in_the_signed_report():
    report = signed(review(*GIVEN))
    first, second = report.measurements
    assert (first.value, first.algorithm_name, first.judged_as) == (1.524, "Parts", IDS[0])
    assert (second.value, second.algorithm_name, second.segmentations) == (1.4, "", {})
    assert [one.value for one, _ in rejected_volumes(report)] == [1.75]
    assert report.machine_measurements == REPORT.measurements
    for language in ("vi", "en"):  # the words are in the language of who signed
        last = report.conclusion[language].splitlines()[-1]
        assert last.startswith("Thể tích: Phần trước 1,52 ml (chuỗi hình 1, AI đo, bác sĩ xác nhận).")
        assert "Phần sau 1,40 ml (chuỗi hình 1, số đo của bác sĩ)." in last
        assert "1,75" not in last and "2,00" not in last


def test_without_verdicts_nothing_of_a_volume_is_signed():
    report = signed(review())
    assert (report.measurements, rejected_volumes(report)) == ((), ())
    assert "ml" not in report.conclusion["vi"]
    assert b"volumes" not in signed_content(report.review)


def test_the_hash_covers_the_verdicts():
    said = review(*GIVEN)
    assert is_sealed(said)
    assert not is_sealed(replace(said, volumes=(replace(EDITED, value_ml=1.41), *GIVEN[::2])))
    assert not is_sealed(replace(said, volumes=()))
    taken_back = withdraw([said], uid=SOPInstanceUID("2.25.7"), signer=SIGNER, reason="nhầm", now=SIGNED_AT)
    assert is_sealed(taken_back) and taken_back.volumes == GIVEN


def test_verdicts_follow_the_same_number_to_a_newer_report():
    one, two, three, four = REPORT.measurements
    newer = replace(
        REPORT,
        report_uid=SOPInstanceUID("2.25.8"),
        measurements=(one, replace(two, value=1.3), replace(three, algorithm_version="2.0.0"), four),
    )
    draft = replace(a_draft(REPORT), volumes=GIVEN)
    assert rebased(draft, REPORT, newer).volumes == (
        replace(ACCEPTED, measurement_id=measurement_id("2.25.8", one)),
    )
    assert rebased(draft, None, newer).volumes == ()


verdicts = st.builds(
    VolumeJudgement,
    measurement_id=st.text(max_size=36),
    verdict=st.sampled_from([Verdict.ACCEPTED, Verdict.EDITED, Verdict.REJECTED]),
    value_ml=st.none() | st.floats(0.001, 1e5),
    reason=st.text(max_size=40),
)


@given(st.lists(verdicts, max_size=4))
def test_verdicts_come_back_from_json_as_they_were(given_):
    assert volumes_of(volumes_json(given_)) == tuple(given_)


def test_a_row_of_before_has_no_verdicts():
    assert volumes_of(None) == ()


def test_the_machines_measurement_and_the_signed_one_lead_to_the_same_verdict():
    said = review(*GIVEN)
    report = signed(said)
    assert volume_judgement_of(said, REPORT.measurements[1]) == EDITED
    assert volume_judgement_of(said, report.measurements[1]) == EDITED
    assert volume_judgement_of(said, REPORT.measurements[3]) is None
