"""Records of the audit log as FHIR R4 AuditEvent (ITI-20 RESTful; event ids of DICOM PS3.15 A.5).

Nothing is added to what the log holds: names of accounts, roles, addresses and UIDs. The chain of hashes does
not travel; `hoichan audit verify` checks it where the log is.
"""

from __future__ import annotations

import ipaddress

from hoichan.encoding.fhir_parts import FACILITY_CODE, TERMINOLOGY, Json, dicom_identifier
from hoichan.guard.audit import EVENTS, Audited, AuditRecord
from hoichan.settings import Site
from hoichan.types import Code

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_MACHINE = "1"  # Machine Name, of network-type
_ADDRESS = "2"  # IP Address
_OBJECT = {"system": f"{TERMINOLOGY}/audit-entity-type", "code": "2", "display": "System Object"}
_OTHER = {"system": f"{TERMINOLOGY}/audit-entity-type", "code": "4", "display": "Other"}
_REPORT = {"system": f"{TERMINOLOGY}/object-role", "code": "3", "display": "Report"}
_SERVER = {"system": f"{TERMINOLOGY}/security-source-type", "code": "4", "display": "Application Server"}
_BREAK_GLASS = {"system": f"{TERMINOLOGY}/v3-ActReason", "code": "BTG", "display": "break the glass"}


def audit_event(position: int, record: AuditRecord, site: Site) -> Json:
    """One record as an AuditEvent; its id says its place in the log."""
    kind = EVENTS[record.what]
    resource: Json = {
        "resourceType": "AuditEvent",
        "id": event_id(position),
        "type": _dicom(kind.event_id),
        "subtype": [
            *([_dicom(kind.event_type)] if kind.event_type else []),
            {"system": f"{site.identifier_base}/fhir/audited", "code": record.what.value},
        ],
        "action": kind.action,
        "recorded": record.when.isoformat(timespec="milliseconds"),
        "outcome": record.outcome.value,
        "agent": [_agent(record, site)],
        "source": {
            "site": site.name,
            "observer": {
                "identifier": {"system": FACILITY_CODE, "value": site.facility_code},
                "display": "Hội Chẩn",
            },
            "type": [_SERVER],
        },
    }
    if record.what is Audited.BREAK_GLASS:
        resource["purposeOfEvent"] = [{"coding": [_BREAK_GLASS]}]
    entities = _entities(record)
    return {**resource, **({"entity": entities} if entities else {})}


def event_id(position: int) -> str:
    """The id of the resource of a record."""
    return f"log-{position}"


def _agent(record: AuditRecord, site: Site) -> Json:
    agent: Json = {
        "role": [{"coding": [{"system": f"{site.identifier_base}/fhir/role", "code": record.role}]}],
        "who": {"identifier": {"system": f"{site.identifier_base}/id/user", "value": record.who}},
        "altId": record.who,
        "requestor": True,
    }
    if record.source:
        agent["network"] = {
            "address": record.source,
            "type": _ADDRESS if _is_address(record.source) else _MACHINE,
        }
    return agent


def _entities(record: AuditRecord) -> list[Json]:
    """An entity an object; what the record says besides stands with the first, or alone."""
    entities: list[Json] = [
        {"what": {"identifier": dicom_identifier(uid)}, "type": _OBJECT, "role": _REPORT}
        for uid in record.uids
    ]
    if record.detail and entities:
        entities[0]["detail"] = [{"type": "detail", "valueString": record.detail}]
    elif record.detail:
        entities.append({"type": _OTHER, "name": record.detail})
    return entities


def _dicom(code: Code) -> Json:
    return {"system": DICOM, "code": code.code_value, "display": code.code_meaning}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
