"""The small pieces of a FHIR R4 resource: codings, identifiers, and the reference to the patient."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from hoichan import codes
from hoichan.settings import Site
from hoichan.types import Code, Study

Json = dict[str, Any]

DICOM_UID = "urn:dicom:uid"
CITIZEN_ID = "http://fhir.hl7.org.vn/core/sid/cccd"
INSURANCE_NUMBER = "http://fhir.hl7.org.vn/core/sid/bhyt"
FACILITY_CODE = "http://fhir.hl7.org.vn/core/sid/ma-cskcb"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
PATIENT_REFERENCE = "Patient?identifier="


def coding(code: Code) -> Json:
    """A FHIR Coding."""
    system = codes.SCHEME_TO_SYSTEM[code.coding_scheme_designator]
    return {"system": system, "code": code.code_value, "display": code.code_meaning}


def concept(code: Code, text: str | None = None) -> Json:
    """A CodeableConcept with one coding and, where given, the words of the site's language."""
    return {"coding": [coding(code)], **({"text": text} if text else {})}


def v2(system: str, code: str, display: str) -> Json:
    """A CodeableConcept of a system under terminology.hl7.org."""
    return {"coding": [{"system": f"{TERMINOLOGY}/{system}", "code": code, "display": display}]}


def percent(value: float) -> Json:
    """0..1 as a Quantity in percent, one decimal, as in the SR."""
    return {"value": round(value * 100, 1), "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}


def dicom_identifier(uid: str) -> Json:
    """An Identifier that holds a DICOM UID."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def urn(identity: str) -> Json:
    """A Reference to another entry of the bundle."""
    return {"reference": f"urn:uuid:{identity}"}


def patient_reference(study: Study, site: Site) -> str | None:
    """The conditional reference to the patient: the facility's number, else the citizen id; None without.

    The value is escaped for a search parameter and then for a URL (FHIR R4 search 3.1.1.4.1).
    """
    patient = study.patient
    number = patient.patient_id.reveal().strip()
    if number:
        return f"{PATIENT_REFERENCE}{_patient_system(patient.issuer_of_patient_id, site)}|{_value(number)}"
    if patient.national_id is not None and patient.national_id.reveal().strip():
        return f"{PATIENT_REFERENCE}{CITIZEN_ID}|{_value(patient.national_id.reveal().strip())}"
    return None


def _patient_system(issuer: str | None, site: Site) -> str:
    """The issuer when it is a URI already, else the site's own system of patient numbers."""
    issuer = (issuer or "").strip()
    if issuer.startswith(("http://", "https://", "urn:")):
        return quote(issuer, safe=":/._-~")
    base = f"{site.identifier_base}/id/patient"
    return f"{base}/{quote(issuer, safe='')}" if issuer else base


def _value(text: str) -> str:
    for character in "\\,|$":
        text = text.replace(character, f"\\{character}")
    return quote(text, safe="")
