"""Search parameters of `/fhir`: read, checked, and turned into what the record is asked and what is filtered.

A parameter that is not known is an error, not a filter that is left out: who asks for less must not get more.
Who a patient is may only be asked in the body of a POST (`_search`), never in an address.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo

from hoichan.adapters.fhir_read import Wanted
from hoichan.encoding.fhir_parts import CITIZEN_ID, DICOM_UID, Json
from hoichan.encoding.fhir_served import values_at

LARGEST_PAGE = 100
PAGE = 20
CURSOR = "_cursor"
PATIENT = ("patient:identifier", "subject:identifier")
# parameter -> path of a code, a Coding, an Identifier or a CodeableConcept
TOKENS: Mapping[str, Mapping[str, str]] = {
    "DiagnosticReport": {
        "status": "status",
        "code": "code.coding",
        "identifier": "identifier",
        "category": "category.coding",
    },
    "Observation": {
        "status": "status",
        "code": "code.coding",
        "identifier": "identifier",
        "value-concept": "valueCodeableConcept.coding",
        "category": "category.coding",
    },
    "ImagingStudy": {
        "status": "status",
        "identifier": "identifier",
        "modality": "modality",
    },
    "Media": {"identifier": "identifier", "status": "status"},
    "Device": {"identifier": "identifier"},
    "Provenance": {},
}
REFERENCES: Mapping[str, Mapping[str, str]] = {
    "Observation": {"derived-from": "derivedFrom", "part-of": "partOf", "device": "device"},
    "DiagnosticReport": {"result": "result"},
    "Provenance": {"target": "target"},
}
DATES = {"DiagnosticReport": ("issued",), "Observation": (), "ImagingStudy": (), "Media": ()}


_IN_BODY = "send it in the body of POST /fhir/TYPE/_search."


class NotUnderstood(ValueError):
    """A search that is not understood; the text says why, without what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search, understood."""

    wanted: Wanted = field(default_factory=Wanted)
    filters: tuple[Callable[[Json], bool], ...] = ()
    count: int = PAGE
    shown: tuple[tuple[str, str], ...] = ()  # the parameters as they may stand in an address


def understand(
    resource_type: str,
    parameters: Sequence[tuple[str, str]],
    *,
    in_body: bool,
    accession_system: str,
    zone: tzinfo,
) -> Search:
    """The search that the parameters ask for; `zone`: of dates without a time. Raises NotUnderstood."""
    search = Search()
    for name, value in parameters:
        if name == "_lastUpdated" or name in DATES.get(resource_type, ()):
            search = replace(search, wanted=_narrowed(search.wanted, value, zone))
        else:
            search = _with(
                search, resource_type, name, value, in_body=in_body, accession_system=accession_system
            )
        if name not in (CURSOR, *PATIENT):
            search = replace(search, shown=(*search.shown, (name, value)))
    return search


def _with(
    search: Search, resource_type: str, name: str, value: str, *, in_body: bool, accession_system: str
) -> Search:
    wanted = search.wanted
    if name in PATIENT and resource_type not in ("Device", "Provenance"):
        return _of_patient(search, name, value, in_body=in_body)
    if name in ("_format", "_count", "_id", CURSOR):
        return _common(search, resource_type, name, value)
    if name in TOKENS[resource_type]:
        path = TOKENS[resource_type][name]
        if f"{accession_system}|" in value and not in_body:
            raise NotUnderstood(f"An accession number leads to a person: {_IN_BODY}")
        return replace(
            search,
            wanted=_by_identifier(wanted, resource_type, name, value, accession_system),
            filters=(*search.filters, lambda resource: _has(resource, path, value)),
        )
    if name in REFERENCES.get(resource_type, {}):
        path = REFERENCES[resource_type][name]
        return replace(
            search,
            wanted=_by_reference(wanted, value),
            filters=(*search.filters, lambda resource: _refers(resource, path, value)),
        )
    raise NotUnderstood(f"A parameter is not known for {resource_type}: see /fhir/metadata.")


def _of_patient(search: Search, name: str, value: str, *, in_body: bool) -> Search:
    if not in_body:
        raise NotUnderstood(f"{name} names a person: {_IN_BODY}")
    system, _, number = value.rpartition("|")
    filters = search.filters
    if system not in ("", CITIZEN_ID):  # a citizen id is known of many who are filed under another number
        filters = (*filters, lambda resource: _has(resource, "subject.identifier", value))
    return replace(search, wanted=replace(search.wanted, patient_number=number), filters=filters)


def _common(search: Search, resource_type: str, name: str, value: str) -> Search:
    """What every type knows."""
    if name == "_count":
        return replace(search, count=_number(value))
    if name == CURSOR:
        return replace(search, wanted=replace(search.wanted, after=read_cursor(value)))
    if name == "_format":
        if "json" not in value:
            raise NotUnderstood("Only JSON is spoken here: _format=json.")
        return search
    if "," in value:
        raise NotUnderstood("_id takes one id.")
    return replace(
        search,
        wanted=_by_id(search.wanted, resource_type, value),
        filters=(*search.filters, lambda resource: resource["id"] == value),
    )


def _number(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 6:
        raise NotUnderstood("_count is not a number.")
    return min(max(int(value), 1), LARGEST_PAGE)


def _by_id(wanted: Wanted, resource_type: str, value: str) -> Wanted:
    uid = value.partition("-")[0]
    if resource_type == "ImagingStudy":
        return replace(wanted, study_instance_uid=uid)
    return replace(wanted, report_uid=uid)


def _by_reference(wanted: Wanted, value: str) -> Wanted:
    kind, _, identity = value.partition("/")
    return _by_id(wanted, kind, identity) if identity else wanted


def _by_identifier(
    wanted: Wanted, resource_type: str, name: str, value: str, accession_system: str
) -> Wanted:
    """What the database can look up; the filter checks it again."""
    if name != "identifier" or "," in value:
        return wanted
    system, _, identifier = value.rpartition("|")
    if system == DICOM_UID and resource_type == "ImagingStudy":
        return replace(wanted, study_instance_uid=identifier.removeprefix("urn:oid:"))
    if system == DICOM_UID and resource_type == "DiagnosticReport":
        return replace(wanted, report_uid=identifier.removeprefix("urn:oid:"))
    if system == accession_system:
        return replace(wanted, accession_number=identifier)
    return wanted


def _has(resource: Json, path: str, asked: str) -> bool:
    """Whether one of the alternatives (`a,b`) is among the tokens at the path (FHIR R4 search 3.1.1.4.10)."""
    return any(_is(found, one) for one in asked.split(",") for found in values_at(resource, path))


def _is(found: Json | str, asked: str) -> bool:
    system, bar, code = asked.rpartition("|")
    if isinstance(found, str):
        return found == code
    value = found.get("code", found.get("value", ""))
    return (not code or value == code) and (not bar or found.get("system", "") == system)


def _refers(resource: Json, path: str, asked: str) -> bool:
    return any(
        isinstance(found, dict) and found.get("reference") in asked.split(",")
        for found in values_at(resource, path)
    )


def _narrowed(wanted: Wanted, value: str, zone: tzinfo) -> Wanted:
    """A date with its prefix (FHIR R4 search 3.1.1.4.5): eq, ge, gt, le, lt, sa, eb."""
    prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    begin, end = _span(text, zone)
    since: datetime | None
    before: datetime | None
    match prefix:
        case "eq":
            since, before = begin, end
        case "ge":
            since, before = begin, None
        case "gt" | "sa":
            since, before = end, None
        case "lt" | "eb":
            since, before = None, begin
        case "le":
            since, before = None, end
        case _:
            raise NotUnderstood("A date has a prefix that is not known.")
    if since is not None and (wanted.since is None or since > wanted.since):
        wanted = replace(wanted, since=since)
    if before is not None and (wanted.before is None or before < wanted.before):
        wanted = replace(wanted, before=before)
    return wanted


def _span(text: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """From and to of a date or a time, in UTC; a date is a day of that zone."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus in an address is a blank
    except ValueError:
        raise NotUnderstood("A date is none: YYYY-MM-DD, or with a time and its zone.") from None
    length = timedelta(days=1) if len(text) == len("2026-01-01") else timedelta(seconds=1)
    if moment.tzinfo is None:
        if length < timedelta(days=1):
            raise NotUnderstood("A time has no zone: write +07:00 or Z after it.")
        moment = moment.replace(tzinfo=zone)
    if not datetime(1900, 1, 1, tzinfo=UTC) < moment < datetime(9000, 1, 1, tzinfo=UTC):
        raise NotUnderstood("A date lies too far away.")
    return moment.astimezone(UTC), (moment + length).astimezone(UTC)


def cursor(created_at: datetime, report_uid: str) -> str:
    """Where the next page begins; UIDs and times only."""
    text = f"{created_at.astimezone(UTC).isoformat()}|{report_uid}"
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def read_cursor(text: str) -> tuple[datetime, str]:
    """The reverse. Raises NotUnderstood."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
        at, _, uid = raw.partition("|")
        moment = datetime.fromisoformat(at)
    except (ValueError, binascii.Error):
        raise NotUnderstood("The cursor is not one of ours.") from None
    if moment.tzinfo is None:
        raise NotUnderstood("The cursor is not one of ours.")
    return moment, uid
