"""Between a person and the columns that stand for one, in every table that has them."""

from __future__ import annotations

import hashlib
import json

from hoichan.adapters.rows import Row
from hoichan.privacy import Phi
from hoichan.types import Patient

PERSON = (
    "patient_id",
    "issuer_of_patient_id",
    "national_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
)


def person_row(patient: Patient) -> dict[str, object]:
    """The columns of a person. Personal values are revealed here: the database may hold them."""
    return {
        "patient_id": clean(patient.patient_id.reveal()) or "",
        "issuer_of_patient_id": clean(patient.issuer_of_patient_id),
        "national_id": clean(patient.national_id.reveal()) if patient.national_id else None,
        "patient_name": clean(patient.patient_name.reveal()) or "",
        "patient_birth_date": patient.patient_birth_date.reveal() if patient.patient_birth_date else None,
        "patient_sex": patient.patient_sex,
    }


def person(row: Row) -> Patient:
    """The person of a row; the age only where the row has one."""
    return Patient(
        patient_id=Phi(row["patient_id"]),
        issuer_of_patient_id=row["issuer_of_patient_id"],
        national_id=Phi(row["national_id"]) if row["national_id"] else None,
        patient_name=Phi(row["patient_name"]),
        patient_birth_date=Phi(row["patient_birth_date"]) if row["patient_birth_date"] else None,
        patient_sex=row["patient_sex"],
        patient_age_years=row.get("patient_age_years"),
    )


def person_stamp(study: str, patient: Patient, *more: str | None) -> str:
    """What changes whenever the person of a study does: SHA-256, hexadecimal. `more`: what else is to count.

    A page that shows somebody sends it back, so that nobody decides about a person who was not on the screen.
    """
    told = json.dumps([study, person_row(patient), *more], default=str, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def clean(text: str | None) -> str | None:
    """The text without NUL, which no database of ours can hold; None for an empty one."""
    return (text or "").replace("\x00", "").strip() or None
