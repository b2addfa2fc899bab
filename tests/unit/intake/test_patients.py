"""One person or two."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from hoichan.intake.patients import change, contradicts, is_other_person
from hoichan.privacy import Phi
from hoichan.types import Patient

HANH = Patient(
    patient_id=Phi("BN1"),
    issuer_of_patient_id=None,
    national_id=None,
    patient_name=Phi("TRAN THI HANH"),
    patient_birth_date=Phi(date(1961, 4, 2)),
    patient_sex="F",
    patient_age_years=65,
)


def but(**changes):
    return replace(HANH, **changes)


ANOTHER_NAME = {"patient_name": Phi("Lê^Bình^Văn")}
ANOTHER_DAY = {"patient_birth_date": Phi(date(1970, 1, 1))}


@pytest.mark.parametrize(
    ("told", "two"),
    [
        (but(), False),
        (but(patient_name=Phi("Trần^Hạnh^Thị")), False),
        (but(**ANOTHER_NAME), False),  # married, or a slip
        (but(**ANOTHER_DAY), False),
        (but(patient_sex="M"), False),
        (but(**ANOTHER_NAME, **ANOTHER_DAY), True),
        (but(**ANOTHER_NAME, patient_sex="M"), True),
        (but(**ANOTHER_DAY, patient_sex="M"), True),
        (but(patient_name=Phi(""), patient_birth_date=None, patient_sex=None), False),
    ],
)
def test_two_differences_are_two_people(told, two):
    assert contradicts(HANH, told) is two
    assert is_other_person(HANH, told) is two


def test_the_citizen_id_says_it_alone():
    one, other = but(national_id=Phi("079061001234")), but(national_id=Phi("079061001235"))
    assert contradicts(one, other)
    alike = replace(one, **ANOTHER_NAME, **ANOTHER_DAY, patient_id=Phi("9"))
    assert not contradicts(one, alike) and not is_other_person(one, alike)


@pytest.mark.parametrize(
    ("told", "other"),
    [
        (but(patient_id=Phi("BN2")), False),  # a second number of the same person
        (but(patient_id=Phi("BN2"), **ANOTHER_NAME), False),
        (but(patient_id=Phi("BN2"), patient_birth_date=None, patient_sex=None), True),  # only the name agrees
        (but(patient_id=Phi("")), False),
    ],
)
def test_another_number_is_another_person_unless_more_agrees(told, other):
    assert is_other_person(HANH, told) is other


def test_another_spelling_is_no_reason_to_send_anew():
    told = change(HANH, "XR1", told=but(patient_name=Phi("Trần^Hạnh^Thị")))
    assert told.fields == ("patient_name",)
    assert not told.is_material and not told.is_other_record


def test_what_is_learned_is_no_correction():
    told = change(HANH, "XR1", told=but(national_id=Phi("079061001234"), issuer_of_patient_id="BV"))
    assert set(told.fields) == {"national_id", "issuer_of_patient_id"}
    assert not told.is_material and not told.is_other_record


def test_what_is_not_told_stays():
    nothing = but(patient_id=Phi(""), patient_name=Phi(""), patient_birth_date=None, patient_sex=None)
    told = change(HANH, "XR1", told=nothing)
    assert (told.patient, told.fields, told.accession_number) == (HANH, (), "XR1")


def test_a_birth_date_brings_another_age():
    told = change(
        HANH,
        None,
        told=but(patient_birth_date=Phi(date(2012, 11, 21))),
        study_datetime=datetime(2026, 11, 20, tzinfo=UTC),
    )
    assert told.patient.patient_age_years == 13
    assert told.is_material and not told.is_other_record


def test_another_number_or_accession_number_is_another_record():
    assert change(HANH, "XR1", told=but(patient_id=Phi("BN2"))).is_other_record
    accession = change(HANH, "XR1", told=HANH, told_accession="XR2")
    assert accession.fields == ("accession_number",) and accession.is_material
    assert not change(HANH, "XR1", told=HANH, told_accession="").fields
