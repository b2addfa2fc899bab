"""Which documents go to which receiver, under which key, and when to try again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from hoichan.settings import (
    AnyDestination,
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
)
from hoichan.types import (
    Delivery,
    DeliveryState,
    Document,
    DocumentKind,
    Report,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
)

# The picture before the SR that points to it; the bundle last.
SENDING_ORDER = (DocumentKind.SC, DocumentKind.SEG, DocumentKind.SR, DocumentKind.FHIR)
# The same answer in three SOP classes, the best first: a receiver gets one of them.
SR_FORMS = (DocumentKind.SR, DocumentKind.SR_COMPREHENSIVE, DocumentKind.SR_ENHANCED)
SEG_FORMS = {"binary": DocumentKind.SEG, "fractional": DocumentKind.SEG_FRACTIONAL}
IMAGES = ":images"  # ends the key of a question whether the images of a delivery are safe
READING = ":reading"  # ends the key of a note that somebody has begun to read: it holds no report
# Why a delivery is cancelled for good: its report names another patient, or was taken back. Nothing sends it.
PATIENT_CORRECTED, REJECTION_NOTE, WITHDRAWN = "patient_corrected", "rejection_note", "withdrawn"
CLOSED_FOR_GOOD = frozenset({PATIENT_CORRECTED, REJECTION_NOTE, WITHDRAWN})
SR_CLASSES: Mapping[str, tuple[DocumentKind, ...]] = {
    "auto": SR_FORMS,
    "comprehensive_3d": (DocumentKind.SR,),
    "comprehensive": (DocumentKind.SR_COMPREHENSIVE,),
    "enhanced": (DocumentKind.SR_ENHANCED,),
}


# What tells a receiver that a report of its is wrong, by its kind. A folder keeps all that a person may need.
TAKING_BACK: Mapping[str, tuple[DocumentKind, ...]] = {
    "dicom": (DocumentKind.KOS,),
    "dicomweb": (DocumentKind.KOS,),
    "hl7v2": (DocumentKind.HL7,),
    "folder": (DocumentKind.KOS, DocumentKind.FHIR),
}


def idempotency_key(report: Report, destination: AnyDestination) -> str:
    """The same report to the same receiver has the same key after every restart."""
    return f"{report.report_uid}:{destination.name}"


def is_closed(state: str, acknowledgement: str | None) -> bool:
    """Whether nobody may send a delivery any more, however it is asked for."""
    return state == DeliveryState.CANCELLED and acknowledgement in CLOSED_FOR_GOOD


def wanted(destination: AnyDestination) -> tuple[DocumentKind, ...]:
    """The kinds of document a receiver takes, in sending order. A PACS takes what its `send` lists."""
    match destination:
        case DicomDestination() | DicomwebDestination():
            return _for_pacs(destination)
        case FhirDestination():
            return (DocumentKind.IMR if destination.content == "imr" else DocumentKind.FHIR,)
        case Hl7Destination():
            return (DocumentKind.HL7,)
        case FolderDestination():
            return tuple(kind for kind in SENDING_ORDER if kind.value in destination.send)


def _for_pacs(destination: DicomDestination | DicomwebDestination) -> tuple[DocumentKind, ...]:
    """The note that takes a former result back comes first, what points to other objects after them."""
    order = {
        "kos": (DocumentKind.KOS,),
        "sc": (DocumentKind.SC,),
        "seg": (SEG_FORMS[destination.seg_form],),
        "gsps": (DocumentKind.GSPS,),
        "sr": SR_CLASSES[destination.sr_class],
        "pdf": (DocumentKind.PDF,),
    }
    return tuple(kind for name, kinds in order.items() if name in destination.send for kind in kinds)


def plan(
    report: Report,
    study: Study,
    destinations: Sequence[AnyDestination],
    documents: Sequence[Document],
    now: datetime,
) -> tuple[Delivery, ...]:
    """One delivery a destination that takes at least one of the documents, due at once.

    A NOT ANALYSED report is delivered like any other.
    """
    available = {document.kind for document in documents}
    deliveries = []
    for destination in destinations:
        kinds = tuple(kind for kind in wanted(destination) if kind in available)
        if kinds:
            deliveries.append(
                Delivery(
                    report_uid=report.report_uid,
                    study_instance_uid=study.study_instance_uid,
                    destination=destination.name,
                    kind=destination.kind,
                    documents=kinds,
                    idempotency_key=idempotency_key(report, destination),
                    state=DeliveryState.PENDING,
                    attempts=0,
                    next_attempt_at=now,
                    acknowledgement=None,
                )
            )
    return tuple(deliveries)


def taking_back(destination: AnyDestination) -> tuple[DocumentKind, ...]:
    """The kinds of document that tell a receiver that a report of its is wrong."""
    return wanted(destination) if isinstance(destination, FhirDestination) else TAKING_BACK[destination.kind]


def plan_retraction(
    retraction_uid: SOPInstanceUID,
    study: StudyInstanceUID,
    destinations: Sequence[AnyDestination],
    documents: Sequence[Document],
    now: datetime,
) -> tuple[Delivery, ...]:
    """One delivery a destination that has the report which is taken back: note, bundle or message."""
    planned = []
    for destination in destinations:
        kinds = tuple(
            kind
            for kind in taking_back(destination)
            if any(one.kind is kind and one.destination in (None, destination.name) for one in documents)
        )
        if kinds:
            planned.append(
                Delivery(
                    report_uid=retraction_uid,
                    study_instance_uid=study,
                    destination=destination.name,
                    kind=destination.kind,
                    documents=kinds,
                    idempotency_key=f"{retraction_uid}:{destination.name}",
                    state=DeliveryState.PENDING,
                    attempts=0,
                    next_attempt_at=now,
                    acknowledgement=None,
                )
            )
    return tuple(planned)


def reading_key(report_uid: SOPInstanceUID, destination: str) -> str:
    """Of the note to one receiver that somebody has begun to read a report: once a report."""
    return f"{report_uid}:{destination}{READING}"


def images_key(idempotency_key: str) -> str:
    """Of the questions whether a PACS holds the images that a delivery's report speaks of."""
    return f"{idempotency_key}{IMAGES}"


def plan_reading(
    report: Report, destinations: Sequence[AnyDestination], document: Document, now: datetime
) -> tuple[Delivery, ...]:
    """One note a FHIR receiver that gets Tasks. It follows the report, and goes before the signature."""
    return tuple(
        Delivery(
            report_uid=report.report_uid,
            study_instance_uid=report.study_instance_uid,
            destination=destination.name,
            kind=destination.kind,
            documents=(document.kind,),
            idempotency_key=reading_key(report.report_uid, destination.name),
            state=DeliveryState.PENDING,
            attempts=0,
            next_attempt_at=now,
            acknowledgement=None,
        )
        for destination in destinations
        if isinstance(destination, FhirDestination)
        and destination.review_task
        and destination.content == "full"
    )


def next_attempt(attempts: int, first: float, longest: float) -> float:
    """Seconds to wait after `attempts` failed tries (1, 2, ...): `first`, doubled, up to `longest`."""
    doublings = min(max(attempts, 1) - 1, 64)  # 2**64 seconds is beyond any cap
    return float(min(first * 2**doublings, longest))
