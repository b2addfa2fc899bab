"""The wizard "what does your PACS show?" at the page: it sends, asks, writes the profile, takes back."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from hoichan import er7
from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.roles import Role
from hoichan.settings import FolderDestination, Hl7Destination
from hoichan.testing.mllp import Receiver, answering, taking
from hoichan.testing.reading import add_user
from hoichan.testing.shelf import write_version
from tests.unit.service.api.asking import an_app
from tests.unit.service.api.test_notices import Room

PLAIN = Path(__file__).parents[4] / "tests" / "golden" / "models" / "plain.onnx"


@pytest.fixture
def ris():
    with Receiver(answering(taking)) as made:
        yield made


@pytest.fixture
def room(tmp_path, ris):
    made = Room(tmp_path)
    receiver = Hl7Destination(name="ris", kind="hl7v2", host="127.0.0.1", port=ris.port)
    share = FolderDestination(name="share", kind="folder", path=tmp_path / "share")
    settings = made.record.settings.model_copy(update={"destinations": (receiver, share)})
    made.record = replace(made.record, settings=settings)
    write_version(settings.storage.data_dir / "models", PLAIN, intercept=0.0)
    made.app = an_app(made.record)
    add_user(made.record, "it.nam", Role.IT_ADMIN)
    yield made
    made.record.engine.dispose()


def hidden(page):
    """The fields that the page carries from one step to the next."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def test_a_test_is_sent_looked_at_and_taken_back(room, ris):
    with room.client("it.nam") as client:
        first = client.get("/trial")
        assert 'action="/trial/ris"' in first.text and "/trial/share" not in first.text
        run = client.post("/trial/ris", data={"patient_id": "THU-1"})
        assert run.status_code == 200
        assert run.text.count('type="checkbox" name="shown.') == 4
        fields = hidden(run.text)
        assert (fields["stored"], fields["patient_id"]) == ("r,p,ascii,pdf", "THU-1")
        answers = {"at": fields["at"], "patient_id": "THU-1", "stored": fields["stored"], "shown.p": "yes"}
        done = client.post("/trial/ris/answers", data=answers)
        assert done.status_code == 200
        assert done.text.count("đã rút lại") == 4
        again = client.get("/trial")
    place = room.record.settings.storage.data_dir / "profiles" / "ris.toml"
    profile = tomllib.loads(place.read_text(encoding="utf-8"))
    assert profile == {"unread_status": "P", "charset": "utf-8", "pdf_maximum_bytes": 0}
    assert "unread_status = &#34;P&#34;" in again.text
    messages = [er7.read(frame[1:-2]) for frame in ris.frames]
    assert [one.first("OBR").text(25) for one in messages] == ["R", "P", "R", "R", "X", "X", "X", "X"]
    for sent, back in zip(messages[:4], messages[4:], strict=True):  # of the same report, made anew
        assert sent.first("OBR").text(3) == back.first("OBR").text(3)
        assert sent.control_id != back.control_id
    details = [line.record.detail for line in room.record.audit.search(Wanted(), limit=50)[1]]
    assert {"test study to ris", "profile of ris"} <= set(details)


def test_only_it_sends_tests(room, ris):
    for name in ("bs.chau", "bs.binh", "ktv.an"):
        with room.client(name) as client:
            assert client.get("/trial").status_code == 403
            assert client.post("/trial/ris", data={"patient_id": "X"}).status_code == 403
    assert ris.frames == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/trial/nobody", {"patient_id": "X"}),
        ("/trial/share", {"patient_id": "X"}),
        ("/trial/ris", {"patient_id": "a|b"}),
        ("/trial/ris", {"patient_id": ""}),
        ("/trial/ris/answers", {}),
        ("/trial/ris/answers", {"at": "2026-11-20T08:00:00", "stored": "r", "patient_id": "X"}),
        ("/trial/ris/answers", {"at": "2026-11-20T08:00:00+07:00", "stored": "", "patient_id": "X"}),
    ],
)
def test_what_is_malformed_sends_and_writes_nothing(room, ris, path, fields):
    with room.client("it.nam") as client:
        answer = client.post(path, data=fields)
    assert answer.status_code == 422
    assert ris.frames == []
    assert not (room.record.settings.storage.data_dir / "profiles").exists()
