"""Floor 0: privacy, errors, UIDs and codes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan import codes, errors
from hoichan.privacy import Phi
from hoichan.types import Outcome, Presence, RefusalCode, Tier
from hoichan.uids import derived_uid, device_uid


def every_error(root=errors.HoichanError):
    for child in root.__subclasses__():
        yield child
        yield from every_error(child)


@given(st.text(min_size=3))
def test_a_personal_value_cannot_be_printed(text):
    value = Phi(text)
    for shown in (repr(value), str(value), f"{value}", f"{value:>30}", f"{[value]}"):
        assert shown.count("Phi(…)") == 1
    assert value.reveal() == text


def test_every_error_has_a_code_of_its_own_and_a_default_sentence():
    found = list(every_error())
    assert len({error.code for error in found}) == len(found)
    for error in found:
        assert (error.__doc__ or "").strip().endswith((".", "RefusalCode`."))


@pytest.mark.parametrize("error", [errors.SpoolFull, errors.RecordsUnavailable, errors.RunnerFailed])
def test_what_can_pass_is_retryable(error):
    assert error().retryable


@pytest.mark.parametrize("error", [errors.NotDicom, errors.ManifestInvalid, errors.StudyUnknown])
def test_what_cannot_pass_is_not(error):
    assert not error().retryable


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_derived_uid_is_valid_and_always_the_same(parts):
    uid = derived_uid(*parts)
    assert uid == derived_uid(*parts)
    assert len(uid) <= 64 and uid.startswith("2.25.") and uid[5:].isdigit() and uid[5] != "0"


def test_new_weights_make_a_new_device():
    assert device_uid("model|1|aa") != device_uid("model|1|ab")


def test_every_finding_is_named_in_both_languages():
    for term in codes.FINDINGS.values():
        for language in ("vi", "en"):
            assert unicodedata.is_normalized("NFC", term.display[language]) and term.display[language]
        assert len(term.code.code_meaning) <= 64


def test_every_word_of_an_enumeration_has_its_code_or_text():
    assert set(codes.REFUSALS) == set(RefusalCode)
    assert set(codes.OUTCOMES) == set(Outcome)
    assert set(codes.PRESENCE) == set(Presence)
    assert set(codes.ACTIONABLE) == set(codes.TIERS) == set(Tier)


def test_nothing_we_say_calls_a_film_normal():
    for language, words in codes.NOTHING_ABOVE_THRESHOLD.items():
        assert ("không có nghĩa" if language == "vi" else "does not mean") in words


def test_the_banner_says_that_no_doctor_has_read_it():
    assert codes.BANNER["vi"] == "KẾT QUẢ AI – CHƯA ĐƯỢC BÁC SĨ XÁC NHẬN"
