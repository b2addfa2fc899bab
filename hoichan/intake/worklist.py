"""An entry of a DICOM Modality Worklist as the order that it is (PS3.4 annex K, table K.6-1)."""

from __future__ import annotations

from datetime import tzinfo

from hoichan.intake.dataset import Header, patient_of
from hoichan.intake.door import is_uid
from hoichan.intake.orders import Order, OrderControl, OrderPriority, modality_of, region
from hoichan.privacy import Phi
from hoichan.types import Code, StudyInstanceUID

_PRIORITIES = {  # (0040,1003)
    "STAT": OrderPriority.STAT,
    "HIGH": OrderPriority.URGENT,
    "ROUTINE": OrderPriority.ROUTINE,
    "MEDIUM": OrderPriority.ROUTINE,
    "LOW": OrderPriority.ROUTINE,
}


def read_item(item: Header, zone: tzinfo) -> Order | None:
    """The order; None for an entry without a number of the patient, or without any number of its own.

    `zone`: of dates and times without an offset. What is odd becomes None.
    """
    patient = patient_of(item, zone)
    uid = item.text("StudyInstanceUID") or ""
    placer = item.text("PlacerOrderNumberImagingServiceRequest")
    filler = item.text("FillerOrderNumberImagingServiceRequest")
    accession = item.text("AccessionNumber")
    if not any((placer, filler, accession)):
        return None
    if not patient.patient_id.reveal() and patient.national_id is None:
        return None
    step = next(iter(item.items("ScheduledProcedureStepSequence")), item)
    said = [
        item.text("RequestedProcedureDescription"),
        step.text("ScheduledProcedureStepDescription"),
        *(code.text("CodeMeaning") for code in item.items("RequestedProcedureCodeSequence")),
        *(code.text("CodeMeaning") for code in step.items("ScheduledProtocolCodeSequence")),
    ]
    reasons = (item.text("ReasonForTheRequestedProcedure"), item.text("ReasonForTheImagingServiceRequest"))
    indication = "; ".join(dict.fromkeys(filter(None, reasons)))
    return Order(
        control=OrderControl.CHANGE,  # one that is not known yet is new all the same
        patient=patient,
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=accession,
        requested_procedure_id=item.text("RequestedProcedureID"),
        study_instance_uid=StudyInstanceUID(uid) if is_uid(uid) else None,
        scheduled_procedure_step_id=step.text("ScheduledProcedureStepID"),
        modality=modality_of(step.coded("Modality") or ""),
        procedure=_procedure(item),
        region=next((found for words in said if (found := region(words))), None),
        scheduled_at=step.moment("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime", zone),
        ordered_at=None,
        priority=_PRIORITIES.get(item.coded("RequestedProcedurePriority") or ""),
        indication=Phi(indication) if indication else None,
    )


def _procedure(item: Header) -> Code | None:
    for code in item.items("RequestedProcedureCodeSequence"):
        value = code.text("CodeValue")
        if value:
            return Code(
                code_value=value,
                code_meaning=code.text("CodeMeaning") or "",
                coding_scheme_designator=code.text("CodingSchemeDesignator") or "",
            )
    words = item.text("RequestedProcedureDescription")
    return Code(code_value=words, code_meaning=words, coding_scheme_designator="") if words else None
