"""Test reports to a RIS, what a person saw of them, and that they are taken back."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from hoichan import er7
from hoichan.settings import FhirDestination, Hl7Destination
from hoichan.testing.mllp import Receiver, answering, taking
from service.cli import app
from service.trial_messages import message_profile

RIS = Hl7Destination(name="ris", kind="hl7v2", host="127.0.0.1", port=1)
EMR = FhirDestination(name="emr", kind="fhir", url="http://127.0.0.1/fhir")


@pytest.mark.parametrize(
    ("destination", "shown", "found"),
    [
        (EMR, {"partial", "preliminary"}, {"unread_status": "partial"}),
        (EMR, {"preliminary"}, {"unread_status": "preliminary"}),
        (EMR, set(), {"unread_status": "partial"}),
        (RIS, {"r", "p", "pdf"}, {"unread_status": "R", "charset": "utf-8", "pdf_maximum_bytes": 1048576}),
        (RIS, {"p"}, {"unread_status": "P", "charset": "utf-8", "pdf_maximum_bytes": 0}),
        (RIS, {"ascii"}, {"unread_status": "R", "charset": "ascii", "pdf_maximum_bytes": 0}),
        (RIS, set(), {"unread_status": "R", "charset": "utf-8", "pdf_maximum_bytes": 0}),
    ],
)
def test_what_shows_makes_the_profile(destination, shown, found):
    assert message_profile(destination, shown) == found


def test_a_ris_gets_each_form_and_each_is_taken_back(tmp_path):
    with Receiver(answering(taking)) as ris:
        config = tmp_path / "hoichan.toml"
        config.write_text(
            f'[[destinations]]\nname = "ris"\nkind = "hl7v2"\nhost = "127.0.0.1"\nport = {ris.port}\n',
            encoding="utf-8",
        )
        options = ["--config", str(config), "--data-dir", str(tmp_path / "data"), "--json"]
        done = CliRunner().invoke(app, ["try", "ris", "--patient-id", "T1", "--shows", "r,pdf", *options])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["stored"] == answer["taken_back"] == ["ascii", "p", "pdf", "r"]
    assert (answer["unread_status"], answer["pdf_maximum_bytes"]) == ("R", 1048576)
    read = [er7.read(frame[1:-2]) for frame in ris.frames]
    assert len({one.control_id for one in read}) == len(read) == 8
    for message in read:
        assert message.first("PID").text(3) == "T1"
        assert {one.text(11) for one in message.all("OBX")} <= {"R", "P", "W"}
    statuses = [message.first("OBR").text(25) for message in read]
    assert statuses == ["R", "P", "R", "R", "X", "X", "X", "X"]
    assert [any(one.text(2) == "ED" for one in message.all("OBX")) for message in read[:4]] == [
        False,
        False,
        False,
        True,
    ]
    assert ris.frames[2].isascii() and "THỬ NGHIỆM".encode() in ris.frames[0]


def test_a_ris_that_is_away_is_told(tmp_path):
    config = tmp_path / "hoichan.toml"
    config.write_text(
        '[[destinations]]\nname = "ris"\nkind = "hl7v2"\nhost = "127.0.0.1"\nport = 1\n', encoding="utf-8"
    )
    options = ["--config", str(config), "--data-dir", str(tmp_path / "data"), "--json"]
    done = CliRunner().invoke(app, ["try", "ris", "--shows", "", *options])
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["stored"] == answer["taken_back"] == []
