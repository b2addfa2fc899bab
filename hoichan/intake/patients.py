"""One person or two: what may be followed when the patient of a study is told anew, and what is asked.

A correction is followed when it comes from where people are known (the HIS, or the whole study sent again)
and nothing says that it is somebody else. Two different people are never made one by a machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from hoichan.intake.names import same_name
from hoichan.types import Patient

AGREEING = 2  # of name, birth date and sex: enough to believe that two numbers are one person's


class Source(StrEnum):
    """Where it is known from whose study it is."""

    IMAGES = "images"
    ADT_UPDATE = "adt_update"
    ADT_MERGE = "adt_merge"
    RESENT = "resent"  # every image came again, with the same pixels and another patient
    PERSON = "person"
    ORDER = "order"  # the accession number alone, of the order that is certainly the study's


class Doubt(StrEnum):
    """What a person has to decide."""

    TWO_PATIENTS = "two_patients"  # images of two people in one study; nothing is analysed
    RESENT_IN_PART = "resent_in_part"  # some images came again with another patient
    UPDATE_CONTRADICTS = "update_contradicts"  # the HIS knows another person under this number
    MERGE_CONTRADICTS = "merge_contradicts"
    ACCESSION_PROPOSED = "accession_proposed"  # the images have none, and an order fits
    PATIENT_ID_PROPOSED = "patient_id_proposed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a study when its patient is told anew."""

    patient: Patient
    accession_number: str | None
    fields: tuple[str, ...]  # DICOM keywords in snake_case of what differs; empty: nothing
    is_other_record: bool  # number or accession number: what was sent lies with the wrong record
    is_material: bool  # more than another spelling: results are sent anew


def contradicts(one: Patient, other: Patient) -> bool:
    """Whether these are two people: two citizen ids, or two of name, birth date and sex that differ."""
    if one.national_id is not None and other.national_id is not None:
        return one.national_id != other.national_id
    return sum(1 for agrees in _compared(one, other) if agrees is False) >= AGREEING


def is_other_person(one: Patient, other: Patient) -> bool:
    """Whether an image of the second must not stand in a study of the first without a person's word.

    Another number is another person, unless the citizen id or two of name, birth date and sex say otherwise.
    """
    if contradicts(one, other):
        return True
    number, another = one.patient_id.reveal().strip(), other.patient_id.reveal().strip()
    if not number or not another or number == another:
        return False
    if one.national_id is not None and one.national_id == other.national_id:
        return False
    return sum(1 for agrees in _compared(one, other) if agrees) < AGREEING


def _compared(one: Patient, other: Patient) -> Sequence[bool | None]:
    """Name, birth date and sex: True alike, False different, None not known of both."""
    names = one.patient_name.reveal(), other.patient_name.reveal()
    named = all(name.strip("^= ") for name in names)
    born = one.patient_birth_date, other.patient_birth_date
    sexes = one.patient_sex, other.patient_sex
    return (
        same_name(*names) if named else None,
        born[0] == born[1] if all(born) else None,
        sexes[0] == sexes[1] if all(sex in ("M", "F") for sex in sexes) else None,
    )


def change(
    patient: Patient,
    accession_number: str | None,
    *,
    told: Patient,
    told_accession: str | None = None,
    study_datetime: datetime | None = None,
) -> Change:
    """The patient as now told: what is not told stays as it was; the age follows the birth date."""
    merged = replace(
        told,
        patient_id=told.patient_id if told.patient_id.reveal().strip() else patient.patient_id,
        issuer_of_patient_id=told.issuer_of_patient_id or patient.issuer_of_patient_id,
        national_id=told.national_id or patient.national_id,
        patient_name=told.patient_name if told.patient_name.reveal().strip("^= ") else patient.patient_name,
        patient_birth_date=told.patient_birth_date or patient.patient_birth_date,
        patient_sex=told.patient_sex or patient.patient_sex,
    )
    born = merged.patient_birth_date
    if born is not None and born != patient.patient_birth_date and study_datetime is not None:
        merged = replace(merged, patient_age_years=_years(born.reveal(), study_datetime.date()))
    else:
        merged = replace(merged, patient_age_years=patient.patient_age_years)
    accession = (told_accession or "").strip() or accession_number
    names = ("patient_id", "issuer_of_patient_id", "national_id", "patient_name", "patient_birth_date")
    fields = [name for name in (*names, "patient_sex") if getattr(merged, name) != getattr(patient, name)] + (
        ["accession_number"] if accession != accession_number else []
    )
    respelled = same_name(merged.patient_name.reveal(), patient.patient_name.reveal())
    learned = {"issuer_of_patient_id"} if patient.issuer_of_patient_id is None else set()
    learned |= {"national_id"} if patient.national_id is None else set()
    return Change(
        patient=merged,
        accession_number=accession,
        fields=tuple(fields),
        is_other_record=bool({"patient_id", "issuer_of_patient_id"} & (set(fields) - learned)),
        is_material=bool(set(fields) - learned - ({"patient_name"} if respelled else set())),
    )


def _years(born: date, at: date) -> int:
    return max(0, at.year - born.year - ((at.month, at.day) < (born.month, born.day)))
