"""Whose record a bundle goes to: the reference to the patient, and whether an EMR's patient is that person.

Never by the name alone, and never by less than two facts that agree: numbers are typed wrong, and whoever
holds the number there gets the report into the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from hoichan.encoding.fhir_parts import PATIENT_REFERENCE, Json
from hoichan.intake.names import same_name
from hoichan.types import Patient

FEWEST_FACTS = 2  # of name, birth date and sex
_GENDERS = {"M": "male", "F": "female", "O": "other"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two people, fact by fact; a fact that one of them lacks is in neither list."""

    agree: tuple[str, ...]  # of "name", "birth_date", "sex"
    differ: tuple[str, ...]

    @property
    def is_one_person(self) -> bool:
        """Enough agrees, and nothing differs but the spelling of a name."""
        return len(self.agree) >= FEWEST_FACTS and not set(self.differ) - {"name"}


def subject_of(bundle: Json) -> str | None:
    """The conditional reference of the bundle's patient; None where it has none."""
    return next((reference for reference in _references(bundle)), None)


def subject_digest(reference: str) -> str:
    """What stands for the reference where it must not be read."""
    return hashlib.sha256(reference.encode("utf-8")).hexdigest()


def with_subject(bundle: Json, reference: str) -> Json:
    """The bundle with its conditional references to the patient replaced, e.g. by "Patient/123"."""
    changed: Json = json.loads(json.dumps(bundle))
    for holder in _holders(changed):
        holder["reference"] = reference
    return changed


def identifier_of(reference: str) -> str:
    """`system|value` of a conditional reference, escaped for a search parameter, not for a URL."""
    return unquote(reference.removeprefix(PATIENT_REFERENCE))


def compare(patient: Patient, resource: Json) -> Comparison:
    """The person of a study and a Patient resource."""
    facts: dict[str, bool] = {}
    spoken = [name for name in _names(resource) if name]
    ours = patient.patient_name.reveal()
    if spoken and ours.strip("^ ="):
        facts["name"] = any(same_name(ours, name) for name in spoken)
    born = resource.get("birthDate")
    if isinstance(born, str) and len(born) == len("2000-01-01") and patient.patient_birth_date is not None:
        facts["birth_date"] = patient.patient_birth_date.reveal().isoformat() == born
    gender = resource.get("gender")
    if gender in ("male", "female") and patient.patient_sex in ("M", "F"):
        facts["sex"] = _GENDERS[patient.patient_sex] == gender
    return Comparison(
        agree=tuple(name for name, same in facts.items() if same),
        differ=tuple(name for name, same in facts.items() if not same),
    )


def _names(resource: Json) -> Iterator[str]:
    for name in resource.get("name") or ():
        if not isinstance(name, dict):
            continue
        if isinstance(name.get("text"), str):
            yield name["text"]
        given = [part for part in name.get("given") or () if isinstance(part, str)]
        family = name.get("family")
        yield " ".join([*([family] if isinstance(family, str) else []), *given])


def _holders(value: Any) -> Iterator[Json]:  # noqa: ANN401 (JSON)
    if isinstance(value, list):
        for item in value:
            yield from _holders(item)
    elif isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str) and reference.startswith(PATIENT_REFERENCE):
            yield value
        for item in value.values():
            yield from _holders(item)


def _references(bundle: Json) -> Iterator[str]:
    for holder in _holders(bundle):
        yield holder["reference"]
