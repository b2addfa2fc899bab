"""What an EMR orders as a FHIR R4 ServiceRequest, as the same order that an HL7 v2 message would give.

Lenient as `orders` is: what is odd becomes None. Refused is only what nobody could act on: another type, a
mere plan, no number of the order, nobody it is for. The patient comes by identifier, in `subject.identifier`
or as a contained Patient; a reference into the EMR says nothing here, and no name alone ever does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, tzinfo
from typing import Any

from hoichan import codes
from hoichan.errors import HoichanError, MessageUnreadable, MessageUnsupported
from hoichan.intake.insurance import HEALTH_CARD, as_insurance
from hoichan.intake.json_bodies import loaded
from hoichan.intake.messages import Told
from hoichan.intake.orders import Order, OrderControl, OrderPriority, modality_of, region
from hoichan.privacy import Phi
from hoichan.types import Code, Patient, StudyInstanceUID

Json = dict[str, Any]
KIND = "ServiceRequest"
CITIZEN_ID = "http://fhir.hl7.org.vn/core/sid/cccd"
INSURANCE_NUMBER = "http://fhir.hl7.org.vn/core/sid/bhyt"
_DICOM_UID = "urn:dicom:uid"
_ORDERED = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order"})
_CONTROL = {
    "active": OrderControl.CHANGE,  # one that is not known yet is new all the same
    "on-hold": OrderControl.CHANGE,
    "completed": OrderControl.CHANGE,
    "revoked": OrderControl.CANCEL,
    "entered-in-error": OrderControl.CANCEL,
}
_PRIORITY = {
    "stat": OrderPriority.STAT,
    "asap": OrderPriority.URGENT,
    "urgent": OrderPriority.URGENT,
    "routine": OrderPriority.ROUTINE,
}
_SCHEMES = {system: scheme for scheme, system in codes.SCHEME_TO_SYSTEM.items()}
_NOT_OF_THE_FACILITY = frozenset({"SS", "HC", "DL", "PPN", "NI", "NNVNM", "AN", "VN"})
_UID = re.compile(r"(?:urn:oid:)?([0-2](?:\.(?:0|[1-9]\d*))+)")
_CITIZEN = re.compile(r"[0-9]{12}")
_SEX = {"male": "M", "female": "F", "other": "O"}


def hear_request(content: bytes, *, sender: str, zone: tzinfo, now: datetime) -> Told:
    """A body from its bytes; whatever they are, it gives an answer. `sender`: the name of the program.

    Each request is told anew: an order that changes and changes back says the same twice.
    """
    error: HoichanError | None = None
    events: tuple[Order, ...] = ()
    told_at = now
    try:
        resource = _read(content)
        events = (read_request(resource, zone=zone),)
        told_at = _moment(_object(resource.get("meta")).get("lastUpdated"), zone) or now
    except (MessageUnreadable, MessageUnsupported) as fault:
        error = fault
    return Told(
        key=hashlib.sha256(now.isoformat().encode() + b"\0" + content).hexdigest(),
        kind=KIND,
        application=sender,
        facility="",
        told_at=min(told_at, now),
        events=events,
        error=error,
    )


def read_request(resource: Mapping[str, Any], *, zone: tzinfo) -> Order:
    """The order. Raises MessageUnreadable (what is missing, by its place) or MessageUnsupported."""
    if resource.get("resourceType") != KIND:
        raise MessageUnsupported
    control = _CONTROL.get(str(resource.get("status")))
    if control is None or str(resource.get("intent")) not in _ORDERED:
        raise MessageUnsupported("ServiceRequest.status or .intent is no order.")
    numbers = _numbers(resource)
    if not any(numbers.values()):
        raise MessageUnreadable("ServiceRequest.identifier has no number of the order.")
    said = list(_words(resource.get("code")))
    places = [words for site in _list(resource.get("bodySite")) for words in _words(site)]
    reasons = [next(_words(reason), "") for reason in _list(resource.get("reasonCode"))]
    indication = "; ".join(filter(None, reasons))
    return Order(
        control=control,
        patient=_patient(resource, zone),
        placer_order_number=numbers["PLAC"],
        filler_order_number=numbers["FILL"],
        accession_number=numbers["ACSN"],
        requested_procedure_id=None,
        study_instance_uid=_study(resource),
        scheduled_procedure_step_id=None,
        modality=_modality(resource),
        procedure=_procedure(resource.get("code")),
        region=next((found for words in (*places, *said) if (found := region(words))), None),
        scheduled_at=_scheduled(resource, zone),
        ordered_at=_moment(resource.get("authoredOn"), zone),
        priority=_PRIORITY.get(str(resource.get("priority"))),
        indication=Phi(indication) if indication else None,
    )


def _read(content: bytes) -> Json:
    try:
        resource = loaded(content)
    except (ValueError, RecursionError) as error:
        raise MessageUnreadable("The body is no JSON in UTF-8.") from error
    if not isinstance(resource, dict):
        raise MessageUnreadable("The body is no resource.")
    return resource


def _list(value: Any) -> list[Json]:  # noqa: ANN401 (JSON)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(value: Any) -> Json:  # noqa: ANN401 (JSON)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:  # noqa: ANN401 (JSON)
    return value.strip() if isinstance(value, str) else ""


def _numbers(resource: Mapping[str, Any]) -> dict[str, str | None]:
    """Placer, filler and accession number; a number without a type is the placer's."""
    found: dict[str, str | None] = {"PLAC": None, "FILL": None, "ACSN": None}
    for identifier in _list(resource.get("identifier")):
        value, kind = _text(identifier.get("value")), _type(identifier)
        if not value or identifier.get("system") == _DICOM_UID:
            continue
        place = kind if kind in found else "PLAC"
        if kind in found or kind == "":
            found[place] = found[place] or value
    return found


