"""A ServiceRequest gives the order that an HL7 v2 message would."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.errors import MessageUnreadable, MessageUnsupported
from hoichan.intake.orders import OrderControl, OrderPriority
from hoichan.intake.service_requests import hear_request, read_request

ZONE = timezone(timedelta(hours=7))
NOW = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)


def coded(code, system="http://terminology.hl7.org/CodeSystem/v2-0203"):
    return {"coding": [{"system": system, "code": code}]}


REQUEST = {
    "resourceType": "ServiceRequest",
    "status": "active",
    "intent": "order",
    "priority": "stat",
    "identifier": [
        {"type": coded("PLAC"), "system": "http://his/order", "value": "ORD123"},
        {"type": coded("ACSN"), "system": "http://his/accession", "value": "XR2611200042"},
        {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.99.7"},
    ],
    "contained": [
        {
            "resourceType": "Patient",
            "id": "p",
            "identifier": [
                {"type": coded("MR"), "system": "http://his/mrn", "value": "BN0012345"},
                {"system": "http://fhir.hl7.org.vn/core/sid/cccd", "value": "079085001234"},
                {"system": "http://fhir.hl7.org.vn/core/sid/bhyt", "value": "DN4790123456789"},
            ],
            "name": [{"family": "Nguyễn", "given": ["Văn", "An"]}],
            "gender": "male",
            "birthDate": "1985-03-15",
        }
    ],
    "subject": {"reference": "#p"},
    "code": {
        "coding": [{"system": "http://his/services", "code": "18.0119", "display": "X-quang ngực thẳng"}]
    },
    "category": [coded("DX", "http://dicom.nema.org/resources/ontology/DCM")],
    "occurrenceDateTime": "2026-11-20T08:15:00+07:00",
    "authoredOn": "2026-11-20",
    "reasonCode": [{"text": "Ho, sốt 3 ngày"}],
}


def read(**changes):
    request = {**copy.deepcopy(REQUEST), **changes}
    return read_request({key: value for key, value in request.items() if value is not None}, zone=ZONE)


def test_everything_an_order_says_is_understood():
    order = read()
    assert (order.control, order.priority) == (OrderControl.CHANGE, OrderPriority.STAT)
    assert (order.placer_order_number, order.accession_number) == ("ORD123", "XR2611200042")
    assert (order.study_instance_uid, order.modality, order.region) == ("1.2.840.99.7", "DX", "CHEST")
    assert order.scheduled_at == datetime(2026, 11, 20, 8, 15, tzinfo=ZONE)
    assert order.ordered_at == datetime(2026, 11, 20, tzinfo=ZONE)
    assert order.indication.reveal() == "Ho, sốt 3 ngày"
    assert order.procedure.code_value == "18.0119"
    patient = order.patient
    assert (patient.patient_id.reveal(), patient.national_id.reveal()) == ("BN0012345", "079085001234")
    assert (patient.patient_name.reveal(), patient.patient_sex) == ("Nguyễn^An^Văn", "M")
    assert patient.patient_birth_date.reveal() == date(1985, 3, 15)


@pytest.mark.parametrize(
    ("status", "control"),
    [("revoked", OrderControl.CANCEL), ("entered-in-error", OrderControl.CANCEL), ("on-hold", "change")],
)
def test_a_status_says_what_is_to_happen(status, control):
    assert read(status=status).control == control


@pytest.mark.parametrize(
    ("priority", "said"), [("asap", "urgent"), ("urgent", "urgent"), ("routine", "routine"), ("x", None)]
)
def test_priorities(priority, said):
    assert read(priority=priority).priority == said


def test_a_subject_may_be_an_identifier_alone():
    order = read(contained=None, subject={"identifier": {"system": "http://his/mrn", "value": "BN9"}})
    assert order.patient.patient_id.reveal() == "BN9"
    assert order.patient.patient_name.reveal() == ""


@pytest.mark.parametrize(
    "changes",
    [{"status": "draft"}, {"intent": "plan"}, {"intent": "proposal"}, {"resourceType": "Task"}],
)
def test_what_is_no_order_is_not_taken(changes):
    with pytest.raises(MessageUnsupported):
        read(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": None},
        {"identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}]},
        {"subject": {"reference": "Patient/77"}},
        {"subject": {"display": "Nguyễn Văn An"}},
        {"contained": [{"resourceType": "Patient", "id": "p", "name": [{"text": "Nguyễn Văn An"}]}]},
    ],
)
def test_an_order_without_a_number_or_a_number_of_somebody_is_not_taken(changes):
    with pytest.raises(MessageUnreadable) as caught:
        read(**changes)
    assert "Nguyễn" not in str(caught.value)


def test_what_is_odd_becomes_nothing():
    order = read(
        priority=3,
        occurrenceDateTime="soon",
        authoredOn=["x"],
        category="DX",
        code={"text": "Something"},
        reasonCode=[{"coding": [{"display": "Sốt"}]}, "x"],
    )
    assert (order.priority, order.scheduled_at, order.ordered_at, order.modality) == (None,) * 4
    assert (order.region, order.indication.reveal()) == (None, "Sốt")


def test_the_same_body_twice_is_told_twice():
    content = json.dumps(REQUEST).encode()
    one = hear_request(content, sender="token:his", zone=ZONE, now=NOW)
    two = hear_request(content, sender="token:his", zone=ZONE, now=NOW + timedelta(seconds=1))
    assert one.key != two.key and (one.kind, one.error, len(one.events)) == ("ServiceRequest", None, 1)


def test_a_clock_ahead_does_not_shut_later_orders_out():
    ahead = json.dumps({**REQUEST, "meta": {"lastUpdated": "2031-01-01T00:00:00Z"}}).encode()
    assert hear_request(ahead, sender="x", zone=ZONE, now=NOW).told_at == NOW


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(REQUEST)), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(REQUEST)), JSON))
def test_whatever_comes_has_an_answer(changes):
    content = json.dumps({**REQUEST, **changes}).encode()
    told = hear_request(content, sender="x", zone=ZONE, now=NOW)
    assert (told.error is None) == (len(told.events) == 1)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"resourceType": 3}'])
def test_bytes_that_are_no_resource_have_one_too(content):
    assert hear_request(content, sender="x", zone=ZONE, now=NOW).error is not None


def test_an_insurance_number_is_what_is_typed_or_named_as_one():
    assert read().patient.insurance_number.reveal() == "DN4790123456789"
    person = copy.deepcopy(REQUEST["contained"][0])
    person["identifier"][2] = {"type": coded("HC"), "system": "http://his/x", "value": "0123456789"}
    assert read(contained=[person]).patient.insurance_number.reveal() == "0123456789"
    person["identifier"][2] = {"system": "http://his/x", "value": "0123456789"}
    assert read(contained=[person]).patient.insurance_number is None
