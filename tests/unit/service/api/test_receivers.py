"""The page of receivers: versions, undo, what it may not say, and that no secret is on it."""

import re
import socket
from dataclasses import replace

import pytest
import sqlalchemy as sa

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.adapters.schema_receivers import receiver_versions
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.settings.overlay import overlay
from hoichan.testing.reading import DESTINATIONS, PASSWORD, add_user
from service.api.receiver_forms import KINDS, RULE, FieldOut, entry_of, fields_of
from service.receivers import in_force
from service.web.rendering import catalogue
from tests.unit.service.api.asking import an_app
from tests.unit.service.api.test_notices import Room

SECRET = "s3cret-of-the-emr-in-the-file"
PACS = {"kind": "dicom", "f.name": "pacs2", "f.host": "10.1.2.3", "f.port": "11112", "f.ae_title": "PACS2"}
EMR = {"kind": "fhir", "f.name": "emr2", "f.url": "https://10.1.2.4/fhir", "f.credentials": "emr"}
RULE_ALL = {
    "kind": "forward",
    "part": "forward",
    "f.name": "all",
    "f.to.pacs2": "yes",
    "f.modalities": "CR, DX",
}


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    told = {
        "storage": {"data_dir": made.record.settings.storage.data_dir, "reserve_bytes": 0},
        "credentials": {"emr": {"hosts": ["10.1.2.4"], "auth": {"kind": "bearer", "token": SECRET}}},
    }
    settings = Settings.model_validate(told).model_copy(update={"destinations": DESTINATIONS})
    made.record = replace(made.record, settings=settings)
    made.app = an_app(made.record)
    made.rows = ReceiversSql(made.record.engine, made.record.clock)
    add_user(made.record, "it.nam", Role.IT_ADMIN)
    yield made
    made.record.engine.dispose()


def post(client, path, fields, seen):
    told = {
        "csrf_token": client.headers["X-CSRF-Token"],
        "version": str(seen),
        "reason": "PACS mới",
        "password": PASSWORD,
        **fields,
    }
    return client.post(f"/receivers/{path}", data=told)


def names(room):
    return [one["name"] for one in room.rows.versions()[0].destinations]


def test_a_receiver_is_added_changed_switched_off_and_removed(room):
    with room.client("it.nam") as client:
        assert client.get("/receivers").status_code == 200
        assert post(client, "save", {**PACS, "f.send.sr": "yes"}, 0).status_code == 303
        (entry,) = room.rows.versions()[0].destinations
        assert entry == {
            "kind": "dicom",
            "name": "pacs2",
            "host": "10.1.2.3",
            "port": 11112,
            "ae_title": "PACS2",
            "send": ["sr"],
            # boxes that are not ticked say no, whatever stands in the file's defaults
        }
        assert post(client, "save", {**PACS, "change": "pacs2", "f.port": "104"}, 1).status_code == 303
        assert post(client, "pacs2/off", {}, 2).status_code == 303
        (entry,) = room.rows.versions()[0].destinations
        assert (entry["port"], entry["send"], entry["active"]) == (104, [], False)
        page = client.get("/receivers", params={"lang": "en", "kind": "dicom", "change": "pacs2"}).text
        assert "off: gets nothing new" in page and 'value="104"' in page and "10.1.2.3" in page
        assert post(client, "save", {**PACS, "change": "pacs2"}, 3).status_code == 303
        assert room.rows.versions()[0].destinations[0]["active"] is False  # a change switches nothing on
        assert post(client, "pacs2/on", {}, 4).status_code == 303
        assert post(client, "pacs2/remove", {}, 5).status_code == 303
        assert names(room) == []
    _, lines = room.record.audit.search(Wanted(what=Audited.SETTINGS_CHANGED), limit=9)
    assert lines[-1].record.detail == "receivers version 1: add pacs2"
    assert lines[0].record.detail == "receivers version 6: remove pacs2"
    assert {line.record.who for line in lines} == {"it.nam"}


