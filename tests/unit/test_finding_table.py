"""The finding table: whole, in both languages, and nothing unverified is ever sent."""

from __future__ import annotations

import re

import pytest

from hoichan import codes
from hoichan.finding_table import FINDINGS, SENT, CodeStatus
from hoichan.types import Tier

SCHEMES = {"SCT": r"\d{6,18}", "DCM": r"\d{6}", "RADLEX": r"RID\d+", "99HOICHAN": r"[A-Z_]{1,16}"}
ICD10 = r"[A-Z]\d{2}(\.\d)?"  # WHO; never the fourth and fifth places of ICD-10-CM
VINDR = ("tuberculosis", "cavity", "rib_fracture", "mediastinal_shift", "aortic_enlargement", "ild", "copd")


@pytest.mark.parametrize("term", FINDINGS.values(), ids=lambda term: term.key)
def test_each_finding_is_whole(term):
    assert set(term.display) == {"vi", "en"} and all(term.display.values())
    assert term.tier in Tier
    assert term.icd10_suggestion is None or re.fullmatch(ICD10, term.icd10_suggestion)
    for one in term.codings:
        assert re.fullmatch(SCHEMES[one.code.coding_scheme_designator], one.code.code_value)
        assert 0 < len(one.code.code_meaning) <= 64 and len(one.code.code_value) <= 16
        assert one.code.coding_scheme_designator in codes.SCHEME_TO_SYSTEM


@pytest.mark.parametrize("term", FINDINGS.values(), ids=lambda term: term.key)
def test_what_is_sent_was_verified(term):
    sent = next(one for one in term.codings if one.code == term.code)
    assert sent.is_verified
    assert all(one.status in (CodeStatus.SINGLE, CodeStatus.MEMORY) for one in term.unverified)
    assert term.code not in [one.code for one in term.unverified]


def test_codes_that_are_known_to_be_wrong_for_chest_films_stand_nowhere():
    wrong = {"233709007", "60567007", "129614006", "78381009", "414403008", "27550009", "267038008"}
    wrong |= {"287272002", "168734001", "67362008"}
    assert not wrong & {one.code.code_value for term in FINDINGS.values() for one in term.codings}


def test_unverified_codes_are_marked_and_there_are_some():
    marked = {one.code.code_value for term in FINDINGS.values() for one in term.unverified}
    assert {"409609008", "33737001", "58150001"} <= marked
    assert CodeStatus.SINGLE not in SENT and CodeStatus.MEMORY not in SENT


def test_the_finding_lists_of_the_field_are_there():
    assert len(codes.FILM_LABELS) == 14 and set(codes.FILM_LABELS) <= set(FINDINGS)
    assert set(VINDR) <= set(FINDINGS)
    assert codes.FINDINGS is FINDINGS
