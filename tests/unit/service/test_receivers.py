"""What commands know of the page's receivers, and that a house opens with them."""

import json

import pytest
from typer.testing import CliRunner

from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.errors import RecordsUnavailable
from hoichan.ports.receivers import Owed
from hoichan.settings import Settings, load
from hoichan.settings.overlay import of_file
from hoichan.testing.ports import FakeClock
from hoichan.testing.reading import a_record
from hoichan.testing.receivers import FakeReceivers
from service import wiring
from service.cli import app
from service.doctor import examine
from service.hands import hands_of
from service.receivers import InForce, at_the_next_start

FOLDER = {"kind": "folder", "name": "share"}
FILE = '[[destinations]]\nname = "emr"\nkind = "folder"\npath = "emr"\n'


@pytest.fixture
def site(tmp_path):
    """A configuration file, a data folder with a database, and two versions of the page."""
    data = tmp_path / "data"
    record = a_record(data)
    rows = ReceiversSql(record.engine, FakeClock())
    share = {**FOLDER, "path": str((data / "outbox" / "share").absolute())}
    rows.write([share], [], seen=0, who="it.nam", reason="a")
    rows.write([share, {**share, "name": "emr"}], [], seen=1, who="it.nam", reason="b")
    record.engine.dispose()
    config = tmp_path / "hoichan.toml"
    config.write_text(FILE, encoding="utf-8")
    return config, data


def test_a_house_opens_with_the_receivers_of_the_page(site):
    config, data = site
    house = wiring.open_house(load(config, data_dir=data, environment={}))
    try:
        hands = hands_of(house)
        assert set(hands.sinks) == set(hands.probes) == {"emr", "share"}
        assert house.receivers.version == 2
    finally:
        house.engine.dispose()
    again = wiring.open_house(house.settings, as_they_are=True)  # a process of a worker's own
    again.engine.dispose()
    assert again.settings == house.settings and again.receivers.passed_over == ()


def test_the_command_says_where_each_was_written(site):
    config, data = site
    told = CliRunner().invoke(app, ["config", "--config", str(config), "--data-dir", str(data)])
    assert told.exit_code == 1  # one does not count
    lines = [line.split() for line in told.stdout.splitlines()]
    assert ["destination", "emr", "folder", "configuration", "file"] in lines
    assert ["destination", "share", "folder", "page", "(/receivers)"] in lines
    assert ["PASSED", "OVER", "emr", "in_file"] in lines
    machine = CliRunner().invoke(app, ["config", "--config", str(config), "--data-dir", str(data), "--json"])
    known = json.loads(machine.stdout)
    assert (known["version"], known["passed_over"][0]["code"]) == (2, "in_file")
    assert [(one["name"], one["place"]) for one in known["destinations"]] == [
        ("emr", "file"),
        ("share", "page"),
    ]


def test_the_doctor_looks_at_them_and_tells_what_does_not_count(site):
    config, data = site
    found = {one.name: one for one in examine(load(config, data_dir=data, environment={}))}
    assert "destination share" in found
    assert not found["receiver emr of the page"].passed


def test_without_a_database_the_file_counts(tmp_path):
    settings = Settings.model_validate({"storage": {"data_dir": tmp_path / "new"}})
    assert at_the_next_start(settings).version == 0


class Followed:
    """A process that follows the page: versions in memory, and what it was given."""

    def __init__(self):
        self.rows = FakeReceivers(FakeClock())
        self.given, self.raises = [], None
        self.in_force = InForce(of_file(Settings()), self.rows, self.put)

    def put(self, laid):
        if self.raises is not None:
            raise self.raises
        self.given.append(laid.version)

    def write(self, *, destinations=(), forward=()):
        self.rows.write(destinations, forward, seen=self.rows.newest(), who="it.nam", reason="x")


PACS = {"kind": "dicom", "name": "pacs2", "host": "10.1.2.3", "port": 104, "ae_title": "PACS2", "send": []}


def test_each_version_is_taken_once():
    process = Followed()
    assert not process.in_force.look()
    process.write(destinations=[PACS])
    process.write(destinations=[PACS], forward=[{"name": "all", "to": ["pacs2"]}])
    assert process.in_force.look() and not process.in_force.look()
    assert (process.given, process.in_force.laid.version) == ([2], 2)


def test_a_database_that_is_away_meanwhile_is_no_reason_to_stay_behind():
    process = Followed()
    process.write(destinations=[PACS])
    process.raises = RecordsUnavailable("away")
    with pytest.raises(RecordsUnavailable):
        process.in_force.look()
    assert process.in_force.refused is None
    process.raises = None
    assert process.in_force.look() and process.given == [1]


def test_a_rule_that_is_gone_is_awaited_while_images_wait_by_it():
    process = Followed()
    process.write(destinations=[PACS], forward=[{"name": "all", "to": ["pacs2"]}])
    assert process.in_force.awaits("all", "forward") and not process.in_force.awaits("other", "forward")
    process.write(destinations=[PACS])
    process.in_force.look()
    assert not process.in_force.awaits("all", "forward")
    process.rows.waits = Owed(destinations={"pacs2": 1}, rules={"all": 1})
    assert process.in_force.awaits("all", "forward")
    assert process.in_force.look()  # it was asked for, so it is looked at, without another version
    assert process.in_force.laid.places["forward", "all"] == "kept"
