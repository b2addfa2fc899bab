"""The trail in the terminal says what the page says."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from hoichan.errors import ConfigurationError
from hoichan.ports import TrailEntry
from service.explain import study_uid, trail

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
AT = datetime(2026, 11, 20, 1, 15, tzinfo=UTC)


def test_a_line_has_site_time_who_and_what():
    details = {"destination": "pacs", "attempt": 1, "acknowledgement": "0x0000"}
    entry = TrailEntry(at=AT, event="delivery_acknowledged", details=details)
    (line,) = trail([entry], "en", ZONE)
    assert line.startswith("2026-11-20 08:15:00  pacs")
    assert "0x0000" in line


@pytest.mark.parametrize("language", ["vi", "en"])
def test_an_event_without_a_sentence_is_named(language):
    (line,) = trail([TrailEntry(at=AT, event="from_another_version", details={})], language, ZONE)
    assert "from_another_version" in line


@pytest.mark.parametrize("text", ["", "../etc", "1.2.x", "1" * 65])
def test_what_cannot_be_a_uid_is_told(text):
    with pytest.raises(ConfigurationError, match="digits and dots"):
        study_uid(text)
