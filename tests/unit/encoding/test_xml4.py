"""XML4 gets what a physician signed, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from hoichan.encoding.xml4 import FIELDS, Unsigned, prefill
from hoichan.privacy import Phi
from hoichan.site_codes import SiteCode
from hoichan.types import Review, ReviewKind, Sections

REVIEW = Review(
    report_uid="2.25.3",
    judged="2.25.1",
    predecessor="2.25.1",
    known_as="2.25.1",
    study_instance_uid="1.2.3",
    revision=1,
    kind=ReviewKind.FINAL,
    reviewer="bs.chau",
    reviewer_name="Lê Minh Châu",
    licence_number="001234/HCM-CCHN",
    signed_at=datetime(2026, 11, 20, 20, 5, tzinfo=UTC),
    judgements=(),
    sections=Sections(
        description=Phi("Mờ góc sườn hoành phải."), conclusion=Phi("Tràn dịch màng phổi phải lượng ít.")
    ),
    language="vi",
    reason="",
    may_train=False,
    seconds_spent=60,
    content_sha256="0" * 64,
)
SERVICE = SiteCode(code="18.0119.0028", display="x", finding_key="DX/CHEST", verified_by="BS Châu")
INDICATOR = SiteCode(
    code="2100002", display="Tràn dịch", finding_key="pleural_effusion", verified_by="BS Châu"
)


def fill(review=REVIEW, services=(SERVICE,), indicators=(INDICATOR,)):
    return prefill(
        review,
        visit="KCB2026112000042",
        service_key="DX/CHEST",
        services=services,
        indicators=indicators,
        indicator_key="pleural_effusion",
        zone=timezone(timedelta(hours=7)),
    )


def test_twelve_fields_in_their_order():
    line = fill()
    assert tuple(line) == FIELDS and len(line) == 12
    assert (line["MO_TA"], line["KET_LUAN"]) == (
        "Mờ góc sườn hoành phải.",
        "Tràn dịch màng phổi phải lượng ít.",
    )
    assert (line["NGAY_KQ"], line["MA_BS_DOC_KQ"]) == ("202611210305", "001234/HCM-CCHN")
    assert (line["MA_DICH_VU"], line["MA_CHI_SO"]) == ("18.0119.0028", "2100002")


@pytest.mark.parametrize(
    "review",
    [
        None,
        replace(REVIEW, kind=ReviewKind.WITHDRAWAL),
        replace(REVIEW, licence_number=" "),
        replace(REVIEW, sections=Sections(description=Phi("x"))),
    ],
)
def test_what_nobody_signed_is_refused(review):
    with pytest.raises(Unsigned) as caught:
        fill(review)
    assert caught.value.code == "report.unsigned"


@pytest.mark.parametrize("change", [{"verified_by": None}, {"usable": False}])
def test_codes_that_nobody_answers_for_stay_out(change):
    line = fill(services=[replace(SERVICE, **change)], indicators=[replace(INDICATOR, **change)])
    assert (line["MA_DICH_VU"], line["MA_CHI_SO"], line["TEN_CHI_SO"]) == ("", "", "")
