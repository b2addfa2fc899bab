"""Every kind of audited event as FHIR, before checkers that nobody of us wrote."""

import json
from datetime import UTC, datetime

import pytest

from hoichan.adapters.audit_feed_sql import AuditFeedSql
from hoichan.adapters.leases_sql import LeasesSql
from hoichan.encoding.fhir_audit import audit_event
from hoichan.encoding.fhir_audit_machine import WHAT, MachineEvent, machine_event
from hoichan.guard.audit import Audited, AuditRecord, Outcome
from hoichan.settings import Settings, Site
from hoichan.testing.reading import a_record, arrive, assemble, report
from service.audit_feed import AuditFeed
from tests.peers import emr
from tests.peers.test_documents import run, tool

pytestmark = pytest.mark.peers

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)


def bundle():
    events = []
    for number, what in enumerate(Audited, start=1):
        record = AuditRecord(
            what=what,
            when=NOW,
            who="bs.an",
            role="radiologist",
            source="10.0.0.7" if number % 2 else "CR_ROOM1",
            outcome=Outcome.SUCCESS if number % 3 else Outcome.MINOR_FAILURE,
            uids=(f"1.2.{number}", "1.2.3.4")[: number % 3],
            detail="code" if number % 4 else "",
        )
        events.append(audit_event(number, record, Site(name="Bệnh viện A", facility_code="79001")))
    site = Site(name="Bệnh viện A", facility_code="79001")
    for number, event in enumerate(WHAT, start=1):
        line = MachineEvent(
            position=number,
            at=NOW,
            event=event,
            study_instance_uid="1.2.3",
            details={"destination": "pacs", "revision": 1, "report": "1.2.4"},
            calling_ae_title="CR_ROOM1",
        )
        events.append(machine_event(line, site, ours="HOICHAN", kinds={"pacs": "dicom"}))
    full = "https://hoichan.invalid/fhir/AuditEvent/"
    entries = [{"fullUrl": full + event["id"], "resource": event} for event in events]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


@pytest.mark.parametrize(
    ("name", "package", "verb"),
    [("pyfhircheck", "PyPI pyfhircheck", "bundle"), ("fhirkit", "PyPI fhirkit-rs", "validate")],
)
def test_fhir_checkers_take_every_event(tmp_path, name, package, verb):
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(bundle()), encoding="utf-8")
    code, output = run(tool(name, package), verb, file, folder=tmp_path)
    assert code == 0, output[-3000:]


@pytest.mark.skipif(not emr.is_available(), reason="make .venv-emr/.emr")
def test_a_fhir_server_takes_the_feed(tmp_path):
    """What people did and what the machine did, in batches of ITI-20's RESTful feed."""
    settings = Settings.model_validate({"storage": {"data_dir": tmp_path / "site", "reserve_bytes": 0}})
    with emr.Emr(tmp_path / "arr") as repository:
        told = {"name": "arr", "url": repository.url, "batch": 3}
        settings = Settings.model_validate({**settings.model_dump(), "audit_repositories": [told]})
        record = a_record(tmp_path / "site", settings)
        for what in Audited:
            record.audit.append(
                AuditRecord(what=what, when=NOW, who="bs.an", role="radiologist", source="10.0.0.7")
            )
        study = assemble(record, arrive(record, "film"))
        record.studies.begin(study.study_instance_uid, 1)
        report(record, study, {"pleural_effusion": 0.9})
        record.studies.acknowledged(
            record.studies.deliveries(study.study_instance_uid)[0].idempotency_key, "200"
        )
        rows, leases = (kind(record.engine, record.clock) for kind in (AuditFeedSql, LeasesSql))
        feed = AuditFeed(rows, leases, record.audit, record.clock, settings)
        assert feed.step() == len(Audited) + 4
        assert feed.step() == 0
        kept = [one["subtype"][-1]["code"] for one in repository.search("AuditEvent")]
        record.engine.dispose()
    machine = ["instances_received", "study_analysed", "result_created", "exported"]
    assert sorted(kept) == sorted([*(what.value for what in Audited), *machine])
