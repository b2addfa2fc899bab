"""What the machine did, as FHIR R4 AuditEvent: received, analysed, answered, sent (DICOM PS3.15 A.5.3).

From the trail of each study: UIDs, AE titles, names of receivers in the settings, counts. No patient is named
and none is identified: who may know whose study it is finds that by its UID.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hoichan.encoding.fhir_audit import DICOM, audit_event
from hoichan.encoding.fhir_parts import Json
from hoichan.guard.audit import Audited, AuditRecord, Outcome
from hoichan.settings import Site

# Of the trail: what is an audited event, and whether it went well. The rest of the trail is our own work.
WHAT: Mapping[str, tuple[Audited, Outcome]] = {
    "instances_received": (Audited.INSTANCES_RECEIVED, Outcome.SUCCESS),
    "analysis_begun": (Audited.ANALYSED, Outcome.SUCCESS),
    "report_saved": (Audited.RESULT_CREATED, Outcome.SUCCESS),
    "delivery_acknowledged": (Audited.SENT, Outcome.SUCCESS),
    "delivery_postponed": (Audited.SENT, Outcome.MINOR_FAILURE),
    "delivery_refused": (Audited.SENT, Outcome.SERIOUS_FAILURE),
    "delivery_set_aside": (Audited.SENT, Outcome.SERIOUS_FAILURE),
}
BY_DICOM = frozenset({"dicom", "dicomweb"})  # kinds of receivers that get DICOM instances; others: an export
_COUNTS = ("instances", "revision", "attempt")  # of the details; nothing that a receiver wrote
_SOURCE = {"system": DICOM, "code": "110153", "display": "Source Role ID"}
_DESTINATION = {"system": DICOM, "code": "110152", "display": "Destination Role ID"}
_APPLICATION = {"system": DICOM, "code": "110150", "display": "Application"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineEvent:
    """A line of a trail, and who else had part in it."""

    position: int
    at: datetime
    event: str
    study_instance_uid: str
    details: Mapping[str, Any]
    calling_ae_title: str


def machine_event(line: MachineEvent, site: Site, *, ours: str, kinds: Mapping[str, str]) -> Json | None:
    """An AuditEvent; None for what is none. `ours`: our AE title; `kinds`: of the receivers, by name."""
    if line.event not in WHAT:
        return None
    what, outcome = WHAT[line.event]
    receiver = str(line.details.get("destination", ""))
    if what is Audited.SENT and kinds.get(receiver) not in BY_DICOM:
        what = Audited.EXPORTED
    counts = [f"{name} {line.details[name]}" for name in _COUNTS if isinstance(line.details.get(name), int)]
    record = AuditRecord(
        what=what,
        when=line.at,
        who="system",
        role="system",
        source="",
        outcome=outcome,
        uids=tuple(
            uid
            for uid in (line.study_instance_uid, line.details.get("report"))
            if isinstance(uid, str) and uid
        ),
        detail=", ".join(counts),
    )
    resource = audit_event(line.position, record, site)
    resource["id"] = f"trail-{line.position}"
    resource["agent"] = _agents(what, site, ours=ours, sender=line.calling_ae_title, receiver=receiver)
    return resource


def _agents(what: Audited, site: Site, *, ours: str, sender: str, receiver: str) -> list[Json]:
    """Ours alone, or the two ends of what was moved; who began it is the requestor."""
    if what is Audited.INSTANCES_RECEIVED:
        return [
            _agent(site, "ae", sender or "unknown", _SOURCE, requestor=True),
            _agent(site, "ae", ours, _DESTINATION),
        ]
    if what in (Audited.SENT, Audited.EXPORTED):
        return [
            _agent(site, "ae", ours, _SOURCE, requestor=True),
            _agent(site, "destination", receiver, _DESTINATION),
        ]
    return [_agent(site, "ae", ours, _APPLICATION, requestor=True)]


def _agent(site: Site, system: str, name: str, role: Json, *, requestor: bool = False) -> Json:
    return {
        "type": {"coding": [role]},
        "who": {"identifier": {"system": f"{site.identifier_base}/id/{system}", "value": name}},
        "altId": name,
        "requestor": requestor,
    }
