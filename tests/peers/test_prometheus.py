"""Prometheus' own tool reads our metrics and our alarms, and a running house shows what was told to it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hoichan.adapters.scu import Address, send
from hoichan.errors import Unreachable
from hoichan.testing.house import RunningHouse, wait_until, write_film
from hoichan.testing.reports import a_film

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "hoichan.rules.yml"
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]


def promtool(*arguments, given=None):
    return subprocess.run(
        ["promtool", *map(str, arguments)],
        input=given,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_alarms_are_valid_and_fire_where_they_must():
    for arguments in (("check", "rules", RULES), ("test", "rules", RULES.with_suffix(".test.yml"))):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def values(text):
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    }


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with RunningHouse(tmp_path_factory.mktemp("house")) as house:
        yield house


def test_the_metrics_of_a_running_house_are_clean_and_true(house, tmp_path):
    films = [write_film(a_film(f"metric {n}", rows=256, columns=224), tmp_path) for n in range(3)]
    to = Address.parse(house.address)
    assert [one.status for one in send([*films, films[0]], to)] == [0, 0, 0, 0]
    answered = 'hoichan_delivery_attempts_total{destination="outbox",outcome="acknowledged"}'
    wait_until(
        lambda: values(house.get("metrics"))[answered] == 3, seconds=90, what="three deliveries are counted"
    )
    received = 'hoichan_instances_received_total{outcome="duplicate",sender="*"}'
    wait_until(lambda: values(house.get("metrics")).get(received) == 1, seconds=30, what="the door told")
    text = house.get("metrics")
    found = values(text)
    done = promtool("check", "metrics", given=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert found['hoichan_instances_received_total{outcome="stored",sender="*"}'] == 3
    answered_states = ("delivered", "not_analysed")  # the synthetic films may be out of a model's domain
    assert sum(found[f'hoichan_studies{{state="{state}"}}'] for state in answered_states) == 3
    assert found["hoichan_workers"] == found["hoichan_listener_up"] == found["hoichan_database_up"] == 1
    assert any(name.startswith("hoichan_model_loaded") for name in found)
    runs = {name: value for name, value in found.items() if name.startswith("hoichan_model_runs_total")}
    assert sum(runs.values()) == 3
    seconds = {name: value for name, value in found.items() if "inference_duration_seconds_count" in name}
    assert sum(value for value in seconds.values()) <= 3


def test_counts_do_not_go_back_when_processes_are_killed(house, tmp_path):
    def counters():
        return {name: value for name, value in values(house.get("metrics")).items() if "_total" in name}

    before = counters()
    assert before['hoichan_instances_received_total{outcome="stored",sender="*"}'] == 3
    for role in ("listen", "work"):
        pid = house.pids()[role]
        house.kill(role)
        wait_until(lambda r=role, p=pid: house.pids().get(r, p) != p, seconds=60, what=f"{role} is back")
    film = write_film(a_film("metric after", rows=256, columns=224), tmp_path)
    to = Address.parse(house.address)

    def is_stored():
        try:
            return [one.status for one in send([film], to)] == [0]
        except Unreachable:
            return False

    wait_until(is_stored, seconds=30, what="the door is open")
    name = 'hoichan_instances_received_total{outcome="stored",sender="*"}'
    wait_until(lambda: counters()[name] == before[name] + 1, seconds=60, what="the count goes on")
    after = counters()
    assert all(after[name] >= value for name, value in before.items())


def test_every_alarm_speaks_of_metrics_that_exist_and_has_a_runbook(house):
    rules = RULES.read_text(encoding="utf-8")
    shown = set(re.findall(r"^# TYPE (\w+)", house.get("metrics"), re.MULTILINE))
    used = set(re.findall(r"\bhoichan_[a-z_]+", rules))
    assert used <= shown | {"hoichan_certificate_expiry_timestamp_seconds"}
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    alarms = re.findall(r"- alert: (\w+)", rules)
    assert len(alarms) >= 8
    for alarm in alarms:
        assert f"#{alarm.lower()}" in rules and f"`{alarm}`" in runbook, alarm
