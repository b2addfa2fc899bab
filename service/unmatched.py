"""A person says whose record in an EMR a refused report belongs to.

The EMR's patient is looked up first, and compared with the study's: where fewer than two facts agree, or one
that cannot be a matter of spelling differs, the person has to say so a second time. Nobody is ever created.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum

from hoichan.adapters.fhir_client import FhirClient
from hoichan.adapters.matches_sql import MatchesSql, Unmatched
from hoichan.encoding.fhir import addressed_to
from hoichan.encoding.fhir_subject import Comparison, compare, subject_digest, subject_of
from hoichan.ports import Studies
from hoichan.settings import FhirDestination, Settings
from hoichan.types import DeliveryState, DocumentKind

_ID = re.compile(r"(?:Patient/)?([A-Za-z0-9.\-]{1,64})")  # FHIR `id`


class Answer(StrEnum):
    """What came of it."""

    MATCHED = "matched"  # the report is on its way
    ANSWERED = "answered"  # somebody was quicker, or it waits no more
    UNKNOWN = "unknown"  # the EMR has no such patient, or does not show it
    DIFFERS = "differs"  # say it a second time


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The answer, and how the two people compare."""

    answer: Answer
    comparison: Comparison | None = None


def is_patient_id(text: str) -> bool:
    """Whether a text can be the logical id of a patient."""
    return _ID.fullmatch(text.strip()) is not None


def match(
    settings: Settings,
    matches: MatchesSql,
    studies: Studies,
    idempotency_key: str,
    *,
    patient_id: str,
    confirmed: bool,
    who: str,
) -> Said:
    """Send a refused report to the patient with this logical id. Raises Unreachable, RecordsUnavailable."""
    found = matches.unmatched(idempotency_key)
    identity = _ID.fullmatch(patient_id.strip())
    destination = _destination(settings, found[0].destination) if found else None
    if not found or destination is None:
        return Said(answer=Answer.ANSWERED)
    subject = _subject(destination, studies, found[0])
    resource = FhirClient(destination).read("Patient", identity[1]) if identity is not None else None
    if identity is None or resource is None or subject is None:
        return Said(answer=Answer.UNKNOWN)
    comparison = compare(found[0].patient, resource)
    if not comparison.is_one_person and not confirmed:
        return Said(answer=Answer.DIFFERS, comparison=comparison)
    study = found[0].study_instance_uid
    reference = f"Patient/{identity[1]}"
    matches.choose(destination.name, study, subject_digest(subject), reference=reference, who=who)
    studies.note(
        study,
        "patient_matched",
        destination=destination.name,
        user=who,
        agree=len(comparison.agree),
        differ=len(comparison.differ),
    )
    for delivery in studies.deliveries(study):
        if delivery.destination == destination.name and delivery.state is DeliveryState.DEAD:
            studies.revive(delivery.idempotency_key)
    return Said(answer=Answer.MATCHED, comparison=comparison)


def _destination(settings: Settings, name: str) -> FhirDestination | None:
    for destination in settings.effective_destinations:
        if destination.name == name and isinstance(destination, FhirDestination):
            return destination
    return None


def _subject(destination: FhirDestination, studies: Studies, one: Unmatched) -> str | None:
    """The reference as it was sent to this receiver."""
    delivery = studies.delivery(one.idempotency_key)
    for document in studies.documents(delivery):
        if document.kind in (DocumentKind.FHIR, DocumentKind.IMR):
            sent = addressed_to(
                document.content,
                unread_status=destination.unread_status,
                patient_identifier_system=destination.patient_identifier_system,
            )
            return subject_of(json.loads(sent))
    return None