def test_an_older_version_comes_back(room):
    with room.client("it.nam") as client:
        post(client, "save", PACS, 0)
        post(client, "save", EMR, 1)
        assert post(client, "versions/1/restore", {}, 2).status_code == 303
        assert names(room) == ["pacs2"]
        assert post(client, "versions/0/restore", {}, 3).status_code == 303
        assert names(room) == []
        assert [one.restores for one in room.rows.versions()] == [0, 1, None, None]
        assert post(client, "versions/9/restore", {}, 4).status_code == 409


def test_who_looked_at_an_older_version_changes_nothing(room):
    with room.client("it.nam") as client:
        assert post(client, "save", PACS, 0).status_code == 303
        late = post(client, "save", EMR, 0)
        assert late.status_code == 409 and "10.1.2.4" in late.text  # what was typed is not lost
        assert post(client, "pacs2/remove", {}, 0).status_code == 409
        assert post(client, "nobody/remove", {}, 1).status_code == 409
        assert post(client, "pacs2/explode", {}, 1).status_code == 409
        assert names(room) == ["pacs2"]


def test_a_rule_forwards_and_its_receiver_cannot_go_before_it(room):
    with room.client("it.nam") as client:
        post(client, "save", PACS, 0)
        assert post(client, "save", RULE_ALL, 1).status_code == 303
        assert room.rows.versions()[0].forward == (
            {"name": "all", "modalities": ["CR", "DX"], "to": ["pacs2"]},
        )
        refused = post(client, "pacs2/remove", {}, 2)
        assert refused.status_code == 422 and names(room) == ["pacs2"]
        other = post(client, "save", {**RULE_ALL, "change": "all", "f.deidentify": "yes"}, 2)
        assert other.status_code == 422  # images that wait would lose or keep their names against the word
        assert post(client, "all/remove", {"part": "forward"}, 2).status_code == 303
        assert post(client, "pacs2/remove", {}, 3).status_code == 303


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({**PACS, "f.name": "pacs"}, "in_file"),
        ({**PACS, "f.host": "203.0.113.9"}, "host_not_allowed"),
        ({**PACS, "f.port": "many"}, "malformed"),
        ({**PACS, "f.name": "x y"}, "malformed"),
        ({**PACS, "kind": "fax"}, "malformed"),
        ({**EMR, "f.url": "https://10.1.2.5/fhir"}, "credentials_not_for_host"),
        ({**EMR, "f.url": "https://a:b@10.1.2.4/fhir"}, "secret"),
        ({"kind": "folder", "f.name": "f", "f.path": "/etc"}, "folder_not_allowed"),
        (RULE_ALL, "unknown_destination"),
        ({**RULE_ALL, "f.name": "", "f.to.pacs": "yes"}, "malformed"),
    ],
)
def test_what_cannot_be_followed_is_not_kept(room, fields, code):
    with room.client("it.nam") as client:
        answer = post(client, "save", fields, 0)
        assert answer.status_code == 422
        said = catalogue("vi")[f"receivers.wrong.{code}"]
        assert said in answer.text
    assert list(room.rows.versions()) == []


def test_a_name_keeps_its_kind_for_ever(room):
    with room.client("it.nam") as client:
        post(client, "save", PACS, 0)
        post(client, "pacs2/remove", {}, 1)
        assert post(client, "save", {**EMR, "f.name": "pacs2"}, 2).status_code == 422
        assert post(client, "save", PACS, 2).status_code == 303


