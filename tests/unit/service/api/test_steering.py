"""The queue and its verbs over the API and the page."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest

from hoichan.adapters.forwards_sql import CLOSED, ForwardsSql, Revision
from hoichan.adapters.set_aside_sql import WHOLE, SetAsideSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.errors import KilledItsRecorders
from hoichan.guard.audit import Audited
from hoichan.intake.pressure import PLACE
from hoichan.reporting.forwarding import Errand, ForwardState, Told
from hoichan.testing.reading import PEOPLE
from tests.unit.service.api.test_app import PAGE, SAME, House, filled  # noqa: F401  a fixture


@pytest.fixture
def house(filled, tmp_path):  # noqa: F811  the fixture of that name
    folder, uids = filled
    shutil.copytree(folder, tmp_path / "data")
    house = House(tmp_path / "data", uids)
    house.work = WorkSql(house.record.engine, house.record.clock)
    yield house
    house.client.close()
    house.record.engine.dispose()


def post(house, path, **headers):
    return house.client.post(path, headers={**SAME, **house.token(), **headers}, follow_redirects=False)


def audited(house):
    _, lines = house.record.audit.search(_everything(), limit=50)
    return [line.record.what for line in lines]


def _everything():
    from hoichan.adapters.audit_sql import Wanted

    return Wanted()


def test_the_queue_counts_what_waits_by_sender_model_and_receiver(house):
    house.work.enlist(house.uids["assembled"], 1, models=["cxr-demo"])
    found = house.client.get("/api/v1/queue").json()
    assert (found["waiting"], found["in_work"], found["dead"]) == (1, 0, 1)
    assert [(one["name"], one["waiting"]) for one in found["by_sender"]] == [("CR_ROOM1", 1)]
    assert [(one["name"], one["waiting"]) for one in found["by_model"]] == [("cxr-demo", 1)]
    assert [one["name"] for one in found["by_urgency"]] == ["routine"]
    assert {one["name"]: one["dead"] for one in found["by_receiver"]} == {"emr": 1, "pacs": 0}
    (letter,) = found["dead_letters"]
    assert (letter["cause"], letter["destination"]) == ("http_content", "emr")


def test_what_the_engine_has_is_in_work(house):
    house.work.enlist(house.uids["assembled"], 1, models=["cxr-demo"])
    house.work.dispatched(house.work.waiting(each=9, backlog=True))
    found = house.client.get("/api/v1/queue").json()
    assert (found["waiting"], found["in_work"]) == (0, 1)


@pytest.mark.parametrize("language", ["vi", "en"])
def test_the_page_names_causes_and_nobody(house, language):
    house.work.suspect("emr", "dns")
    house.work.silent("emr", "dns", house.record.clock.now())
    text = house.client.get(f"/queue?lang={language}", headers=PAGE).text
    assert ("Không tìm thấy tên máy này." if language == "vi" else "The host name is not known.") in text
    assert house.dead_key() in text.replace("%3A", ":")
    assert not any(name in text for person in PEOPLE for name in (person[0], person[3]))


def test_the_page_says_when_the_doors_are_shut(house):
    note = house.record.spool_root / PLACE
    note.parent.mkdir(parents=True)
    until = house.record.clock.now() + timedelta(seconds=30)
    note.write_text(json.dumps({"reason": "queue", "until": until.isoformat()}))
    assert "0xA700" in house.client.get("/queue", headers=PAGE).text
    house.record.clock.advance(31)
    assert "0xA700" not in house.client.get("/queue", headers=PAGE).text


def test_every_dead_letter_of_a_receiver_is_sent_again_and_recorded(house):
    assert post(house, "/api/v1/receivers/emr/replay").json() == {"deliveries": 1}
    assert house.client.get("/api/v1/queue").json()["dead"] == 0
    assert Audited.SENDING in audited(house)
    assert post(house, "/api/v1/receivers/emr/replay").json() == {"deliveries": 0}


def test_a_dead_letter_sent_again_from_the_queue_leads_back_to_it(house):
    answer = post(house, f"/api/v1/deliveries/{house.dead_key()}/replay?to=queue", **PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue")


def test_work_is_stopped_recorded_and_taken_up_again(house):
    uid = house.uids["assembled"]
    assert post(house, f"{house.api('assembled')}/cancel").json() == {"revisions": [1], "deliveries": 0}
    assert house.client.get(house.api("assembled")).json()["state"] == "cancelled"
    assert Audited.WORK_CANCELLED in audited(house)
    answer = post(house, f"{house.api('assembled')}/replay", **PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{uid}/trail")
    assert house.client.get(house.api("assembled")).json()["state"] == "assembled"


def test_a_repetition_of_what_has_an_answer_must_be_asked_for(house):
    assert post(house, f"{house.api('nothing')}/replay").json()["analysed_again"] is None
    again = post(house, f"{house.api('nothing')}/replay?failed_only=false")
    assert again.json()["analysed_again"] == 1


@pytest.mark.parametrize("verb", ["cancel", "replay"])
def test_a_form_without_the_token_of_its_reader_does_nothing(house, verb):
    answer = house.client.post(f"{house.api('assembled')}/{verb}", headers=SAME)
    assert answer.status_code == 403
    assert house.client.get(house.api("assembled")).json()["state"] == "assembled"


def test_an_unknown_study_is_said_so(house):
    assert post(house, "/api/v1/studies/1.2.3/cancel").status_code == 404


def test_the_trail_says_where_a_study_is(house):
    text = house.client.get(f"{house.study('urgent')}/trail?lang=en", headers=PAGE).text
    assert "Where it stands" in text
    assert "The EMR does not accept the content." in text


def test_what_was_set_aside_stands_on_the_queue_and_is_looked_at_again(house):
    """Of this study nothing was ever recorded: its only image killed who read it."""
    uid, image = "1.2.840.99.7", "1.2.840.99.7.1"
    aside = SetAsideSql(house.record.engine, house.record.clock, lambda: "this spool")
    aside.add(uid, image, code=KilledItsRecorders.code)
    aside.add(house.uids["nothing"], "1.2.840.99.8", code=KilledItsRecorders.code)
    found = house.client.get("/api/v1/queue").json()
    assert found["halted"] == 3
    assert {(one["study_instance_uid"], one["code"], one["images"]) for one in found["halted_studies"]} == {
        (uid, "work.killed_its_recorders", 1),
        (house.uids["nothing"], "work.killed_its_recorders", 1),
        (house.uids["failed"], "model.runner_failed", 0),
    }
    assert house.client.get(f"/api/v1/studies/{uid}/trail").json()["items"][0]["event"] == "object_set_aside"
    queue = house.client.get("/queue?lang=en", headers=PAGE).text
    assert "recording it ended the program each time" in queue
    assert f'action="/api/v1/studies/{uid}/replay"' in queue
    page = house.client.get(f"/studies/{uid}/trail?lang=en", headers=PAGE).text
    assert image in page
    assert f'action="/api/v1/studies/{uid}/replay"' in page
    assert f'href="/studies/{uid}"' not in page  # there is no such page
    answer = post(house, f"/api/v1/studies/{uid}/replay")
    assert answer.json() == {"analysed_again": None, "deliveries": 0, "released": 1}
    assert Audited.SENDING in audited(house)
    assert aside.released() == [uid]
    assert house.client.get("/api/v1/queue").json()["halted"] == 2
    again = house.client.get(f"/studies/{uid}/trail?lang=en", headers=PAGE).text
    assert "asked for another look" in again
    assert "/replay" not in again


def test_an_image_set_aside_of_a_recorded_study_is_named_at_its_trail(house):
    aside = SetAsideSql(house.record.engine, house.record.clock)
    aside.add(house.uids["nothing"], "1.2.840.99.8", code=KilledItsRecorders.code)
    page = house.client.get(f"{house.study('nothing')}/trail?lang=vi", headers=PAGE).text
    assert "Để riêng: 1.2.840.99.8" in page
    assert f'action="{house.api("nothing")}/replay"' in page


def test_a_study_set_aside_as_a_whole_is_counted_once(house):
    uid = house.uids["receiving"]
    SetAsideSql(house.record.engine, house.record.clock).add(uid, WHOLE, code=KilledItsRecorders.code)
    found = house.client.get("/api/v1/queue").json()
    assert found["halted"] == 2
    first = found["halted_studies"][0]
    assert (first["study_instance_uid"], first["images"]) == (uid, 0)


def test_forwarded_images_that_were_refused_are_shown_and_sent_again(house):
    uid = house.uids["assembled"]
    forwards = ForwardsSql(house.record.engine, house.record.clock)
    for number, state in enumerate((ForwardState.DEAD, ForwardState.HELD)):
        errand = Errand(
            rule="archive",
            destination="hub",
            study_instance_uid=uid,
            sop_instance_uid=f"1.2.{number}",
            sop_class_uid="1.2",
            transfer_syntax_uid="1.2",
            path="studies/1.dcm",
        )
        forwards.plan("archive", Revision(study=uid, revision=number, answer=None), CLOSED, [errand])
        forwards.settle([Told(errand=errand, state=state, detail="0xA900")], {})
    found = house.client.get("/api/v1/queue").json()["forwards"]
    assert [(one["state"], one["instances"], one["destination"]) for one in found] == [
        ("dead", 1, "hub"),
        ("held", 1, "hub"),
    ]
    page = house.client.get("/queue?lang=en", headers=PAGE).text
    assert "1 images refused" in page
    assert "hoichan forward release" in page
    answer = post(house, f"/api/v1/studies/{uid}/forwards/retry")
    assert answer.json() == {"instances": 1}
    assert [one["state"] for one in house.client.get("/api/v1/queue").json()["forwards"]] == ["held"]
    assert Audited.SENDING in audited(house)
