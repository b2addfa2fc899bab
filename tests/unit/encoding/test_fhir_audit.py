"""Every kind of audited event as a FHIR R4 AuditEvent, against the model of fhir.resources."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from hoichan.encoding.fhir_audit import audit_event
from hoichan.guard.audit import EVENTS, Audited, AuditRecord, Outcome
from hoichan.settings import Site

NOW = datetime(2026, 11, 20, 18, 30, 1, 234567, tzinfo=timezone(timedelta(hours=7)))
SITE = Site(name="Bệnh viện A", facility_code="79001")


def a_record(what, **more):
    return AuditRecord(what=what, when=NOW, who="bs.an", role="radiologist", source="10.0.0.7", **more)


@pytest.mark.parametrize("what", list(Audited))
def test_every_event_is_a_valid_resource_with_the_codes_of_the_standard(what):
    made = audit_event(7, a_record(what, uids=("1.2.3", "1.2.3.4"), detail="code"), SITE)
    parsed = AuditEvent.model_validate_json(json.dumps(made))
    event = EVENTS[what]
    assert (parsed.type.code, parsed.action) == (event.event_id.code_value, event.action)
    assert [one.code for one in parsed.subtype][-1] == what.value
    assert parsed.recorded.astimezone(UTC) == NOW.replace(microsecond=234000).astimezone(UTC)
    assert parsed.id == "log-7"


def test_what_the_record_says_is_all_there():
    made = audit_event(1, a_record(Audited.VIEWED, uids=("1.2.3", "1.2.3.4"), detail="study"), SITE)
    assert [one["what"]["identifier"]["value"] for one in made["entity"]] == [
        "urn:oid:1.2.3",
        "urn:oid:1.2.3.4",
    ]
    assert made["entity"][0]["detail"] == [{"type": "detail", "valueString": "study"}]
    assert made["agent"][0]["network"] == {"address": "10.0.0.7", "type": "2"}
    assert made["agent"][0]["altId"] == "bs.an"
    assert made["source"]["observer"]["identifier"]["value"] == "79001"


def test_a_refusal_and_a_sender_by_its_name():
    record = AuditRecord(
        what=Audited.NODE_REFUSED,
        when=NOW,
        who="CR_X",
        role="unknown",
        source="CR_X",
        outcome=Outcome.SERIOUS_FAILURE,
        detail="unknown sender",
    )
    made = audit_event(1, record, SITE)
    assert made["outcome"] == "8"
    assert made["agent"][0]["network"]["type"] == "1"
    assert made["entity"] == [
        {
            "type": {
                "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type",
                "code": "4",
                "display": "Other",
            },
            "name": "unknown sender",
        }
    ]


def test_break_glass_says_so():
    made = audit_event(1, a_record(Audited.BREAK_GLASS, uids=("1.2.3",)), SITE)
    assert made["purposeOfEvent"][0]["coding"][0]["code"] == "BTG"
    assert "purposeOfEvent" not in audit_event(1, a_record(Audited.VIEWED), SITE)
