"""The usual faults by name, each with a sentence and what to do, in both languages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hoichan.adapters.reasons import NO_DOCUMENT
from service.causes import NAMES, cause_of, is_ahead, is_stalled
from service.web.rendering import LANGUAGES, catalogue
from service.web.words import Words

NOW = datetime(2026, 11, 20, 1, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("connection_refused", "connection_refused"),
        ("dns", "dns"),
        ("timeout", "timeout"),
        ("no answer in time", "timeout"),
        ("certificate", "certificate"),
        ("the certificates of tls cannot be used", "certificate"),
        ("association rejected (source 1, reason 3)", "calling_ae"),
        ("association rejected (source 1, reason 7)", "called_ae"),
        ("association rejected (source 3, reason 2)", "association_rejected"),
        ("no presentation context accepted", "context"),
        ("SOP class 1.2.840.10008.5.1.4.1.1.88.34 not accepted", "context"),
        ("0xA700", "out_of_resources"),
        ("0xA900", "object_refused"),
        ("0xC000", "object_refused"),
        ("HTTP 401", "http_auth"),
        ("HTTP 403 (forbidden)", "http_auth"),
        ("HTTP 404", "http_address"),
        ("HTTP 422 (business-rule)", "http_content"),
        ("HTTP 409", "http_conflict"),
        ("HTTP 503", "http_busy"),
        ("HTTP 500", "http_error"),
        ("HTTP 308", "http_redirect"),
        ("AE (206)", "hl7_content"),
        ("AR", "hl7_later"),
        ("the study has no patient identifier", "no_patient"),
        ("destination_not_configured", "not_configured"),
        ("receiver_awaited", "awaited"),
        ("gave_way", "gave_way"),
        ("kills_worker", "kills_worker"),
        ("unexpected.TimeoutError", "unexpected"),
        (NO_DOCUMENT, "no_document"),
        ("disk_full", "disk_full"),
        ("no association", "no_association"),
        ("0x0000", None),
        ("", None),
        (None, None),
    ],
)
def test_an_answer_has_the_name_of_its_fault(answer, name):
    assert cause_of(answer) == name


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_each_fault_is_said_and_can_be_mended(language, name):
    words = Words(language, catalogue(language), ZoneInfo("UTC"))
    assert words.cause(name).endswith(".")
    assert words.remedy(name).endswith(".")


def test_a_study_that_comes_before_it_was_made_tells_of_a_wrong_clock():
    assert is_ahead(NOW + timedelta(minutes=6), NOW)
    assert not is_ahead(NOW + timedelta(minutes=4), NOW)
    assert not is_ahead(None, NOW)


@pytest.mark.parametrize(
    ("pauses", "stalled"),
    [
        ([41] * 12, True),
        ([204] * 12, True),
        ([41] * 9, False),
        ([8] * 12, False),
        ([41, 8] * 8, False),
        ([41, 41, 4000] * 5, True),  # five associations
        ([41, 4000] * 5, False),
        ([100] * 12, False),
    ],
)
def test_the_steps_of_a_delayed_acknowledgement_are_seen(pauses, stalled):
    times = [NOW]
    for pause in pauses:
        times.append(times[-1] + timedelta(milliseconds=pause))
    assert is_stalled(times) is stalled