def test_no_secret_is_in_the_database_or_on_the_page(room):
    with room.client("it.nam") as client:
        assert post(client, "save", EMR, 0).status_code == 303
        page = client.get("/receivers", params={"kind": "fhir", "change": "emr2"})
        assert "emr" in page.text and SECRET not in page.text
        assert "127.0.0.1" not in page.text  # addresses of the file stay in the file
    with room.record.engine.connect() as connection:
        kept = connection.execute(sa.select(receiver_versions)).mappings().one()
        assert SECRET not in str(dict(kept)) and kept["destinations"][0]["credentials"] == "emr"
    settings = in_force(room.record.settings, room.record.engine, room.record.clock).settings
    assert settings.destinations[-1].auth.token.get_secret_value() == SECRET


def test_a_version_counts_at_once_and_the_page_says_who_is_behind(room):
    vitals = VitalsSql(room.record.engine)
    with room.client("it.nam") as client:
        assert "Every process runs with this version" in client.get("/receivers?lang=en").text
        post(client, "save", {**PACS, "f.send.sr": "yes"}, 0)
        assert [one.name for one in room.app.state.desk.settings.effective_destinations] == [
            *(one.name for one in DESTINATIONS),
            "pacs2",
        ]
        page = client.get("/receivers?lang=en").text
        assert "runs with version 1" in page and "not in force yet" not in page
        assert "Every process runs with this version" in page
        HeartbeatsSql(room.record.engine).beat("station")
        vitals.tell("station", {"receivers": 0, "receivers_refused": [1, "ConfigurationError"]})
        page = client.get("/receivers?lang=en").text
        assert "Not every process runs with this version yet" in page
        assert "could not put version 1 together" in page and "ConfigurationError" in page
        vitals.tell("station", {"receivers": 1, "receivers_left_out": {"pacs2": "configuration"}})
        page = client.get("/receivers?lang=en").text
        assert "Every process runs with this version" in page
        assert "works without pacs2" in page and "<code>configuration</code>" in page


def test_a_page_follows_what_another_page_wrote(room):
    entry = {"kind": "dicom", "name": "pacs2", "host": "10.1.2.3", "port": 104, "ae_title": "PACS2"}
    room.rows.write([entry], [], seen=0, who="it.nam", reason="x")
    with room.client("it.nam") as client:
        assert "not in force yet" in client.get("/receivers?lang=en").text
        assert room.app.state.in_force.look()
        assert "not in force yet" not in client.get("/receivers?lang=en").text


def test_a_session_alone_changes_nothing(room):
    with room.client("it.nam") as client:
        asked = post(client, "save", {**PACS, "password": ""}, 0)
        assert asked.status_code == 200 and 'type="password"' in asked.text
        assert "<code>PACS2 10.1.2.3 11112</code>" in asked.text  # where results will go
        kept = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', asked.text))
        assert (kept["f.host"], kept["version"], kept["reason"]) == ("10.1.2.3", "0", "PACS mới")
        assert room.rows.newest() == 0
        wrong = post(client, "save", {**PACS, "password": "not-the-password"}, 0)
        assert 'role="alert"' in wrong.text and "not-the-password" not in wrong.text
        assert room.rows.newest() == 0
        assert client.post("/receivers/save", data={**kept, "password": PASSWORD}).status_code == 303
        for path, fields in (
            ("pacs2/off", {}),
            ("pacs2/remove", {}),
            ("versions/0/restore", {}),
            ("save", {**PACS, "change": "pacs2"}),
        ):
            assert post(client, path, {**fields, "password": ""}, 1).status_code == 200
        assert room.rows.newest() == 1
    told = room.record.audit.lines(Wanted(what=Audited.SETTINGS_CHANGED))
    outcomes = [(one.record.detail, one.record.outcome) for one in told]
    assert ("receivers", Outcome.MINOR_FAILURE) in outcomes
    assert ("receivers version 1: add pacs2", Outcome.SUCCESS) in outcomes


def test_guessing_the_password_at_a_session_is_paused(room):
    with room.client("it.nam") as client:
        for _ in range(12):
            page = post(client, "save", {**PACS, "password": "guessed-once-more", "lang": "en"}, 0)
        assert "Nhập sai mật khẩu quá nhiều lần" in page.text
        assert room.rows.newest() == 0


