"""`hoichan audit export|verify`, the head of each day, and the log as FHIR over HTTP."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from structlog.testing import capture_logs
from typer.testing import CliRunner

from hoichan.adapters.schema import audit
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.guard.roles import Role
from hoichan.settings import Settings
from hoichan.testing.reading import a_record, add_user
from service.api.caller import SESSION
from service.audit_heads import Heads
from service.cli_audit import app
from tests.unit.service.api.asking import an_app

NOON = datetime(2026, 11, 20, 5, tzinfo=UTC)  # noon in Hanoi


class Site:
    """A log with four records of two accounts, on two days."""

    def __init__(self, folder):
        settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder / "data", "reserve_bytes": 0},
                "access": {"head_folder": str(folder / "heads")},
            }
        )
        self.folder = folder
        self.record = a_record(folder / "data", settings)
        for number, (who, day) in enumerate([("bs.an", 20), ("bs.lan", 20), ("bs.an", 21), ("bs.lan", 21)]):
            self.record.audit.append(
                AuditRecord(
                    what=Audited.VIEWED,
                    when=NOON.replace(day=day),
                    who=who,
                    role="radiologist",
                    source="10.0.0.8",
                    uids=(f"1.2.{number}",),
                )
            )

    def hoichan(self, *arguments):
        return CliRunner().invoke(app, [*arguments, "--data-dir", str(self.folder / "data")])


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.record.engine.dispose()


def test_the_log_is_exported_as_audit_events_and_says_so(site):
    events = [json.loads(line) for line in site.hoichan("export", "--fhir").stdout.splitlines()]
    assert [event["resourceType"] for event in events] == ["AuditEvent"] * 5
    assert [event["id"] for event in events] == [f"log-{number}" for number in range(1, 6)]
    assert (events[-1]["type"]["code"], events[-1]["entity"][0]["name"]) == ("110106", "audit log")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("--who", "bs.an"), ["log-1", "log-3"]),
        (("--study", "1.2.1"), ["log-2"]),
        (("--since", "2026-11-21", "--until", "2026-11-21"), ["log-3", "log-4"]),
        (("--until", "2026-11-20"), ["log-1", "log-2"]),
    ],
)
def test_a_part_is_exported(site, asked, found):
    bundle = json.loads(site.hoichan("export", "--fhir", "--bundle", *asked).stdout)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    ids = [entry["resource"]["id"] for entry in bundle["entry"]]
    assert [one for one in ids if one in {"log-1", "log-2", "log-3", "log-4"}] == found


def test_without_fhir_the_very_bytes_are_written_that_are_hashed(site):
    first = site.hoichan("export").stdout.splitlines()[0]
    assert first.startswith('1 {"format":1,"what":"study_viewed"')
    assert site.hoichan("export", "--bundle").exit_code == 2


def test_the_head_of_each_day_shows_what_was_cut_off(site):
    with capture_logs() as lines:
        heads = Heads(_House(site.record))
        heads.step()
        heads.step()
        Heads(_House(site.record)).step()  # started again on the same day
    site.record.clock.advance(86400)
    heads.step()
    (file,) = (site.folder / "heads").iterdir()
    assert len(file.read_text().splitlines()) == 2
    assert lines[0]["event"] == "audit_head"
    assert site.hoichan("verify", "--head", str(file)).exit_code == 0
    with site.record.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS audit_no_delete")
        connection.execute(sa.delete(audit).where(audit.c.position == 4))
    assert site.hoichan("verify").exit_code == 0  # the chain alone does not see it
    answer = site.hoichan("verify", "--head", str(file))
    assert (answer.exit_code, "missing at the end" in answer.stdout) == (1, True)


def test_a_file_without_a_head_is_refused(site, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing\n")
    assert site.hoichan("verify", "--head", str(tmp_path / "notes.txt")).exit_code == 2


@contextmanager
def asked_as(site, role):
    add_user(site.record, role.value, role)
    session = site.record.people.begin_session(role.value)
    with TestClient(an_app(site.record), base_url="http://localhost", cookies={SESSION: session}) as client:
        yield client


def test_an_auditor_reads_it_page_by_page(site):
    with asked_as(site, Role.AUDITOR) as client:
        place, ids = "/fhir/AuditEvent?_count=2&until=2026-11-21T12:00:00Z", []
        while place:
            bundle = client.get(place).json()
            ids += [entry["resource"]["id"] for entry in bundle["entry"]]
            place = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        assert ids[:4] == ["log-1", "log-2", "log-3", "log-4"]  # then that it was read
        some = client.get("/fhir/AuditEvent?agent=bs.an&study=1.2.2").json()["entry"]
        assert [entry["resource"]["id"] for entry in some] == ["log-3"]
        assert client.get("/fhir/AuditEvent?since=2026-11-21T12:00:00").status_code == 422
    read = [
        line.record.detail for line in site.record.audit.lines(_all()) if line.record.what is Audited.LOG_READ
    ]
    assert read[0] == "FHIR AuditEvent"


def test_a_radiologist_does_not(site):
    with asked_as(site, Role.RADIOLOGIST) as client:
        assert client.get("/fhir/AuditEvent").status_code == 403


def _all():
    from hoichan.adapters.audit_sql import Wanted

    return Wanted()


class _House:
    def __init__(self, record):
        self.audit, self.clock, self.settings = record.audit, record.clock, record.settings
