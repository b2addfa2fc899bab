"""The small pieces of an HL7 v2 message: codes, people, identifiers."""

from __future__ import annotations

import re

from hoichan import er7
from hoichan.encoding.signer import dicom_name
from hoichan.encoding.source import person_name
from hoichan.finding_table import OWN_SCHEME
from hoichan.types import Code, Patient, Review

_UID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_CITIZEN_ID = re.compile(r"[0-9]{12}")


def coded(code: Code, *, local: str = "", local_code: str = "") -> tuple[str, ...]:
    """CE or CWE: the code, and beside it the words (and key) of this site; our own scheme is L there."""
    own = (local_code, local, "L" if local_code else "") if local else ()
    scheme = code.coding_scheme_designator
    return (code.code_value, code.code_meaning, "L" if scheme == OWN_SCHEME else scheme, *own)


def person(review: Review) -> tuple[str, ...]:
    """XCN or CNN: licence number, family, given, middle."""
    family, given, middle = ([*dicom_name(review.reviewer_name).split("^"), "", ""])[:3]
    return (review.licence_number, family, given, middle)


def patient_name(text: str) -> tuple[str, ...]:
    """XPN from PN: family, given, middle stay; prefix and suffix change places (PS3.5 6.2.1.1, 2.A.88).

    Without a name: the name type U (unspecified), never an invented one.
    """
    group = next((group for group in person_name(text).split("=") if group.strip("^ ")), "")
    family, given, middle, prefix, suffix = (part.strip() for part in (group.split("^") + [""] * 5)[:5])
    name = (family, given, middle, suffix, prefix, "")
    return (*name, "L") if any(name) else (*name, "U")


def identifiers(patient: Patient, facility_code: str) -> list[er7.Repetition]:
    """The facility's number, citizen id and insurance number (BHYT), each with who gave it (table 0203).

    The last only where it came to us as such.
    """
    found: list[er7.Repetition] = []
    number = patient.patient_id.reveal().strip()
    if number:
        issuer = (patient.issuer_of_patient_id or "").strip() or facility_code
        authority = ("", issuer, "ISO") if _UID.fullmatch(issuer) else (issuer,)
        found.append((number, "", "", authority, "MR"))
    citizen = patient.national_id.reveal().strip() if patient.national_id else ""
    if _CITIZEN_ID.fullmatch(citizen):
        found.append((citizen, "", "", "BCA", "NNVNM"))
    if patient.insurance_number is not None:
        found.append((patient.insurance_number.reveal(), "", "", "VN-BHXH", "HC"))
    return found
