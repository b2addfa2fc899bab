"""Codes of an authenticator, against the numbers of RFC 6238 and RFC 4226."""

from datetime import UTC, datetime, timedelta

import pytest

from hoichan.guard import second_factor
from hoichan.guard.second_factor import (
    code_at,
    matching_step,
    new_recovery_codes,
    new_secret,
    provisioning_uri,
    recovery_digest,
    spelt,
    step_of,
)

SECRET = b"12345678901234567890"
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "code"),  # RFC 6238 appendix B, its last six digits
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_the_standard(seconds, code):
    assert code_at(SECRET, step_of(datetime.fromtimestamp(seconds, UTC))) == code


@pytest.mark.parametrize(("off", "taken"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_clock_may_be_one_step_off(off, taken):
    code = code_at(SECRET, step_of(NOW + timedelta(seconds=off)))
    assert (matching_step(SECRET, code, NOW, 0) is not None) is taken


def test_a_code_counts_once_and_so_do_older_ones():
    code = code_at(SECRET, step_of(NOW))
    used = matching_step(SECRET, code, NOW, 0)
    assert used == step_of(NOW)
    assert matching_step(SECRET, code, NOW, used) is None
    assert matching_step(SECRET, code_at(SECRET, used - 1), NOW, used) is None
    assert matching_step(SECRET, code_at(SECRET, used + 1), NOW, used) == used + 1


@pytest.mark.parametrize("text", ["", "12345", "1234567", "abcdef", "٠٠٥٩٢٤", "\ud800", "0" * 1000])
def test_what_is_no_code_is_none(text):
    assert matching_step(SECRET, text, NOW, 0) is None


def test_blanks_are_borne():
    code = code_at(SECRET, step_of(NOW))
    assert matching_step(SECRET, f" {code[:3]} {code[3:]} ", NOW, 0) is not None


def test_the_picture_says_what_an_authenticator_needs():
    uri = provisioning_uri(SECRET, "bs.an", "Hội Chẩn")
    assert uri.startswith("otpauth://totp/H%E1%BB%99i%20Ch%E1%BA%A9n%3Abs.an?secret=GEZDGNBVGY3TQOJQ")
    assert spelt(SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert len(new_secret()) == second_factor.SECRET_BYTES


def test_recovery_codes_are_many_long_and_read_as_they_are_typed():
    codes = new_recovery_codes()
    assert len(set(codes)) == 10
    assert all(len(code.replace("-", "")) == 16 for code in codes)
    digest = recovery_digest(codes[0])
    assert digest == recovery_digest(f" {codes[0].upper().replace('-', ' ')} ")
    assert digest not in {recovery_digest(code) for code in codes[1:]}
    assert recovery_digest("287082") is None
