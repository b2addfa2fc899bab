"""Our own look at a bundle before it leaves: what libraries and many servers take although it is nonsense.

Codes of required bindings (FHIR R4), systems of codings, forms of identifiers, times and UIDs, and that every
reference finds its target. A fault is told by a place and a rule, never by a value: values are a person's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from hoichan.encoding.fhir_parts import DICOM_UID, PATIENT_REFERENCE, Json

_FINDINGS = frozenset(
    {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"}
)
_REPORTS = _FINDINGS | {"partial", "appended"}
_REQUESTS = frozenset({"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"})
_EVENTS = frozenset(
    {"preparation", "in-progress", "not-done", "on-hold", "stopped", "completed"}
    | {"entered-in-error", "unknown"}
)
_TASKS = frozenset(
    {"draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "in-progress"}
    | {"on-hold", "failed", "completed", "entered-in-error"}
)
# Required bindings of `status`, by type; a type that is not here never leaves us.
STATUS: Mapping[str, frozenset[str] | None] = {
    "Device": frozenset({"active", "inactive", "entered-in-error", "unknown"}),
    "ImagingStudy": frozenset({"registered", "available", "cancelled", "entered-in-error", "unknown"}),
    "Observation": _FINDINGS,
    "DiagnosticReport": _REPORTS,
    "Media": _EVENTS,
    "DocumentReference": frozenset({"current", "superseded", "entered-in-error"}),
    "Task": _TASKS,
    "ServiceRequest": _REQUESTS,
    "Composition": frozenset({"preliminary", "final", "amended", "entered-in-error"}),
    "Provenance": None,  # has none
    "Organization": None,
    "Practitioner": None,
    "PractitionerRole": None,
}
# What must be there, R4 cardinality 1.. of what we write.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "ImagingStudy": ("status", "subject"),
    "Observation": ("status", "code"),
    "DiagnosticReport": ("status", "code"),
    "Media": ("status", "content"),
    "DocumentReference": ("status", "content"),
    "Task": ("status", "intent"),
    "Provenance": ("target", "recorded", "agent"),
}
_PLACES = frozenset({"subject", "for", "patient"})  # where the patient may stand
_SYSTEMS = ("http://", "https://", "urn:")
_MOMENT = re.compile(
    r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])"
    r"(T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-](0\d|1[0-4]):[0-5]\d))?)?)?"
)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_DATES = frozenset({"effectiveDateTime", "occurredDateTime", "createdDateTime", "started", "creation"})
_INSTANTS = frozenset({"issued", "recorded"})
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9]\d*))+")
_UID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_CODE = re.compile(r"[^\s]+( [^\s]+)*")
_LOCAL = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def faults(bundle: Json) -> list[str]:
    """What is wrong with a transaction, e.g. "Observation.status: no code of R4"; nothing for a good one."""
    if bundle.get("resourceType") not in (None, "Bundle"):
        return ["Bundle: another resource"]
    entries = bundle.get("entry") or []
    known = {entry.get("fullUrl") for entry in entries}
    found: list[str] = []
    if len(known) != len(entries):
        found.append("Bundle.entry.fullUrl: twice")
    for entry in entries:
        resource = entry.get("resource", {})
        kind = str(resource.get("resourceType"))
        found += _of_resource(kind, resource)
        found += _of_request(kind, entry.get("request", {}))
        found += [f"{place}: {rule}" for place, rule in _walk(kind, "", resource, known)]
    return list(dict.fromkeys(found))


def _of_resource(kind: str, resource: Json) -> Iterator[str]:
    if kind not in STATUS:
        yield "Bundle.entry.resource: a type that we do not write"
        return
    statuses = STATUS[kind]
    status = resource.get("status")
    if statuses is None:
        if status is not None:
            yield f"{kind}.status: does not exist"
    elif status is not None and status not in statuses:
        yield f"{kind}.status: no code of R4"
    for name in REQUIRED.get(kind, ()):
        if not resource.get(name):
            yield f"{kind}.{name}: missing"
    if kind == "Observation":
        if sum(1 for name in resource if name.startswith("value")) > 1:
            yield "Observation.value: more than one"
        if "dataAbsentReason" in resource and any(name.startswith("value") for name in resource):
            yield "Observation.dataAbsentReason: beside a value"  # invariant obs-6


def _of_request(kind: str, request: Json) -> Iterator[str]:
    method, url = request.get("method"), str(request.get("url", ""))
    if method not in ("POST", "PUT"):
        yield "Bundle.entry.request.method: neither POST nor PUT"
    if url.partition("?")[0].partition("/")[0] != kind:
        yield "Bundle.entry.request.url: of another type"
    if kind == "Patient":
        yield "Bundle.entry.request: a patient is never written"
    condition = request.get("ifNoneExist")
    if method == "POST" and (not isinstance(condition, str) or not _is_condition(condition)):
        yield "Bundle.entry.request.ifNoneExist: no identifier"
    if method == "PUT" and url == kind:
        yield "Bundle.entry.request.url: updates nothing in particular"


def _is_condition(text: str) -> bool:
    system, bar, value = text.removeprefix("identifier=").partition("|")
    return text.startswith("identifier=") and bool(bar and value) and system.startswith(_SYSTEMS)


def _walk(place: str, name: str, value: Any, known: set[Any]) -> Iterator[tuple[str, str]]:  # noqa: ANN401 (JSON)
    """Every fault of a value and of what is in it, with its place."""
    if isinstance(value, list):
        if not value:
            yield place, "empty"
        for item in value:
            yield from _walk(place, name, item, known)
    elif isinstance(value, dict):
        if not value:
            yield place, "empty"
        yield from _of_object(place, name, value, known)
        for key, item in value.items():
            yield from _walk(f"{place}.{key}", key, item, known)
    elif isinstance(value, str):
        yield from _of_text(place, name, value)
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, "no number"
    elif value is None:
        yield place, "null"


def _of_object(place: str, name: str, value: Json, known: set[Any]) -> Iterator[tuple[str, str]]:
    if "reference" in value and name != "what":
        yield from _of_reference(place, name, str(value["reference"]), known)
    if name == "coding" or ("code" in value and "display" in value and "system" in value):
        if not str(value.get("system", "")).startswith(_SYSTEMS):
            yield f"{place}.system", "no URI"
        if not _CODE.fullmatch(str(value.get("code", ""))):
            yield f"{place}.code", "no code"
    if name == "identifier":
        system, number = str(value.get("system", "")), str(value.get("value", ""))
        if not system.startswith(_SYSTEMS) or not urlsplit(system).path:
            yield f"{place}.system", "no URI"
        if not number.strip() or "|" in number:
            yield f"{place}.value", "empty, or with a bar"
        if system == DICOM_UID and not _OID.fullmatch(number):
            yield f"{place}.value", "no urn:oid"
    if name == "valueQuantity" and ("code" in value) != ("system" in value):
        yield place, "code without system"


def _of_reference(place: str, name: str, reference: str, known: set[Any]) -> Iterator[tuple[str, str]]:
    is_patient = reference.startswith((PATIENT_REFERENCE, "Patient/"))
    if is_patient and name not in _PLACES:
        yield place, "a patient in another place"
    if name in _PLACES and not is_patient:
        yield place, "no patient"
    if reference.startswith("urn:uuid:"):
        if not _LOCAL.fullmatch(reference) or reference not in known:
            yield place, "points nowhere"
    elif not re.match(r"#|https?://|[A-Z][A-Za-z]+[/?]", reference):
        yield place, "no reference"


def _of_text(place: str, name: str, value: str) -> Iterator[tuple[str, str]]:
    if not value.strip():
        yield place, "empty"
    if name in _DATES and not _MOMENT.fullmatch(value):
        yield place, "no dateTime"
    if name in _INSTANTS and not _INSTANT.fullmatch(value):
        yield place, "no instant"
    if name == "uid" and not _UID.fullmatch(value):
        yield place, "no UID"
