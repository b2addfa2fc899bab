"""What commands know of the page's receivers, and that a house opens with them."""

import json

import pytest
from typer.testing import CliRunner

from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.settings import Settings, load
from hoichan.testing.ports import FakeClock
from hoichan.testing.reading import a_record
from service import wiring
from service.cli import app
from service.doctor import examine
from service.receivers import Awaited, at_the_next_start

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
        assert set(wiring.sinks(house.settings)) == set(wiring.probes(house.settings)) == {"emr", "share"}
        assert house.receivers.version == 2
        awaited = Awaited(house.engine, house.clock)
        assert awaited("share") and not awaited("gone")
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
