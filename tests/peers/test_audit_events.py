"""Every kind of audited event as FHIR, before checkers that nobody of us wrote."""

import json
from datetime import UTC, datetime

import pytest

from hoichan.encoding.fhir_audit import audit_event
from hoichan.guard.audit import Audited, AuditRecord, Outcome
from hoichan.settings import Site
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
