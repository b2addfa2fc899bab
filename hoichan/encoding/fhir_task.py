"""The FHIR R4 Task that asks a radiologist to look at a machine's result, and what becomes of it.

One a study and patient, so that a later revision renews it instead of asking twice. It is `requested` with
the machine's report, `completed` with a signature, `cancelled` where a later revision has no answer any more,
and `failed` where the report was taken back. Between `requested` and `completed` it is `in-progress` once
somebody has begun to read: a message of its own, for a look alone begins nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hoichan.encoding.fhir_parts import Json, urn
from hoichan.types import Outcome, Report, Tier
from hoichan.uids import derived_uuid

PRIORITY: Mapping[Tier | None, str] = {
    Tier.CRITICAL: "stat",
    Tier.URGENT: "urgent",
    Tier.ROUTINE: "routine",
    None: "routine",
}
WORDS: Mapping[str, str] = {
    "vi": "Bác sĩ xem và xác nhận kết quả AI",
    "en": "A physician looks at the AI result and confirms it",
}
APPROVE: Json = {
    "system": "http://hl7.org/fhir/CodeSystem/task-code",
    "code": "approve",
    "display": "Activate/approve the focal resource",
}
RADIOLOGIST: Json = {"system": "http://snomed.info/sct", "code": "66862007", "display": "Radiologist"}


def task_identity(study_instance_uid: str, subject: Json) -> str:
    """Of the Task of one study and patient."""
    return str(derived_uuid(study_instance_uid, subject.get("reference", ""), "review-task"))


def review_task(
    report: Report,
    *,
    system: str,
    subject: Json,
    order: Json,
    report_id: str,
    requester_id: str,
    issued: str,
    language: str,
) -> Json | None:
    """The entry beside a machine's report; None where there is nothing to look at and never was.

    `system`: of task identifiers; `order`: the reference to the order, as elements of a resource.
    """
    answered = report.outcome is not Outcome.NOT_ANALYSED
    if not answered and report.predecessor is None:
        return None
    identity = task_identity(report.study_instance_uid, subject)
    resource: Json = {
        "resourceType": "Task",
        "identifier": [{"system": system, "value": identity}],
        **order,
        "status": "requested" if answered else "cancelled",
        "intent": "order",
        "priority": PRIORITY[report.tier],
        "code": {"coding": [APPROVE], "text": WORDS[language]},
        "focus": urn(report_id),
        "for": subject,
        "authoredOn": issued,
        "lastModified": issued,
        "requester": urn(requester_id),
        "performerType": [{"coding": [RADIOLOGIST]}],
    }
    return _entry(identity, resource, system, is_new=report.predecessor is None)


def signed_task(entry: Json | None, *, doctor: Json, signed_at: str, verdict: str | None) -> Json | None:
    """The same Task after a signature by `doctor`, a reference.

    `verdict`: on the machine's result; None where no model's answer was judged.
    """
    if entry is None:
        return None
    resource: Json = entry["resource"]
    resource["status"] = "completed"
    resource["owner"] = doctor
    resource["lastModified"] = signed_at
    resource["output"] = [{"type": {"text": "DiagnosticReport"}, "valueReference": resource["focus"]}]
    if verdict is not None:
        resource["output"].append({"type": {"text": "Verdict"}, "valueCode": verdict})
    identifier = resource["identifier"][0]
    return _entry(identifier["value"], resource, identifier["system"], is_new=False)


# Of R4 task-status: what somebody may begin. Anything else has begun or ended, or is not ours to change.
NOT_BEGUN = frozenset({"draft", "requested", "received", "accepted", "ready"})
TASK_STATUSES = NOT_BEGUN | {
    *("rejected", "cancelled", "in-progress", "on-hold", "failed", "completed", "entered-in-error")
}


def begun_task(content: bytes, *, doctor: Json | None, begun_at: str) -> bytes | None:
    """The bundle that says that somebody reads, from the machine's as it was kept; None without a Task.

    `doctor`: the reference to the reader, None where there is no licence to name; `begun_at`: FHIR instant.
    """
    try:
        entries = json.loads(content)["entry"]
    except ValueError:  # no bundle that we wrote: a draft must not fail for it
        return None
    asked = next(
        (
            one["resource"]
            for one in entries
            if one["resource"]["resourceType"] == "Task" and one["resource"]["status"] == "requested"
        ),
        None,
    )
    if asked is None:
        return None
    resource: Json = {
        **asked,
        "status": "in-progress",
        "lastModified": begun_at,
        **({"owner": doctor} if doctor is not None else {}),
    }
    for name in ("focus", "requester"):  # they stand in the other bundle: named by their identifiers here
        resource[name] = _named(entries, resource[name]["reference"])
    identifier = resource["identifier"][0]
    entry = _entry(identifier["value"], resource, identifier["system"], is_new=False)
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def begun_version(entry: Json, theirs: Json) -> Json:
    """The entry as an update of the Task that is there: all of it stays but that it has begun."""
    ours = entry["resource"]
    said = {name: ours[name] for name in ("status", "lastModified", "owner") if name in ours}
    request = {"method": "PUT", "url": f"Task/{theirs['id']}"}
    version: Any = theirs.get("meta", {}).get("versionId")
    if isinstance(version, str) and version:
        request["ifMatch"] = f'W/"{version}"'
    return {**entry, "resource": {**theirs, **said}, "request": request}


def _named(entries: list[Json], url: str) -> Json:
    target = next(one["resource"] for one in entries if one["fullUrl"] == url)
    identifier = target["identifier"][0]
    return {
        "type": target["resourceType"],
        "identifier": {"system": identifier["system"], "value": identifier["value"]},
    }


def _entry(identity: str, resource: Json, system: str, *, is_new: bool) -> Json:
    """Created once; afterwards the one that is there is brought up to date."""
    condition = f"identifier={system}|{identity}"
    create = {"method": "POST", "url": "Task", "ifNoneExist": condition}
    update = {"method": "PUT", "url": f"Task?{condition}"}
    return {
        "fullUrl": f"urn:uuid:{identity}",
        "resource": resource,
        "request": create if is_new else update,
    }