def _type(identifier: Json) -> str:
    codings = _list(_object(identifier.get("type")).get("coding"))
    return next((code for one in codings if (code := _text(one.get("code")).upper())), "")


def _study(resource: Mapping[str, Any]) -> StudyInstanceUID | None:
    for identifier in _list(resource.get("identifier")):
        uid = _UID.fullmatch(_text(identifier.get("value")))
        if identifier.get("system") == _DICOM_UID and uid and len(uid[1]) <= 64:
            return StudyInstanceUID(uid[1])
    return None


def _patient(resource: Mapping[str, Any], zone: tzinfo) -> Patient:
    subject = _object(resource.get("subject"))
    person = _contained(resource, _text(subject.get("reference")))
    identifiers = [_object(subject.get("identifier")), *_list(person.get("identifier"))]
    number = national = issuer = None
    for identifier in identifiers:
        value, system = _text(identifier.get("value")), _text(identifier.get("system"))
        if not value:
            continue
        if system == CITIZEN_ID and _CITIZEN.fullmatch(value):
            national = national or value
        elif number is None and _type(identifier) not in _NOT_OF_THE_FACILITY and "/sid/" not in system:
            number, issuer = value, system or None
    if number is None and national is None:
        raise MessageUnreadable("ServiceRequest.subject names nobody by a number.")
    born = _day(person.get("birthDate"))
    return Patient(
        patient_id=Phi(number or ""),
        issuer_of_patient_id=_authority(issuer),
        national_id=Phi(national) if national else None,
        patient_name=Phi(_name(person)),
        patient_birth_date=Phi(born) if born else None,
        patient_sex=_SEX.get(str(person.get("gender"))),
        insurance_number=_insurance_number(identifiers),
    )


def _insurance_number(identifiers: Sequence[Json]) -> Phi[str] | None:
    """The first that is typed HC, or of the national system, and could be one."""
    typed = (
        as_insurance(_text(one.get("value")))
        for one in identifiers
        if _type(one) == HEALTH_CARD or _text(one.get("system")) == INSURANCE_NUMBER
    )
    return next((number for number in typed if number is not None), None)


def _authority(system: str | None) -> str | None:
    """The assigning authority, as the modality would name it; a URI stands for the facility itself."""
    return None if system is None or system.startswith(("http://", "https://", "urn:")) else system


def _contained(resource: Mapping[str, Any], reference: str) -> Json:
    for one in _list(resource.get("contained")):
        if one.get("resourceType") == "Patient" and reference == f"#{one.get('id')}":
            return one
    return {}


def _name(person: Json) -> str:
    """PN from HumanName: a family name and the rest, else the words as they stand."""
    for name in _list(person.get("name")):
        parts = name.get("given")
        given = [_text(part) for part in parts if _text(part)] if isinstance(parts, list) else []
        family = _text(name.get("family"))
        # Vietnamese: middle names stand before the given one, PN wants them after it
        words = [family, given[-1] if given else "", " ".join(given[:-1])]
        text = "^".join(re.sub(r"[\^=\\\s]+", " ", part) for part in words).rstrip("^")
        if text:
            return text
        if _text(name.get("text")):
            return re.sub(r"[\^=\\\s]+", " ", _text(name.get("text")))
    return ""


def _words(concept: Any) -> Iterator[str]:  # noqa: ANN401 (JSON)
    """Everything a CodeableConcept says in words."""
    found = _object(concept)
    if _text(found.get("text")):
        yield _text(found.get("text"))
    for one in _list(found.get("coding")):
        if _text(one.get("display")):
            yield _text(one.get("display"))


def _procedure(concept: Any) -> Code | None:  # noqa: ANN401 (JSON)
    words = next(_words(concept), "")
    for one in _list(_object(concept).get("coding")):
        value, system = _text(one.get("code")), _text(one.get("system"))
        if value:
            return Code(
                code_value=value,
                code_meaning=_text(one.get("display")) or words,
                coding_scheme_designator=_SCHEMES.get(system, ""),
            )
    return Code(code_value=words, code_meaning=words, coding_scheme_designator="") if words else None


def _modality(resource: Mapping[str, Any]) -> str | None:
    """A DICOM modality among order details, categories or codes."""
    system = codes.SCHEME_TO_SYSTEM["DCM"]
    for concept in (
        *_list(resource.get("orderDetail")),
        *_list(resource.get("category")),
        _object(resource.get("code")),
    ):
        for one in _list(concept.get("coding")):
            found = modality_of(_text(one.get("code"))) if one.get("system") == system else None
            if found:
                return found
    return None


def _scheduled(resource: Mapping[str, Any], zone: tzinfo) -> datetime | None:
    period = _object(resource.get("occurrencePeriod"))
    return _moment(resource.get("occurrenceDateTime"), zone) or _moment(period.get("start"), zone)


def _moment(value: Any, zone: tzinfo) -> datetime | None:  # noqa: ANN401 (JSON)
    """A dateTime with at least a day, aware; None for anything else."""
    text = _text(value)
    if len(text) < len("2026-01-01"):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _day(value: Any) -> date | None:  # noqa: ANN401 (JSON)
    try:
        return date.fromisoformat(_text(value))
    except ValueError:
        return None
