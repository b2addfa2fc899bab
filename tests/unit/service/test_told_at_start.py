"""What the page records by itself: starts, changed settings without a value of theirs, sessions that end."""

from __future__ import annotations

import re

import pytest

from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.testing.reading import a_record, add_user
from service.told_at_start import SEEN, end_sessions, tell_start

OIDC = {
    "issuer": "https://sso.hospital.vn",
    "client_id": "hoichan",
    "client_secret": "bí mật thứ nhất",
    "public_url": "https://read.hospital.vn",
    "roles": {"bac-si": "radiologist"},
}


@pytest.fixture
def record(tmp_path):
    made = a_record(tmp_path)
    yield made
    made.engine.dispose()


def start(record, **sections):
    content = {"storage": {"data_dir": record.settings.storage.data_dir}, **sections}
    tell_start(Settings.model_validate(content), record.audit, record.clock)


def told(record, what):
    _, lines = record.audit.search(Wanted(what=what), limit=50)
    return [line.record for line in reversed(lines)]


def test_a_start_is_recorded_with_a_digest_of_the_settings(record):
    start(record)
    start(record)
    first, second = told(record, Audited.STARTED)
    assert first.detail == second.detail and first.detail.startswith("web ")
    assert (first.who, first.role) == ("system", "system")
    assert told(record, Audited.SETTINGS_CHANGED) == []


def test_the_sections_that_changed_are_named_and_nothing_of_them(record):
    start(record, web={"port": 8080}, oidc=OIDC)
    start(record, web={"port": 9090}, oidc={**OIDC, "client_secret": "bí mật thứ hai"})
    (changed,) = told(record, Audited.SETTINGS_CHANGED)
    assert changed.detail.endswith(": oidc, web")
    start(record, web={"port": 9090}, oidc={**OIDC, "client_secret": "bí mật thứ hai"})
    assert len(told(record, Audited.SETTINGS_CHANGED)) == 1
    kept = (record.settings.storage.data_dir / SEEN).read_text()
    for text in (kept, *(one.detail for one in told(record, Audited.STARTED)), changed.detail):
        assert "mật" not in text and "hospital" not in text
        assert re.search(r"\b9090\b", text) is None


def test_a_lost_memory_is_no_change(record):
    start(record)
    (record.settings.storage.data_dir / SEEN).write_text("nothing of ours")
    start(record, web={"port": 9090})
    assert told(record, Audited.SETTINGS_CHANGED) == []


def test_sessions_that_end_by_themselves_are_recorded(record):
    add_user(record, "bs.an", Role.RADIOLOGIST)
    web = record.settings.web
    record.people.begin_session("bs.an")
    assert end_sessions(web, record.people, record.audit, record.clock) == 0
    record.clock.advance(web.session_idle_seconds)
    assert end_sessions(web, record.people, record.audit, record.clock) == 1
    assert end_sessions(web, record.people, record.audit, record.clock) == 0
    (ended,) = told(record, Audited.LOGOUT)
    assert (ended.who, ended.role, ended.detail) == ("bs.an", "radiologist", "session ended: unused")
