"""Taking a report back where it lies with the wrong patient: the same statements, marked as wrong.

Made from the bytes that were sent, so that each receiver finds what it has: FHIR resources by their
identifiers with the status `entered-in-error`, HL7 observations under the same order with OBX-11 `W` (table
0085: posted as wrong, e.g. transmitted for the wrong patient), DICOM objects by a rejection note with the
title 113037 "Rejected for Patient Safety Reasons". The former patient stays in it: that is whose record is
mended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO

import highdicom as hd
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset, dcmread

from hoichan import er7
from hoichan.encoding.fhir_parts import PATIENT_REFERENCE, Json
from hoichan.encoding.source import offset_text, zone_of
from hoichan.types import Document, DocumentKind
from hoichan.uids import derived_uid, derived_uuid

PATIENT_SAFETY = CodedConcept("113037", "DCM", "Rejected for Patient Safety Reasons")
SERIES_NUMBER = 9022
WITHDRAWN = {
    "vi": "KẾT QUẢ AI NÀY ĐÃ ĐƯỢC RÚT LẠI: thông tin người bệnh của ca chụp đã được đính chính.",
    "en": "THIS AI RESULT IS WITHDRAWN: the patient of the study was corrected.",
}
BY_A_READER = {
    "vi": "KẾT QUẢ NÀY ĐÃ ĐƯỢC BÁC SĨ RÚT LẠI. Không sử dụng kết quả này.",
    "en": "THIS REPORT WAS WITHDRAWN BY A PHYSICIAN. Do not use it.",
}
BY_A_NOTE = {
    "vi": "KẾT QUẢ AI NÀY ĐÃ BỊ LOẠI BỎ TẠI HỆ THỐNG LƯU TRỮ HÌNH ẢNH. Không sử dụng kết quả này.",
    "en": "THIS AI RESULT WAS REJECTED AT THE IMAGE ARCHIVE. Do not use it.",
}
_TAKEN_BACK = ("DiagnosticReport", "Observation", "Media", "Task")
_POINTERS = (
    "partOf",
    "derivedFrom",
    "device",
    "imagingStudy",
    "operator",
    "requester",
)  # to entries that are left out


def retraction_uid(report_uid: str) -> str:
    """Of the report that takes another back; the same at every try."""
    return derived_uid(report_uid, "withdrawn")


def withdraw(
    documents: Sequence[Document],
    *,
    language: str,
    now: datetime,
    words: Mapping[str, str] = WITHDRAWN,
) -> list[Document]:
    """The documents that take these back: one bundle, one message a receiver, one rejection note.

    `now` is in the site's zone; `words`: why, by language. What a receiver cannot be told by marking it is
    left out.
    """
    made: list[Document] = []
    objects: dict[str, Dataset] = {}  # one of the SR, whatever classes it was written in
    for one in documents:
        if one.media_type == "application/dicom" and one.kind is not DocumentKind.KOS:
            objects.setdefault(one.uid, dcmread(BytesIO(one.content)))
    if objects:
        made.append(_note(list(objects.values()), words[language], now))
    for one in documents:
        if one.kind in (DocumentKind.FHIR, DocumentKind.IMR):
            made.append(_like(one, withdrawn_bundle(one.content, words[language])))
        elif one.kind is DocumentKind.HL7:
            made.append(_like(one, withdrawn_message(one.content, words[language], now)))
    return made


def _like(one: Document, content: bytes) -> Document:
    uid = str(derived_uuid(one.uid, "withdrawn"))
    if one.kind is DocumentKind.HL7:
        uid = er7.read(content).control_id
    return Document(
        kind=one.kind,
        uid=uid,
        sop_class_uid=None,
        media_type=one.media_type,
        destination=one.destination,
        content=content,
    )


# ------------------------------------------------------------------ FHIR
def withdrawn_bundle(content: bytes, words: str) -> bytes:
    """The bundle that marks report, observations and picture of another as entered in error."""
    bundle = json.loads(content)
    entries = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] in _TAKEN_BACK]
    for entry in entries:
        resource, request = entry["resource"], entry["request"]
        resource["status"] = "entered-in-error"
        for name in _POINTERS:
            resource.pop(name, None)
        for name in ("subject", "for"):
            if name in resource:
                resource[name] = _logical(resource[name])
        if resource["resourceType"] == "Task":  # it was asked for, and cannot be done
            resource["status"] = "failed"
            resource["statusReason"] = {"text": words}
        if resource["resourceType"] == "DiagnosticReport":
            resource["conclusion"] = words
            resource.pop("presentedForm", None)
        if "ifNoneExist" in request:  # a signed report updates as it is
            url = f"{resource['resourceType']}?{request['ifNoneExist']}"
            entry["request"] = {"method": "PUT", "url": url}
    bundle["entry"] = entries
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _logical(subject: Json) -> Json:
    """The patient by identifier alone: after a merge the receiver may have none under it any more."""
    reference = subject.get("reference", "")
    if not reference.startswith(PATIENT_REFERENCE):
        return subject
    from urllib.parse import unquote  # noqa: PLC0415

    system, _, value = reference.removeprefix(PATIENT_REFERENCE).partition("|")
    value = unquote(value)
    for character in "$|,\\":
        value = value.replace(f"\\{character}", character)
    return {"type": "Patient", "identifier": {"system": unquote(system), "value": value}}


# ------------------------------------------------------------------ HL7 v2
def withdrawn_message(content: bytes, words: str, now: datetime) -> bytes:
    """The message that posts every observation of another as wrong, under an MSH-10 of its own."""
    lines = []
    for line in content.decode("utf-8").split(er7.SEGMENT_END):
        fields = line.split("|")
        match fields[0]:
            case "MSH":
                fields[6] = now.strftime("%Y%m%d%H%M%S%z")[:19]
                fields[9] = derived_uuid(fields[9], "withdrawn").hex[:20].upper()
            case "ORC":
                fields[5] = "CA"
            case "OBR":
                fields[22], fields[25] = now.strftime("%Y%m%d%H%M%S%z")[:19], "X"
            case "NTE":
                fields[3] = _letters(content, words)
            case "OBX":
                fields[11] = "W"
            case "":
                continue
        lines.append("|".join(fields) + er7.SEGMENT_END)
    return "".join(lines).encode("utf-8")


def _letters(content: bytes, text: str) -> str:
    """The text as the message spells: ASCII where it is all ASCII."""
    return er7.escape(er7.transliterate(text) if content.isascii() else text)


# ------------------------------------------------------------------ DICOM
def _observer() -> hd.sr.ObserverContext:
    """This program, as who saw it (PS3.16 TID 1004)."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(uid=derived_uid("device", "hoichan"), name="Hoi Chan")
    return hd.sr.ObserverContext(
        observer_type=CodedConcept("121007", "DCM", "Device"), observer_identifying_attributes=device
    )


