"""What can be chosen above the list, and what else studies are found by, asked from outside."""

from __future__ import annotations

import pytest

from hoichan.testing.reading import arrive, assemble, report
from tests.unit.service.api.test_notices import Room

SECTIONS = {"description": "", "conclusion": "Theo dõi.", "recommendation": "", "comparison": ""}
DRAFT = {"sections": SECTIONS, "seconds_spent": 10, "version": 0}


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    other = assemble(made.record, arrive(made.record, "quiet", sender="DX_ROOM2"))
    report(made.record, other, {"pneumothorax": 0.01})
    made.quiet = other.study_instance_uid
    yield made
    made.record.engine.dispose()


def shown(client, choice):
    found = client.get("/api/v1/studies", params={"show": choice}).json()
    uids = [one["study_instance_uid"] for one in found["items"]]
    assert found["total"] == found["by_choice"][choice] == len(uids)
    return uids


def judgements(client, base, verdict):
    found = client.get(f"{base}/reading").json()
    reason = {"reason": "artefact"} if verdict == "rejected" else {}
    return [
        {"finding_id": one["id"], "key": one["key"], "verdict": verdict, **reason}
        for one in found["findings"]
        if one["presence"] == "present"
    ]


def test_a_study_goes_from_unread_to_a_draft_of_its_author_to_signed(room):
    base = f"/api/v1/studies/{room.uid}"
    with room.client("bs.chau") as client, room.client("bs.binh") as other:
        assert shown(client, "unread") == [room.uid, room.quiet]
        assert shown(client, "mine") == [] and shown(client, "critical") == [room.uid]
        codes = [one["key"] for one in client.get(f"{base}/reading").json()["rejection_reasons"]]
        judged = [
            {**one, "reason": codes[0]} if one["verdict"] == "rejected" else one
            for one in judgements(client, base, "rejected")
        ]
        assert client.put(f"{base}/draft", json={**DRAFT, "judgements": judged}).status_code == 200
        assert shown(client, "unread") == [room.quiet]
        assert shown(client, "mine") == [room.uid] and shown(other, "mine") == []
        (number,) = [one["number"] for one in client.get("/api/v1/notices").json()["items"]]
        assert client.post(f"/api/v1/notices/{number}/acknowledge").status_code == 204
        assert shown(client, "critical") == []
        assert shown(client, "rejected") == []
        signed = client.post(
            f"{base}/sign",
            json={"version": 1, "password": room.password, "may_train": False, "kind": "final", "reason": ""},
        )
        assert signed.status_code == 200, signed.text
        assert shown(client, "mine") == [] and shown(client, "rejected") == [room.uid]
        assert shown(client, "unread") == [room.quiet]  # without a finding, and still there


def test_the_page_offers_every_choice_in_both_languages(room):
    with room.client("bs.chau") as client:
        for language, word in (("vi", "Nháp của tôi"), ("en", "My drafts")):
            text = client.get("/", params={"show": "unread", "lang": language}).text
            assert word in text and 'href="/?show=critical"' in text
            assert 'href="/?show=unread" aria-current="true"' in text
            assert "show=unread" in text.split("data-poll=")[1].split('"')[1]
        assert client.get("/", params={"show": "other"}).status_code == 422


@pytest.mark.parametrize(
    ("text", "by", "found"),
    [
        ("tran khi", "finding", "one"),
        ("Tràn khí màng phổi", "finding", "one"),
        ("pneumothorax", "finding", "one"),
        ("dx_room2", "sender", "quiet"),
        ("DX_ROOM2", "sender", "quiet"),
    ],
)
def test_studies_are_found_by_more_than_names(room, text, by, found):
    with room.client("bs.chau") as client:
        answer = client.post("/api/v1/studies/search", json={"text": text}).json()
        wanted = {"one": room.uid, "quiet": room.quiet}[found]
        assert (answer["by"], [one["study_instance_uid"] for one in answer["items"]]) == (by, [wanted])


def test_a_day_and_a_state_find_theirs(room):
    today = room.record.clock.now().astimezone(room.record.settings.site.zone)
    with room.client("bs.chau") as client:
        for text in (f"{today:%d/%m/%Y}", f"{today:%Y-%m-%d}", f"{today.day}/{today.month}"):
            answer = client.post("/api/v1/studies/search", json={"text": text, "by": "day"}).json()
            assert {one["study_instance_uid"] for one in answer["items"]} >= {room.uid, room.quiet}
        for text, count in (("da co ket qua", None), ("31/02/2026", 0)):
            found = client.post("/api/v1/studies/search", json={"text": text}).json()["items"]
            assert count is None or len(found) == count


def test_the_page_says_what_the_words_were_taken_for(room):
    with room.client("bs.chau") as client:
        token = {"csrf_token": client.headers["X-CSRF-Token"]}
        text = client.post("/search", data={"text": "tran khi", **token}).text
        assert "Theo dấu hiệu AI gợi ý" in text and "Tìm theo máy gửi" in text
        assert room.uid in text and room.quiet not in text
