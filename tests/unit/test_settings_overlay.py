"""The page's receivers over the file: the file wins, no secret comes from the page, nothing owed is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from hoichan.ports.receivers import Owed, ReceiverVersion
from hoichan.settings import Settings, load
from hoichan.settings.overlay import EntryWrong, destination_of, of_file, overlay, rule_of
from hoichan.settings.receivers import PRIVATE, is_among

TOKEN = "only-the-file-knows-this"
PACS = {"kind": "dicom", "name": "pacs2", "host": "10.1.2.3", "port": 104, "ae_title": "PACS2"}
EMR = {"kind": "fhir", "name": "emr2", "url": "https://emr.bv.example/fhir", "credentials": "emr"}
SHARE = {"kind": "dicom", "name": "share", "host": "10.1.2.9", "port": 104, "ae_title": "S", "send": []}
ALL = {"name": "all", "to": ["pacs2"]}
NAMELESS = {"name": "study", "to": ["share"], "deidentify": {}}


@pytest.fixture
def settings(tmp_path):
    return Settings.model_validate(
        {
            "storage": {"data_dir": tmp_path},
            "destinations": [{**PACS, "name": "pacs"}],
            "forward": [{"name": "first", "to": ["pacs"]}],
            "receivers": {"hosts": [*PRIVATE, "*.bv.example"], "folders": [tmp_path / "share"]},
            "credentials": {
                "emr": {
                    "hosts": ["emr.bv.example", "10.1.2.3"],
                    "auth": {"kind": "bearer", "token": TOKEN},
                    "tls": {"ca": "/etc/ca.pem"},
                },
                "pacs": {"hosts": ["10.1.2.0/24"], "tls": {"cert": "/etc/a.pem", "key": "/etc/a.key"}},
            },
        }
    )


def version(number, destinations=(), forward=()):
    at = datetime(2026, 11, 22, tzinfo=UTC)
    return ReceiverVersion(
        version=number,
        destinations=tuple(destinations),
        forward=tuple(forward),
        by="it.nam",
        at=at,
        reason="x",
        restores=None,
    )


def names(laid):
    return [one.name for one in laid.settings.effective_destinations]


def wrong(entry, settings):
    with pytest.raises(EntryWrong) as caught:
        destination_of(entry, settings)
    return caught.value.code


def test_entries_stand_beside_those_of_the_file(settings):
    laid = overlay(settings, [version(7, [PACS, EMR], [ALL])])
    assert names(laid) == ["pacs", "pacs2", "emr2"]
    assert [rule.name for rule in laid.settings.forward] == ["first", "all"]
    assert laid.version == 7 and laid.passed_over == ()
    assert laid.places["destinations", "pacs"] == "file" and laid.places["destinations", "emr2"] == "page"
    assert laid.places["forward", "first"] == "file" and laid.places["forward", "all"] == "page"
    assert overlay(settings, []) == of_file(settings)


def test_the_secret_comes_from_the_file(settings):
    made = destination_of(EMR, settings)
    assert made.auth.token.get_secret_value() == TOKEN and str(made.tls.ca) == "/etc/ca.pem"
    assert TOKEN not in json.dumps(EMR)
    pacs = destination_of({**PACS, "credentials": "pacs"}, settings)
    assert str(pacs.tls.key) == "/etc/a.key"
    assert destination_of({**PACS, "tls": {}}, settings).tls.ca is None


def test_a_secret_may_come_from_the_environment(tmp_path):
    file = tmp_path / "hoichan.toml"
    file.write_text('[credentials.emr]\nhosts = ["10.0.0.1"]\nauth = {kind = "bearer"}\n', encoding="utf-8")
    read = load(file, environment={"HOICHAN_CREDENTIALS__EMR__AUTH__TOKEN": TOKEN})
    assert read.credentials["emr"].auth.token.get_secret_value() == TOKEN


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({**EMR, "credentials": None, "auth": {"kind": "bearer", "token": "x"}}, "secret"),
        ({**PACS, "tls": {"key": "/etc/shadow"}}, "secret"),
        ({**EMR, "url": "https://a:b@emr.bv.example/fhir"}, "secret"),
        ({**EMR, "url": "https://emr.bv.example/fhir?key=1"}, "secret"),
        ({**EMR, "credentials": "none"}, "unknown_credentials"),
        ({**EMR, "url": "https://other.bv.example/fhir"}, "credentials_not_for_host"),
        ({**EMR, "url": "https://evil.example/fhir"}, "host_not_allowed"),
        ({**PACS, "host": "203.0.113.5"}, "host_not_allowed"),
        ({**PACS, "host": "0x0a010203"}, "host_not_allowed"),
        ({**PACS, "credentials": "emr"}, "credentials_not_taken"),
        ({**PACS, "port": 70000}, "malformed"),
        ({**PACS, "kind": "fax"}, "malformed"),
        ({**PACS, "name": "a b"}, "malformed"),
        ({**PACS, "colour": "red"}, "malformed"),
    ],
)
def test_what_the_page_may_not_say(settings, entry, code):
    assert wrong({key: value for key, value in entry.items() if value is not None}, settings) == code


def test_a_folder_lies_where_the_file_says(settings, tmp_path):
    folder = {"kind": "folder", "name": "f"}
    for path in (tmp_path / "outbox" / "x", tmp_path / "share"):
        assert destination_of({**folder, "path": str(path)}, settings).path == path
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "link").symlink_to("/etc")
    for path in (
        "/etc",
        "x",
        str(tmp_path / "share" / ".." / "models"),
        str(tmp_path / "share" / "link" / "x"),
    ):
        assert wrong({**folder, "path": path}, settings) == "folder_not_allowed"


def test_a_wrong_entry_takes_no_other_with_it(settings):
    entries = [{**PACS, "name": "pacs"}, {**PACS, "port": -1, "name": "bad"}, EMR, EMR]
    rules = [
        {"name": "first", "to": ["emr2"]},
        {"name": "lost", "to": ["bad"]},
        {"name": "fits", "to": ["pacs"]},
    ]
    laid = overlay(settings, [version(1, entries, rules)])
    assert names(laid) == ["pacs", "emr2"]
    assert [rule.name for rule in laid.settings.forward] == ["first", "fits"]
    assert [(one.part, one.name, one.code) for one in laid.passed_over] == [
        ("destinations", "pacs", "in_file"),
        ("destinations", "bad", "malformed"),
        ("destinations", "emr2", "same_name"),
        ("forward", "first", "in_file"),
        ("forward", "lost", "unknown_destination"),
    ]
    assert laid.settings.destinations[0].host == "10.1.2.3"  # the file's


def test_images_with_and_without_names_never_mix(settings):
    laid = overlay(settings, [version(1, [SHARE], [NAMELESS, {"name": "named", "to": ["share"]}])])
    assert [(one.name, one.code) for one in laid.passed_over] == [("named", "mixed")]
    laid = overlay(settings, [version(1, [PACS], [{**NAMELESS, "to": ["pacs2"]}])])  # results go there, too
    assert [(one.name, one.code) for one in laid.passed_over] == [("study", "mixed")]
    with pytest.raises(EntryWrong):
        rule_of({**NAMELESS, "deidentify": {"shift_times": True}})


def test_what_was_removed_and_is_owed_stays_until_it_has_arrived(settings):
    versions = [version(3, [EMR]), version(2, [{**PACS, "port": 11}, EMR], [ALL]), version(1, [PACS])]
    owed = Owed(destinations={"pacs2": 4, "emr2": 1, "gone": 1}, rules={"all": 3})
    laid = overlay(settings, versions, owed)
    assert names(laid) == ["pacs", "emr2", "pacs2"]
    kept = laid.settings.destinations[-1]
    assert (kept.port, kept.active, laid.places["destinations", "pacs2"]) == (11, False, "kept")
    assert (laid.settings.forward[-1].name, laid.settings.forward[-1].active) == ("all", False)
    assert laid.settings.destinations[1].active
    assert names(overlay(settings, versions, Owed())) == ["pacs", "emr2"]


def test_the_outbox_gets_what_it_is_owed_and_nothing_new(tmp_path, settings):
    bare = settings.model_copy(update={"destinations": (), "forward": ()})
    laid = overlay(bare, [version(1, [PACS])])
    assert [(one.name, one.active) for one in laid.settings.destinations] == [
        ("pacs2", True),
        ("outbox", False),
    ]
    assert laid.places["destinations", "outbox"] == "default"
    kept = overlay(bare, [version(2), version(1, [PACS])], Owed(destinations={"pacs2": 1}))
    assert [(one.name, one.active) for one in kept.settings.destinations] == [
        ("pacs2", False),
        ("outbox", True),
    ]
    assert wrong({**PACS, "name": "outbox"}, bare) == "in_file"


def test_a_site_may_keep_the_page_out(settings):
    closed = settings.model_copy(
        update={"receivers": settings.receivers.model_copy(update={"at_page": False})}
    )
    laid = overlay(closed, [version(2, [PACS])], Owed(destinations={"pacs2": 1}))
    assert (names(laid), laid.version) == (["pacs"], 2)


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("10.9.9.9", True),
        ("[::1]", True),
        ("LOCALHOST", True),
        ("pacs.bv.example.", True),
        ("bv.example", False),
        ("8.8.8.8", False),
        ("10.evil.example", False),
        ("", False),
    ],
)
def test_hosts(host, fits):
    assert is_among(host, [*PRIVATE, "*.BV.example"]) is fits
