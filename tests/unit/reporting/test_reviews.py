"""Who may take which step, which judgements are kept, and what is signed."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.codes import FINDINGS
from hoichan.encoding.retraction import retraction_uid
from hoichan.errors import NotSignable, ReportChanged, ReviewRefused, StepRefused
from hoichan.privacy import Phi
from hoichan.reporting.drafting import draft_text
from hoichan.reporting.review_words import RECOMMENDATIONS, REJECTION_REASONS, SIDES, SITES, TEMPLATES
from hoichan.reporting.reviews import (
    TRANSITIONS,
    check,
    finding_id,
    next_status,
    status_after,
    withdraw,
)
from hoichan.reporting.sealing import (
    SECTIONS,
    is_sealed,
    judgements_json,
    judgements_of,
    normal,
    sections_json,
    sections_of,
    typed,
)
from hoichan.reporting.signed import is_added, judgement_of, signed_report, spoken
from hoichan.testing import a_report, a_study
from hoichan.testing.reviews import SIGNED_AT, SIGNER, a_draft, a_review, judgements
from hoichan.types import (
    Box,
    Judgement,
    Outcome,
    Presence,
    ReportStatus,
    Review,
    ReviewKind,
    Side,
    Verdict,
    VolumeJudgement,
)

STUDY = a_study()
REPORT = a_report(STUDY)
IMAGE = STUDY.instances[0]
EFFUSION = REPORT.findings[0]
texts = st.text(max_size=40)
lengths = st.floats(0.5, 900, allow_nan=False)


def judged(**changes) -> Judgement:
    given_ = {
        "finding_id": finding_id(REPORT.report_uid, EFFUSION),
        "key": EFFUSION.key,
        "verdict": Verdict.ACCEPTED,
    }
    return Judgement(**{**given_, **changes})


# ------------------------------------------------------------------ the state machine
@given(st.lists(st.sampled_from(list(ReviewKind)), max_size=12))
def test_every_walk_is_refused_or_in_the_table(kinds) -> None:
    status = ReportStatus.UNVERIFIED
    for kind in kinds:
        if (status, kind) not in TRANSITIONS:
            with pytest.raises(StepRefused):
                next_status(status, kind)
            return
        status = next_status(status, kind)
        assert status in (ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.WITHDRAWN)


def test_nothing_leads_back_to_unverified_and_a_machine_has_no_step() -> None:
    assert ReportStatus.UNVERIFIED not in TRANSITIONS.values()
    assert {kind for _, kind in TRANSITIONS} == set(ReviewKind)  # all are signatures of a person


@pytest.mark.parametrize("field", ["licence_number", "full_name"])
def test_no_signature_without_a_licensed_person(field) -> None:
    with pytest.raises(NotSignable) as caught:
        a_review(REPORT, STUDY, signer=replace(SIGNER, **{field: " "}))
    assert caught.value.reason == "no_licence"
    with pytest.raises(NotSignable):
        withdraw(
            [a_review(REPORT, STUDY)],
            uid=REPORT.report_uid,
            signer=replace(SIGNER, **{field: ""}),
            reason="sai",
            now=SIGNED_AT,
        )


def test_a_chain_of_signatures_names_what_each_replaces() -> None:
    first = a_review(REPORT, STUDY)
    second = a_review(REPORT, STUDY, [first], kind=ReviewKind.AMENDMENT, reason="Bổ sung kích thước.")
    third = a_review(REPORT, STUDY, [first, second], kind=ReviewKind.ADDENDUM, reason="Đã gọi khoa Nội.")
    gone = withdraw(
        [first, second, third],
        uid=retraction_uid(third.report_uid),
        signer=SIGNER,
        reason="Nhầm phim.",
        now=SIGNED_AT,
    )
    chain = [first, second, third, gone]
    assert first.predecessor == REPORT.report_uid
    assert all(later.predecessor == earlier.report_uid for earlier, later in pairwise(chain))
    assert {one.known_as for one in chain} == {REPORT.report_uid}
    assert len({one.report_uid for one in chain}) == len(chain)
    assert all(is_sealed(one) for one in chain)
    assert status_after(chain) is ReportStatus.WITHDRAWN
    anew = a_review(REPORT, STUDY, chain)
    assert anew.known_as == anew.report_uid != REPORT.report_uid  # the former identity is entered in error
    assert status_after([*chain, anew]) is ReportStatus.FINAL


def test_a_second_final_and_an_amendment_of_nothing_are_refused() -> None:
    first = a_review(REPORT, STUDY)
    with pytest.raises(StepRefused):
        a_review(REPORT, STUDY, [first])
    with pytest.raises(StepRefused):
        a_review(REPORT, STUDY, kind=ReviewKind.AMENDMENT, reason="x")
    with pytest.raises(StepRefused):
        a_review(REPORT, STUDY, [first], kind=ReviewKind.WITHDRAWAL, reason="x")


def test_an_amendment_says_why() -> None:
    with pytest.raises(ReviewRefused, match=r"why"):
        a_review(REPORT, STUDY, [a_review(REPORT, STUDY)], kind=ReviewKind.AMENDMENT, reason=" \n")


def test_a_newer_report_than_the_one_that_was_read_is_not_signed() -> None:
    with pytest.raises(ReportChanged):
        a_review(REPORT, STUDY, draft=replace(a_draft(REPORT), report_uid="2.25.1"))


# ------------------------------------------------------------------ judgements
@pytest.mark.parametrize(
    ("judgement", "reason"),
    [
        (judged(finding_id="00000000-0000-5000-8000-000000000000"), "unknown_finding"),
        (judged(key="nodule"), "unknown_finding"),
        (judged(key="invented"), "unknown_key"),
        (judged(finding_id=None), "wrong_verdict"),
        (judged(verdict=Verdict.ADDED), "wrong_verdict"),
        (judged(reason="not_seen"), "wrong_verdict"),
        (judged(verdict=Verdict.REJECTED, reason="because"), "reason_needed"),
        (judged(site="elbow"), "unknown_site"),
        (judged(size_mm=0.0), "wrong_size"),
        (judged(size_mm=float("nan")), "wrong_size"),
        (judged(text=Phi("x" * 501)), "too_long"),
        (
            judged(boxes=(Box(sop_instance_uid="1.2.3", column=0, row=0, width=1, height=1),)),
            "wrong_box",
        ),
        (
            judged(
                boxes=(Box(sop_instance_uid=IMAGE.sop_instance_uid, column=440, row=0, width=9, height=1),)
            ),
            "wrong_box",
        ),
    ],
)
def test_a_judgement_that_breaks_a_rule_is_refused(judgement, reason) -> None:
    with pytest.raises(ReviewRefused) as caught:
        check(REPORT, [judgement], STUDY)
    assert caught.value.reason == reason


def test_a_finding_is_judged_once_and_a_negative_is_not_rejected() -> None:
    with pytest.raises(ReviewRefused) as caught:
        check(REPORT, [judged(), judged()], STUDY)
    assert caught.value.reason == "judged_twice"
    negative = next(one for one in REPORT.findings if one.presence is Presence.ABSENT)
    with pytest.raises(ReviewRefused) as caught:
        check(
            REPORT,
            [
                judged(
                    finding_id=finding_id(REPORT.report_uid, negative),
                    key=negative.key,
                    verdict=Verdict.REJECTED,
                    reason="not_seen",
                )
            ],
            STUDY,
        )
    assert caught.value.reason == "negative_rejected"


@pytest.mark.parametrize("left_out", range(3))
def test_nobody_signs_before_every_suggestion_has_a_verdict(left_out) -> None:
    given_ = [one for number, one in enumerate(judgements(REPORT)) if number != left_out]
    with pytest.raises(ReviewRefused) as caught:
        a_review(REPORT, STUDY, draft=a_draft(REPORT, given_))
    assert caught.value.reason == "unjudged"


def test_nobody_signs_without_a_conclusion_or_a_reason() -> None:
    with pytest.raises(ReviewRefused) as caught:
        a_review(REPORT, STUDY, draft=a_draft(REPORT, conclusion=" \n"))
    assert caught.value.reason == "conclusion_needed"
    given_ = [replace(one, reason="") for one in judgements(REPORT)]
    with pytest.raises(ReviewRefused) as caught:
        a_review(REPORT, STUDY, draft=a_draft(REPORT, given_))
    assert caught.value.reason == "reason_needed"


# ------------------------------------------------------------------ the seal
@given(
    text=texts,
    reason=texts,
    size=lengths,
    side=st.none() | st.sampled_from(list(Side)),
    box=st.tuples(lengths, lengths, lengths, lengths),
)
def test_judgements_and_sections_come_back_the_same_from_json(text, reason, size, side, box) -> None:
    one = Judgement(
        finding_id=None,
        key="nodule",
        verdict=Verdict.ADDED,
        reason=reason,
        laterality=side,
        size_mm=size,
        text=Phi(text),
        boxes=(Box(sop_instance_uid="1.2.3", column=box[0], row=box[1], width=box[2], height=box[3]),),
    )
    assert judgements_of(judgements_json([one])) == (one,)
    sections = sections_of({"conclusion": text})
    assert sections_of(sections_json(sections)) == sections


@given(texts)
def test_normal_text_is_stable(text) -> None:
    assert normal(normal(text)) == normal(text)
    assert "\r" not in normal(text)
    assert "\x00" not in normal(text)


@given(texts)
def test_what_is_typed_has_no_sign_that_turns_letters_unseen(text) -> None:
    assert typed(typed(text)) == typed(text)
    assert not set("\u202a\u202e\u2066\u2069\u200b\ufeff\xad") & set(typed(text))


def test_what_is_pasted_reads_as_it_is_kept() -> None:
    assert typed("Không \u202eahc\u202c tràn\u200b dịch\r\n\ufeff") == "Không ahc tràn dịch"
    assert typed("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"  # a joiner that a script needs


def test_the_hash_covers_every_field() -> None:
    review = a_review(REPORT, STUDY)
    other = {
        "kind": ReviewKind.ADDENDUM,
        "revision": 7,
        "signed_at": SIGNED_AT.replace(microsecond=1),
        "judgements": review.judgements[1:],
        "sections": replace(review.sections, comparison=Phi("")),
        "may_train": False,
        "seconds_spent": 1,
        "volumes": (VolumeJudgement(measurement_id="m", verdict=Verdict.REJECTED, reason="other"),),
    }
    for field in fields(Review):
        if field.name == "content_sha256":
            continue
        changed = replace(review, **{field.name: other.get(field.name, "another")})
        assert not is_sealed(changed), field.name
    assert is_sealed(review)
    assert is_sealed(replace(review, judgements=judgements_of(judgements_json(review.judgements))))


# ------------------------------------------------------------------ the signed report
def test_the_signed_report_says_what_the_person_said() -> None:
    review = a_review(REPORT, STUDY)
    report = signed_report(REPORT, review, STUDY, time="08:32 20/11/2026")
    assert report.status is ReportStatus.FINAL
    assert report.predecessor == REPORT.report_uid
    said = {one.key: one.presence for one in report.findings}
    assert said == {
        "pleural_effusion": Presence.PRESENT,
        "consolidation": Presence.PRESENT,
        "cardiomegaly": Presence.ABSENT,
        "nodule": Presence.PRESENT,
    }
    assert [is_added(one) for one in report.findings] == [False, False, False, True]
    assert [judgement_of(review, one) for one in report.findings] == list(review.judgements)
    assert report.conclusion["vi"] == report.conclusion["en"] == spoken(review)
    for language in ("vi", "en"):
        words = report.conclusion[language] + report.disclaimer[language]
        assert "AI gợi ý" not in words
        assert "CHƯA ĐƯỢC BÁC SĨ" not in words
        assert SIGNER.licence_number in report.disclaimer[language]
    assert report.review == review


def test_all_rejected_is_without_findings_and_a_negative_that_nobody_confirmed_is_not_signed() -> None:
    given_ = [
        replace(one, verdict=Verdict.REJECTED, reason="not_seen", site="", size_mm=None, laterality=None)
        for one in judgements(REPORT)
        if one.finding_id
    ]
    report = signed_report(REPORT, a_review(REPORT, STUDY, draft=a_draft(REPORT, given_)), STUDY, time="")
    assert report.outcome is Outcome.WITHOUT_FINDINGS
    assert {one.key for one in report.findings} == {"pleural_effusion", "cardiomegaly", "consolidation"}
    assert not report.positives


# ------------------------------------------------------------------ words
def test_the_first_draft_in_vietnamese() -> None:
    sections = draft_text(REPORT, judgements(REPORT), language="vi", has_priors=False)
    assert sections_json(sections) == {
        "description": "Đông đặc phổi bên trái, vùng dưới, kích thước khoảng 35 mm: bờ không đều.\n"
        "Tràn dịch màng phổi.\n"
        "Nốt mờ phổi bên phải, kích thước khoảng 8 mm.\n"
        "Không thấy hình ảnh bóng tim to.",
        "conclusion": "Đông đặc phổi bên trái.\nTràn dịch màng phổi.\nNốt mờ phổi bên phải.",
        "recommendation": "Đề nghị kết hợp lâm sàng, xét nghiệm đờm khi nghi lao; "
        "chụp kiểm tra sau điều trị.\n"
        "Đề nghị siêu âm màng phổi, kết hợp lâm sàng.\n"
        "Đề nghị chụp cắt lớp vi tính lồng ngực và so sánh với phim cũ.",
        "comparison": "Không có phim cũ để so sánh.",
    }


def test_the_first_draft_in_english() -> None:
    words = sections_json(draft_text(REPORT, judgements(REPORT), language="en", has_priors=True))
    assert words["description"].splitlines() == [
        "Left consolidation, lower zone, about 35 mm: bờ không đều.",
        "Pleural effusion.",
        "Right pulmonary nodule, about 8 mm.",
        "No sign of cardiomegaly.",
    ]
    assert words["comparison"] == ""


@given(st.lists(st.sampled_from(sorted(FINDINGS)), unique=True), st.sampled_from(["vi", "en"]))
def test_a_draft_never_calls_a_film_normal(keys, language) -> None:
    given_ = [Judgement(finding_id=None, key=key, verdict=Verdict.ADDED) for key in keys]
    sections = draft_text(REPORT, given_, language=language, has_priors=False)
    for name in SECTIONS:
        text = getattr(sections, name).reveal().lower()
        assert "bình thường" not in text
        assert "normal" not in text
        assert "  " not in text
    assert sections.conclusion.reveal()


def test_every_word_is_there_in_both_languages() -> None:
    for texts_ in (
        *(site.display for site in SITES.values()),
        *SIDES.values(),
        *REJECTION_REASONS.values(),
        *RECOMMENDATIONS.values(),
        *(template.names for template in TEMPLATES),
    ):
        assert texts_["vi"].strip()
        assert texts_["en"].strip()
    for template in TEMPLATES:
        assert set(template.sections) == {"vi", "en"}
        assert all(set(words) == set(SECTIONS) for words in template.sections.values())