def test_a_site_may_keep_receivers_in_the_file(room):
    settings = room.record.settings
    closed = settings.receivers.model_copy(update={"at_page": False})
    room.record = replace(room.record, settings=settings.model_copy(update={"receivers": closed}))
    room.app = an_app(room.record)
    with room.client("it.nam") as client:
        assert post(client, "save", PACS, 0).status_code == 409
    assert list(room.rows.versions()) == []


def test_a_receiver_is_knocked_at_before_and_after_it_is_kept(room):
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = str(door.getsockname()[1])
        ris = {"kind": "hl7v2", "f.name": "ris", "f.host": "127.0.0.1", "f.port": port}
        with room.client("it.nam") as client:
            tried = post(client, "save", {**ris, "do": "try"}, 0)
            assert tried.status_code == 200 and catalogue("vi")["receivers.tried.answers"] in tried.text
            assert list(room.rows.versions()) == [] and f'value="{port}"' in tried.text
            post(client, "save", ris, 0)
            assert catalogue("vi")["receivers.tried.answers"] in post(client, "ris/try", {}, 1).text
            door.close()
            assert catalogue("vi")["receivers.tried.silent"] in post(client, "ris/try", {}, 1).text
            assert post(client, "gone/try", {}, 1).status_code == 409


def test_what_is_passed_over_is_told_and_can_be_removed(room):
    room.rows.write(
        [{"kind": "dicom", "name": "pacs", "host": "10.0.0.1", "port": 1, "ae_title": "A"}],
        [],
        seen=0,
        who="it.nam",
        reason="before the file had it",
    )
    with room.client("it.nam") as client:
        page = client.get("/receivers").text
        assert catalogue("vi")["receivers.wrong.in_file"] in page
        assert post(client, "pacs/remove", {}, 1).status_code == 303
    assert names(room) == []


@pytest.mark.parametrize("language", ["vi", "en"])
def test_every_field_of_every_form_has_a_name(language):
    words = catalogue(language)
    for kind in (*KINDS, RULE):
        assert f"receivers.kind.{kind}" in words
        for one in fields_of(kind, {}, receivers=["a"], credentials=["b"]):
            assert f"receivers.key.{one.key.split('.')[-1]}" in words


def test_a_key_that_has_no_name_yet_stands_as_it_is():
    assert FieldOut(key="new_in_the_file", sort="text").word == ""


@pytest.mark.parametrize("kind", [*KINDS, RULE])
def test_a_form_that_is_sent_as_it_is_changes_nothing(kind):
    """What stands at its default stays open, for a profile to fill in."""
    fields = {}
    for one in fields_of(kind, {}, receivers=[], credentials=[]):
        if one.sort in ("choices", "flag"):
            fields |= {f"f.{one.key}.{each}": "yes" for each in one.chosen if one.sort == "choices"}
            fields |= {f"f.{one.key}": "yes"} if one.sort == "flag" and one.chosen else {}
        else:
            fields[f"f.{one.key}"] = one.value
    assert entry_of(kind, fields) == ({"to": []} if kind == RULE else {"kind": kind})


def test_the_page_of_a_form_holds_its_fields(room):
    with room.client("it.nam") as client:
        for kind in (*KINDS, RULE):
            text = client.get("/receivers", params={"kind": kind}).text
            asked = set(re.findall(r'name="f\.([a-z_]+)', text))
            assert {
                one.key.split(".")[0] for one in fields_of(kind, {}, receivers=["a"], credentials=[])
            } == asked


def test_versions_are_told_by_the_overlay_that_runs(room):
    with room.client("it.nam") as client:
        post(client, "save", PACS, 0)
    laid = overlay(room.record.settings, room.rows.versions(), room.rows.owed())
    assert [one.name for one in laid.settings.effective_destinations] == ["pacs", "emr", "pacs2"]
