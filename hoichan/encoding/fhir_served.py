"""The resources of a kept bundle as a FHIR R4 server gives them: with ids, and references that resolve.

Logical ids say where a resource is kept, so that reading one needs no list of them: an ImagingStudy has its
Study Instance UID, a DiagnosticReport and its Provenance the UID of the report, everything else the UID of
the report and its place in the bundle. All are dots, digits and a hyphen, 64 characters at most (FHIR `id`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import unquote

from hoichan.encoding.fhir_parts import PATIENT_REFERENCE, Json

TYPES = ("DiagnosticReport", "Observation", "ImagingStudy", "Media", "Device", "Provenance")
TASK = "Task"  # at `/fhir/Task` stand our jobs, not what an EMR's people are asked
_STATEMENTS = frozenset({"DiagnosticReport", "Observation", "Media"})
_TAKEN_BACK = {"status": "entered-in-error"}
_OF_THE_REPORT = frozenset({"DiagnosticReport", "Provenance"})


def served(
    bundle: bytes,
    *,
    report_uid: str,
    study_instance_uid: str,
    created_at: datetime,
    withdrawn: bool = False,
) -> list[Json]:
    """The resources of one report's bundle, in its order, each with `id` and `meta.lastUpdated`.

    What was taken back says so, whatever status it was written with.
    """
    entries = json.loads(bundle)["entry"]
    entries = [one for one in entries if one["resource"]["resourceType"] != TASK]
    ids = {
        entry["fullUrl"]: _identity(entry["resource"]["resourceType"], number, report_uid, study_instance_uid)
        for number, entry in enumerate(entries, start=1)
    }
    places = {
        entry["fullUrl"]: f"{entry['resource']['resourceType']}/{ids[entry['fullUrl']]}" for entry in entries
    }
    return [
        {
            "resourceType": entry["resource"]["resourceType"],
            "id": ids[entry["fullUrl"]],
            "meta": {
                **entry["resource"].get("meta", {}),
                "lastUpdated": created_at.isoformat(timespec="milliseconds"),
            },
            **{
                key: _resolved(value, places)
                for key, value in entry["resource"].items()
                if key not in ("resourceType", "id", "meta")
            },
            **(_TAKEN_BACK if withdrawn and entry["resource"]["resourceType"] in _STATEMENTS else {}),
        }
        for entry in entries
    ]


def report_of(resource_id: str) -> str:
    """The UID that a logical id begins with: the report's, or the study's for an ImagingStudy."""
    return resource_id.partition("-")[0]


def _identity(kind: str, number: int, report_uid: str, study_instance_uid: str) -> str:
    if kind == "ImagingStudy":
        return study_instance_uid
    return report_uid if kind in _OF_THE_REPORT else f"{report_uid}-{number}"


def _resolved(value: object, places: dict[str, str]) -> object:
    """The value with references inside the bundle as relative ones, and the patient by its identifier."""
    if isinstance(value, list):
        return [_resolved(item, places) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _resolved(item, places) for key, item in value.items()}
    reference = made.get("reference")
    if isinstance(reference, str):
        if reference in places:
            made["reference"] = places[reference]
        elif reference.startswith(PATIENT_REFERENCE):  # conditional: only a transaction may hold one
            del made["reference"]
            system, _, number = unquote(reference.removeprefix(PATIENT_REFERENCE)).partition("|")
            made["identifier"] = {"system": system, "value": _unescaped(number)}
    return made


def _unescaped(value: str) -> str:
    """A value of a search parameter as it is meant (FHIR R4 search 3.1.1.4.1)."""
    return re.sub(r"\\([\\,|$])", r"\1", value)


def values_at(resource: Json, path: str) -> Iterator[Json | str]:
    """Every value under a dotted path; lists are walked through."""
    found: list[object] = [resource]
    for name in path.split("."):
        found = [
            item
            for place in found
            if isinstance(place, dict) and name in place
            for item in (place[name] if isinstance(place[name], list) else [place[name]])
        ]
    yield from (item for item in found if isinstance(item, (dict, str)))
