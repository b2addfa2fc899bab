"""The health insurance number of a patient: kept where an order or the HIS typed one as such (PID-3, HC).

It belongs to the facility's number of the patient, which it came with. Where two authorities gave the same
number to two people, and a study does not say whose it is, it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.person_rows import clean
from hoichan.adapters.schema_insurance import insurance_numbers
from hoichan.types import Patient


def keep(connection: sa.Connection, patient: Patient, *, message_key: str, at: datetime) -> None:
    """What a message said of a person; the last word counts. Nothing where it named no such number."""
    patient_id = clean(patient.patient_id.reveal())
    number = clean(patient.insurance_number.reveal()) if patient.insurance_number else None
    if patient_id is None or number is None:
        return
    key = {"patient_id": patient_id, "issuer": clean(patient.issuer_of_patient_id) or ""}
    values = {"number": number, "message_key": message_key, "at": at}
    if not rows.insert_once(connection, insurance_numbers, {**key, **values}):
        connection.execute(
            insurance_numbers.update()
            .where(*(insurance_numbers.c[name] == value for name, value in key.items()))
            .values(values)
        )


def move(
    connection: sa.Connection, prior_id: str | None, prior_issuer: str | None, surviving: Patient
) -> None:
    """Two numbers became one: the one that goes on has the insurance of the other, unless it has its own."""
    new_id = clean(surviving.patient_id.reveal())
    if prior_id is None or new_id is None:
        return
    prior = (
        insurance_numbers.c.patient_id == prior_id,
        insurance_numbers.c.issuer == (prior_issuer or ""),
    )
    before = connection.execute(sa.select(insurance_numbers).where(*prior)).mappings().first()
    if before is None:
        return
    key = {"patient_id": new_id, "issuer": clean(surviving.issuer_of_patient_id) or ""}
    if key == {"patient_id": before["patient_id"], "issuer": before["issuer"]}:
        return
    rows.insert_once(connection, insurance_numbers, {**before, **key})
    connection.execute(insurance_numbers.delete().where(*prior))


def insured(connection: sa.Connection, head: Mapping[Any, Any]) -> dict[Any, Any]:
    """The row of a study with the insurance number of its patient, None where none or several are known."""
    issuer = (head["issuer_of_patient_id"] or "").strip()
    of_patient = [insurance_numbers.c.patient_id == (head["patient_id"] or "").strip()]
    if issuer:
        of_patient.append(insurance_numbers.c.issuer.in_([issuer, ""]))
    found = list(
        connection.execute(
            sa.select(insurance_numbers.c.number, insurance_numbers.c.issuer).where(*of_patient)
        )
    )
    exact = {number for number, whose in found if whose == issuer}
    numbers = exact or {number for number, _ in found}
    return {**head, "insurance_number": numbers.pop() if len(numbers) == 1 else None}
