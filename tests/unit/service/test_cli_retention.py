"""`hoichan hold` and `hoichan retention` from the shell."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.quarantine_disk import Lying
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.set_aside_sql import WHOLE, SetAsideSql
from hoichan.adapters.spool_disk import CHANGED_CONTENT
from hoichan.adapters.spool_identity import identity_of
from hoichan.adapters.spools_sql import SpoolsSql
from hoichan.errors import ConfigurationError, KilledItsRecorders
from hoichan.guard.audit import Audited
from hoichan.settings import Settings, load
from hoichan.testing.house import COMMAND_SECONDS, HOICHAN
from hoichan.testing.ports import FakeClock
from service.aside import Quarantine
from service.cli import app
from service.wiring import open_house
from tests.unit.service.test_backup import answer, receive

CONFIG = """
[retention]
enabled = true
originals = "elsewhere"
[[retention.rules]]
name = "month"
days = 30
"""


class Shell:
    def __init__(self, folder):
        self.config = folder / "hoichan.toml"
        self.config.write_text(CONFIG, encoding="utf-8")
        self.folder = folder
        self.house = open_house(load(self.config, data_dir=folder / "data", environment={}))
        self.stored = receive(self.house, "old")
        month_ago = (datetime.now(UTC) - timedelta(days=31)).timestamp()
        os.utime(self.house.spool.file(self.stored.path), (month_ago, month_ago))
        answer(self.house, self.stored)
        (delivery,) = self.house.studies.deliveries(self.stored.study_instance_uid)
        self.house.studies.acknowledged(delivery.idempotency_key, "ok")

    def run(self, *arguments, stdin=None):
        files = ["--config", str(self.config), "--data-dir", str(self.folder / "data")]
        return CliRunner().invoke(app, [*arguments, *files], input=stdin)

    def really(self, *arguments):
        """In a process of its own: what it logs must not mix with what it says."""
        files = ["--config", str(self.config), "--data-dir", str(self.folder / "data")]
        done = subprocess.run(
            [HOICHAN, *arguments, *files], capture_output=True, check=True, timeout=COMMAND_SECONDS
        )
        return json.loads(done.stdout)

    def audited(self):
        _, lines = self.house.audit.search(Wanted(what=Audited.SETTINGS_CHANGED), limit=20)
        return [line.record.detail for line in lines]

    @property
    def is_here(self):
        return self.house.spool.file(self.stored.path).exists()


@pytest.fixture
def shell(tmp_path):
    opened = Shell(tmp_path)
    yield opened
    opened.house.engine.dispose()


def test_a_dry_run_says_what_would_go_and_a_run_removes_it(shell):
    uid = shell.stored.study_instance_uid
    told = json.loads(shell.run("retention", "--dry-run", "--json").stdout)
    assert [(one["study"], one["rule"]) for one in told["goes"]] == [(uid, "month")]
    assert told["size_bytes"] == told["goes"][0]["size_bytes"] > 0 and told["kept"] == []
    assert "1 studies would lose their images" in shell.run("retention", "--dry-run").stdout
    assert shell.is_here
    assert shell.really("retention", "--json") == {"removed": 1, "kept": {}}
    assert not shell.is_here


def test_a_hold_keeps_and_is_recorded_without_a_word_about_the_patient(shell):
    told = shell.run("hold", "add", "--patient-id", "-", "--reason", "khiếu nại", stdin="BN0001\n")
    assert told.stdout == "Hold 1: nothing of this patient will be removed.\n"
    told = json.loads(shell.run("retention", "--dry-run", "--json").stdout)
    assert told["goes"] == [] and told["reasons"] == {"legal_hold": 1}
    (hold,) = json.loads(shell.run("hold", "list", "--json").stdout)
    assert (hold["hold_id"], hold["patient_id"], hold["reason"]) == (1, "BN0001", "khiếu nại")
    assert "patient BN0001" in shell.run("hold", "list").stdout
    assert shell.run("hold", "remove", "1").exit_code == 0
    assert shell.run("hold", "remove", "1").exit_code == 1
    assert json.loads(shell.run("hold", "list", "--json").stdout) == []
    assert json.loads(shell.run("hold", "list", "--all", "--json").stdout)[0]["lifted_at"]
    assert shell.audited() == ["hold 1 removed", "hold 1 added"]


def test_a_hold_on_one_study(shell):
    uid = shell.stored.study_instance_uid
    assert shell.run("hold", "add", "--study", uid, "--reason", "court").exit_code == 0
    told = json.loads(shell.run("retention", "--dry-run", "--json").stdout)
    assert told["goes"] == [] and told["reasons"] == {"legal_hold": 1}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("hold", "add", "--reason", "x"), 2),
        (("hold", "add", "--reason", "x", "--study", "1.2", "--patient-id", "y"), 2),
        (("hold", "add", "--reason", " ", "--patient-id", "y"), 2),
        (("hold", "add", "--reason", "x", "--study", "1.2.3"), 1),
        (("retention", "classify", "1.2.3", "death"), 1),
        (("retention", "classify", "1.2.3", "forever"), 2),
    ],
)
def test_a_command_that_cannot_be_changes_nothing(shell, arguments, code):
    assert shell.run(*arguments).exit_code == code
    assert shell.audited() == [] and json.loads(shell.run("hold", "list", "--json").stdout) == []


def test_the_class_of_a_record_is_said_and_recorded(shell):
    uid = shell.stored.study_instance_uid
    assert shell.run("retention", "classify", uid, "death").stdout == f"{uid}: death\n"
    assert shell.audited() == ["record class death"]
    assert shell.house.studies.trail(uid)[-1].event == "record_class_set"
    shell.config.write_text(CONFIG.replace('"elsewhere"', '"here"'), encoding="utf-8")
    (kept,) = json.loads(shell.run("retention", "--dry-run", "--json").stdout)["kept"] or [None]
    assert kept is None  # too young for any class: not even looked at


def test_a_machine_that_is_lost_for_good_holds_nothing_back(shell):
    """Its quarantine has another version of the one image, and it had set another study aside."""
    engine, clock = shell.house.engine, shell.house.clock
    uid, lost, elsewhere = shell.stored.study_instance_uid, "1" * 32, "1.2.840.99.7"
    lying = {"a.json": Lying(reason=CHANGED_CONTENT, sop_instance_uid=shell.stored.path.stem)}
    QuarantineSql(engine, clock).tell(lost, lying)
    SetAsideSql(engine, clock, lambda: lost).add(elsewhere, WHOLE, code=KilledItsRecorders.code)
    assert json.loads(shell.run("retention", "--dry-run", "--json").stdout)["reasons"] == {"quarantined": 1}
    (told,) = json.loads(shell.run("retention", "spools", "--json").stdout)
    assert (told["spool"], told["quarantined"], told["set_aside"], told["is_here"]) == (lost, 1, 1, False)
    assert shell.run("retention", "forget", "2" * 32).exit_code == 1
    done = shell.run("retention", "forget", lost)
    assert done.stdout == "Forgotten: 1 files in quarantine, 1 objects set aside.\n"
    assert json.loads(shell.run("retention", "spools", "--json").stdout) == []
    assert f"spool {lost} forgotten" in shell.audited()
    assert [line.event for line in shell.house.studies.trail(elsewhere)][-1] == "set_aside_lost"
    told = json.loads(shell.run("retention", "--dry-run", "--json").stdout)
    assert [one["study"] for one in told["goes"]] == [uid]


def test_the_spool_of_this_machine_is_not_forgotten(shell):
    here = identity_of(shell.house.settings.storage.spool_dir)
    SetAsideSql(shell.house.engine, shell.house.clock, lambda: here).add("1.2.840.99.7", WHOLE, code="x")
    assert "this machine" in shell.run("retention", "spools").stdout
    assert isinstance(shell.run("retention", "forget", here).exception, ConfigurationError)
    assert [one["set_aside"] for one in json.loads(shell.run("retention", "spools", "--json").stdout)] == [1]


def test_a_machine_that_was_only_thought_to_be_lost_tells_again(tmp_path):
    settings = Settings.model_validate({"storage": {"data_dir": tmp_path, "reserve_bytes": 0}})
    clock = FakeClock()
    with closed(open_house(settings)) as house:
        teller = Quarantine(replace(house, clock=clock))
        folder = settings.storage.spool_dir / "quarantine"
        folder.mkdir(parents=True, exist_ok=True)
        note = {"reason": CHANGED_CONTENT, "sop_instance_uid": "1.2.3"}
        (folder / "a.json").write_text(json.dumps(note), encoding="utf-8")
        assert teller.step() == 1
        spools = SpoolsSql(house.engine, clock)
        assert spools.forget(identity_of(settings.storage.spool_dir)) is not None
        assert teller.step() == 0
        clock.advance(301)
        assert teller.step() == 1
        assert [one.quarantined for one in spools.known()] == [1]


@contextmanager
def closed(house):
    yield house
    house.engine.dispose()


def test_nothing_is_removed_while_it_is_switched_off(shell):
    shell.config.write_text(CONFIG.replace("enabled = true", "enabled = false"), encoding="utf-8")
    told = shell.run("retention")
    assert isinstance(told.exception, ConfigurationError) and "retention.enabled" in str(told.exception)
    assert (
        shell.is_here and len(json.loads(shell.run("retention", "--dry-run", "--json").stdout)["goes"]) == 1
    )