def _note(objects: Sequence[Dataset], words: str, now: datetime) -> Document:
    """A key object selection that rejects the objects, under the patient that they name."""
    first = objects[0]
    uid = derived_uid(*(one.SOPInstanceUID for one in objects), "withdrawn")
    for one in objects:
        if "Rows" not in one and one.Modality not in ("SR", "KO", "PR", "DOC"):
            one.Rows = one.Columns = 1
    names = {keyword: first.get(keyword) for keyword in ("PatientName", "ReferringPhysicianName")}
    for one in objects:  # highdicom takes names apart its own way
        one.PatientName = one.ReferringPhysicianName = ""
    content = hd.ko.KeyObjectSelection(
        document_title=PATIENT_SAFETY,
        referenced_objects=list(objects),
        observer_device_context=_observer(),
        description=words,
    )
    maker = str(first.get("Manufacturer") or "Hoi Chan")
    document = hd.ko.KeyObjectSelectionDocument(
        evidence=list(objects),
        content=content,
        series_instance_uid=derived_uid(uid, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=maker,
        institution_name=str(first.get("InstitutionName") or "") or None,
        specific_character_set="ISO_IR 192",
    )
    document.SeriesDescription = "AI results withdrawn"
    for keyword, value in names.items():
        setattr(document, keyword, value or "")
    for keyword in ("IssuerOfPatientID", "StudyDescription", "ContributingEquipmentSequence"):
        if keyword in first:
            setattr(document, keyword, first.get(keyword))
        elif keyword in document:
            delattr(document, keyword)
    for item in document.ContentSequence:
        if item.ValueType in ("COMPOSITE", "IMAGE") and "ConceptNameCodeSequence" in item:
            del item.ConceptNameCodeSequence
    zone = zone_of(first, now.tzinfo or UTC, now)  # that of the study's own date and time
    at = now.astimezone(zone)
    written: Json = {
        "ContentDate": at.strftime("%Y%m%d"),
        "ContentTime": at.strftime("%H%M%S"),
        "InstanceCreationDate": at.strftime("%Y%m%d"),
        "InstanceCreationTime": at.strftime("%H%M%S"),
        "TimezoneOffsetFromUTC": offset_text(zone),
    }
    for keyword, text in written.items():
        setattr(document, keyword, text)
    stream = BytesIO()
    document.save_as(stream, enforce_file_format=True)
    return Document(
        kind=DocumentKind.KOS,
        uid=uid,
        sop_class_uid=str(document.SOPClassUID),
        media_type="application/dicom",
        content=stream.getvalue(),
    )
