"""`hoichan quarantine`, and `hoichan study` of a study of which every image was refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.quarantine_disk import KEPT_REFUSED
from hoichan.errors import IntakeError
from hoichan.guard.audit import Audited
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.settings import Settings
from hoichan.testing.database import prepared
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from service.aside import Quarantine
from service.cli import app
from service.wiring import open_house


class Shell:
    def __init__(self, folder):
        self.folder = folder
        settings = Settings.model_validate({"storage": {"data_dir": folder, "reserve_bytes": 0}})
        self.house = open_house(prepared(settings))

    def bring(self, data_set, *, cut=0, instance=None):
        data = encode(data_set)
        with suppress(IntakeError):
            self.house.spool.store(
                data[: len(data) - cut],
                transfer_syntax_uid=EXPLICIT_LITTLE,
                sop_class_uid=COMPUTED_RADIOGRAPHY,
                sop_instance_uid=instance or data_set.SOPInstanceUID,
                calling_ae_title="CR_ROOM1",
            )

    def run(self, *arguments):
        return CliRunner().invoke(app, [*arguments, "--data-dir", str(self.folder)])

    def listed(self):
        return json.loads(self.run("quarantine", "list", "--json").stdout)

    def retry(self):
        (one,) = self.listed()
        return self.run("quarantine", "retry", one["name"])


@pytest.fixture
def shell(tmp_path):
    opened = Shell(tmp_path)
    yield opened
    opened.house.engine.dispose()


def test_an_empty_quarantine_says_so(shell):
    assert shell.run("quarantine", "list").stdout == "Không có gì trong vùng cách ly.\n"


def test_what_was_refused_is_listed_while_nothing_else_runs(shell):
    shell.bring(film(), cut=3)
    (one,) = shell.listed()
    assert (one["reason"], one["calling_ae_title"]) == ("intake.not_dicom", "CR_ROOM1")
    assert one["study_instance_uid"] == film().StudyInstanceUID
    told = shell.run("quarantine", "list").stdout
    assert one["name"] in told and film().StudyInstanceUID in told and "Không đọc được ảnh" in told
    assert str(film().PatientName) not in told


def test_a_study_of_which_every_image_was_refused_is_explained(shell):
    shell.bring(film(), cut=3)
    told = shell.run("study", film().StudyInstanceUID)
    assert told.exit_code == 0
    assert "BỊ TỪ CHỐI (intake.not_dicom)" in told.stdout and "Chưa nhận được gì của ca này" in told.stdout
    (line,) = json.loads(shell.run("study", film().StudyInstanceUID, "--json").stdout)
    assert (line["event"], line["sender"]) == ("instance_refused", "CR_ROOM1")
    assert shell.run("study", f"{film().StudyInstanceUID}.1").exit_code == 1


def test_an_image_that_was_announced_as_another_is_taken_as_what_it_is(shell):
    shell.bring(film(), instance="1.2.3")
    (one,) = shell.listed()
    assert one["reason"] == "intake.wrong_sop_class"
    done = shell.retry()
    assert (done.exit_code, done.stdout) == (0, f"{film().StudyInstanceUID}: filed\n")
    (spooled,) = shell.house.spool.listing(film().StudyInstanceUID)
    assert spooled.calling_ae_title == "CR_ROOM1" and shell.listed() == []
    _, lines = shell.house.audit.search(Wanted(what=Audited.INSTANCES_RECEIVED), limit=20)
    (line,) = lines
    assert line.record.detail == f"quarantine {one['name']} again"
    assert line.record.uids == (film().StudyInstanceUID,) and line.record.role == "shell"


def test_one_that_came_whole_meanwhile_leaves_the_quarantine(shell):
    shell.bring(film(), instance="no uid")
    shell.bring(film())
    assert shell.retry().stdout == f"{film().StudyInstanceUID}: it was there already\n"
    assert shell.listed() == []


def test_what_is_refused_again_stays(shell):
    shell.bring(film(), cut=3)
    before = shell.listed()
    done = shell.retry()
    assert done.exit_code == 1 and "intake.not_dicom" in done.stderr
    assert shell.listed() == before


def test_other_content_of_a_known_image_stays(shell):
    shell.bring(film())
    shell.bring(film(pixels=b"\2\3" * 64))
    before = shell.listed()
    done = shell.retry()
    assert done.exit_code == 1 and "changed_content" in done.stderr
    assert shell.listed() == before


def test_what_lies_there_for_another_reason_now_lies_there_once(shell):
    shell.bring(film())
    shell.bring(film(pixels=b"\2\3" * 64), instance="1.2.3")
    assert shell.retry().exit_code == 1
    assert [one["reason"] for one in shell.listed()] == ["changed_content"]


def test_made_up_studies_fill_no_folder(shell):
    made_up = shell.folder / "spool" / "changes" / "1.2.3"
    made_up.mkdir(parents=True)
    for number in range(KEPT_REFUSED + 3):
        (made_up / f"{number:05}.json").write_text('{"refused": "intake.not_dicom"}', encoding="utf-8")
    Quarantine(shell.house).step()
    assert sorted(note.name for note in made_up.iterdir())[0] == "00003.json"
    assert len(list(made_up.iterdir())) == KEPT_REFUSED


@pytest.mark.parametrize("name", ["20261120T080000.000000Z-abcdef01", "../../etc/passwd", ""])
def test_there_is_no_such_file(shell, name):
    assert shell.run("quarantine", "retry", name).exit_code == 1
