"""One report to one receiver."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hoichan.types.reports import DocumentKind
from hoichan.types.words import SOPInstanceUID, StudyInstanceUID


class DeliveryState(StrEnum):
    """Where one delivery stands."""

    PENDING = "pending"  # to be sent, or tried again at next_attempt_at
    SENT = "sent"  # acknowledged
    DEAD = "dead"  # refused: a person must look; can be replayed
    CANCELLED = "cancelled"  # not sent: a person stopped it, or a newer report is already there


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One report to one receiver, exactly once in effect: at least once, with a key."""

    report_uid: SOPInstanceUID
    study_instance_uid: StudyInstanceUID
    destination: str  # name in settings, not an address
    kind: str  # dicom | fhir | hl7v2 | folder
    documents: tuple[DocumentKind, ...]  # in sending order
    idempotency_key: str  # stable over restarts
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    acknowledgement: str | None  # DIMSE status, HTTP status, MSA-1, path
    committed_at: datetime | None = None  # the PACS took responsibility (PS3.4 annex J)
