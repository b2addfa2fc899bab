"""The FHIR R4 Task that asks a radiologist to look at a machine's result, and what becomes of it.

One a study and patient, so that a later revision renews it instead of asking twice. It is `requested` with
the machine's report, `completed` with a signature, `cancelled` where a later revision has no answer any more,
and `failed` where the report was taken back.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def signed_task(entry: Json | None, *, doctor: Json, signed_at: str) -> Json | None:
    """The same Task after a signature. `doctor`: the reference to who signed."""
    if entry is None:
        return None
    resource: Json = entry["resource"]
    resource["status"] = "completed"
    resource["owner"] = doctor
    resource["lastModified"] = signed_at
    resource["output"] = [{"type": {"text": "DiagnosticReport"}, "valueReference": resource["focus"]}]
    identifier = resource["identifier"][0]
    return _entry(identifier["value"], resource, identifier["system"], is_new=False)


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
