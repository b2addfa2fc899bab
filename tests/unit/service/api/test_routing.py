"""The routing page and its API: versions, undo, the trial of a study, for IT alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.routing_sql import RoutingSql
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.reporting.routing import Rule
from hoichan.settings import DicomwebDestination
from hoichan.testing.reading import DESTINATIONS, add_user
from hoichan.testing.shelf import write_version
from tests.unit.service.api.asking import an_app
from tests.unit.service.api.test_notices import Room

SECRET = "s3cret-of-the-archive"
PLAIN = Path(__file__).parents[4] / "tests" / "golden" / "models" / "plain.onnx"
CHEST = {"name": "chest", "modalities": ["cr", "dx"], "destinations": ["emr"]}


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    archive = DicomwebDestination(
        name="archive",
        kind="dicomweb",
        url="https://pacs.example/dicom-web",
        auth={"kind": "bearer", "token": SECRET},
    )
    settings = made.record.settings.model_copy(update={"destinations": (*DESTINATIONS, archive)})
    made.record = replace(made.record, settings=settings)
    made.package = write_version(settings.storage.data_dir / "models", PLAIN, intercept=0.0)
    made.app = an_app(made.record)
    add_user(made.record, "it.nam", Role.IT_ADMIN)
    yield made
    made.record.engine.dispose()


def rules_of(client):
    return client.get("/api/v1/routing").json()


def test_rules_are_versions_and_come_back(room):
    with room.client("it.nam") as client:
        assert rules_of(client)["version"] == 0
        written = client.put("/api/v1/routing", json={"version": 0, "rules": [CHEST], "reason": "first"})
        assert written.status_code == 200 and written.json()["version"] == 1
        assert written.json()["rules"][0]["modalities"] == ["CR", "DX"]
        late = client.put("/api/v1/routing", json={"version": 0, "rules": [], "reason": "late"})
        assert (late.status_code, late.json()["code"]) == (409, "routing.changed")
        assert (
            client.put("/api/v1/routing", json={"version": 1, "rules": [], "reason": "none"}).status_code
            == 200
        )
        back = client.post("/api/v1/routing/1/restore").json()
        assert (back["version"], back["rules"][0]["name"]) == (3, "chest")
        assert [(one["version"], one["restores"]) for one in back["versions"]] == [
            (3, 1),
            (2, None),
            (1, None),
        ]
        assert client.post("/api/v1/routing/9/restore").status_code == 409
        assert client.post("/api/v1/routing/0/restore").json()["rules"] == []
    _, lines = room.record.audit.search(Wanted(what=Audited.SETTINGS_CHANGED), limit=9)
    assert [line.record.detail for line in lines][-1] == "routing version 1, 1 rules"
    assert {line.record.who for line in lines} == {"it.nam"}


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"name": "a", "destinations": ["nobody"]}, "routing.unknown_destination"),
        ({"name": "a", "models": ["nothing"]}, "routing.unknown_model"),
        ({"name": "a b"}, "request.malformed"),
    ],
)
def test_what_cannot_be_followed_is_not_kept(room, rule, code):
    with room.client("it.nam") as client:
        answer = client.put("/api/v1/routing", json={"version": 0, "rules": [rule], "reason": "x"})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert rules_of(client)["version"] == 0


def test_the_trial_says_what_would_happen_and_why(room):
    uid, sender = room.uid, room.study.calling_ae_title
    with room.client("it.nam") as client:
        free = client.get(f"/api/v1/routing/try?study={uid}").json()
        assert free["rules"] == [] and {one["why"] for one in free["destinations"]} == {"all"}
        rules = [
            {"name": "hand", "body_parts": ["HAND"]},
            {**CHEST, "models": []},
            {"name": "last", "senders": [sender]},
        ]
        assert (
            client.put("/api/v1/routing", json={"version": 0, "rules": rules, "reason": "x"}).status_code
            == 200
        )
        tried = client.get(f"/api/v1/routing/try?study={uid}").json()
        assert [(one["decides"], one["misfits"]) for one in tried["rules"]] == [
            (False, ["body_parts"]),
            (True, []),
            (False, []),
        ]
        assert {one["why"] for one in tried["models"]} == {"rule"} and not any(
            one["asked"] for one in tried["models"]
        )
        why = {one["name"]: (one["why"], bool(one["gets"])) for one in tried["destinations"]}
        # pacs and emr had the first report of this study already
        assert why == {"pacs": ("had", True), "emr": ("rule", True), "archive": ("left_out", False)}
        assert client.get("/api/v1/routing/try?study=1.2.3").status_code == 404
        page = client.get("/routing", params={"study": uid, "lang": "en"}).text
        assert "this rule decides" in page and "the rule leaves it out" in page
        assert "Nguyễn" not in page and "BN-2026" not in page  # IT sees no patient here


def test_the_page_shows_no_address_and_no_secret(room):
    with room.client("it.nam") as client:
        for answer in (client.get("/routing"), client.get("/api/v1/routing")):
            assert "archive" in answer.text
            assert SECRET not in answer.text and "pacs.example" not in answer.text


def test_the_forms_add_move_and_remove(room):
    with room.client("it.nam") as client:

        def post(path, **fields):
            version = rules_of(client)["version"]
            data = {"csrf_token": client.headers["X-CSRF-Token"], "version": version, **fields}
            return client.post(path, data=data)

        one = {
            "name": "one",
            "senders": "CR_*, XQ?",
            "models": "all",
            "to.pacs": "yes",
            "to.emr": "yes",
            "reason": "a",
        }
        assert post("/routing/rules", **one).status_code == 303
        assert (
            post("/routing/rules", name="two", models="all", destinations="all", reason="b").status_code
            == 303
        )
        assert post("/routing/rules/two/up").status_code == 303
        rules = rules_of(client)["rules"]
        assert [rule["name"] for rule in rules] == ["two", "one"]
        assert rules[1]["senders"] == ["CR_*", "XQ?"] and rules[1]["destinations"] == ["pacs", "emr"]
        assert rules[1]["models"] is None
        assert post("/routing/rules", name="x y", reason="c").status_code == 422
        assert post("/routing/rules/two/remove").status_code == 303
        assert post("/routing/rules/two/remove").status_code == 409
        assert post("/routing/2/restore").status_code == 303
        assert [rule["name"] for rule in rules_of(client)["rules"]] == ["one", "two"]


@pytest.mark.parametrize("name", ["bs.chau", "ktv.an", "kiem.toan", "bs.binh"])
def test_nobody_else_sees_or_changes_rules(room, name):
    with room.client(name) as client:
        assert client.get("/routing").status_code == 403
        assert (
            client.put("/api/v1/routing", json={"version": 0, "rules": [], "reason": "x"}).status_code == 403
        )
        assert client.get(f"/api/v1/routing/try?study={room.uid}").status_code == 403
        assert 'href="/routing"' not in client.get("/account").text


def test_a_rule_that_decided_stands_on_the_trail_once(room):
    rows = RoutingSql(room.record.engine, room.record.clock)
    assert rows.route(room.study, tell=True).rule is None
    assert rows.write([Rule(name="all")], seen=0, who="it.nam", reason="x") == 1
    assert rows.write([], seen=0, who="it.binh", reason="y") is None
    for _ in range(2):
        assert rows.route(room.study, tell=True).rule is not None
    told = [line.details for line in room.record.reading.trail(room.uid) if line.event == "routed"]
    assert told == [{"rule": "all", "version": 1, "revision": room.study.revision}]
    assert "all" in json.dumps(told)


def test_a_signed_report_goes_where_the_rules_say_and_where_the_machines_went(room):
    rows = RoutingSql(room.record.engine, room.record.clock)
    rows.write([Rule(name="nobody", destinations=())], seen=0, who="it.nam", reason="x")
    room.sign()
    sent = {one.destination for one in room.record.reading.study(room.uid).deliveries}
    assert sent == {"pacs", "emr"}  # had the machine's report; archive never did
