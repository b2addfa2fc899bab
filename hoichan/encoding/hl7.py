"""The report as an HL7 v2.5.1 ORU^R01 message, one a receiver (chapter 7; OBR-18 as in IHE SWF).

Codes and numbers are those of the SR, and every statement also stands as TX, because many receivers keep
nothing else; the first TX is the banner. MSH-10 is derived from report, status and receiver, so a receiver
that sees it again knows the message already. Nothing is invented: what is not known stays empty.
"""

from __future__ import annotations

import base64
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime

from hoichan import codes, er7
from hoichan.encoding.equipment import Device, devices
from hoichan.encoding.fhir import CERTAINTY, examination
from hoichan.encoding.hl7_parts import coded, identifiers, patient_name, person
from hoichan.encoding.hl7_words import LONGEST_LINE, sentences, statements
from hoichan.encoding.source import DocumentContext
from hoichan.reporting.signed import is_added, judgement_of
from hoichan.reporting.volume_verdicts import rejected_volumes
from hoichan.settings import Hl7Destination
from hoichan.types import (
    Code,
    Document,
    DocumentKind,
    Finding,
    Measurement,
    Patient,
    Presence,
    Report,
    ReportStatus,
    Tier,
    Verdict,
)
from hoichan.uids import derived_uuid

NAMESPACE = "HOICHAN"
MEDIA_TYPE = "x-application/hl7-v2+er7"

# OBR-25, OBX-11 (tables 0123, 0085) and ORC-5 (table 0038). An unread report: what the receiver was set to.
RESULT_STATUS: Mapping[ReportStatus, str] = {
    ReportStatus.FINAL: "F",
    ReportStatus.AMENDED: "C",
    ReportStatus.CANCELLED: "X",
    ReportStatus.WITHDRAWN: "X",
}
ORDER_STATUS: Mapping[ReportStatus, str] = {
    ReportStatus.UNVERIFIED: "A",  # some results: the order is not done before a doctor has read it
    ReportStatus.FINAL: "CM",
    ReportStatus.AMENDED: "CM",
    ReportStatus.CANCELLED: "CA",
    ReportStatus.WITHDRAWN: "CA",
}
PRIORITY: Mapping[Tier, str] = {Tier.CRITICAL: "S", Tier.URGENT: "A", Tier.ROUTINE: "R"}  # OBR-27.6
CHARACTER_SET = {"utf-8": "UNICODE UTF-8", "ascii": "ASCII"}  # MSH-18, table 0211
LANGUAGE: Mapping[str, er7.Field] = {
    "vi": ("vi", "Vietnamese", "ISO639"),
    "en": ("en", "English", "ISO639"),
}
SEXES = ("M", "F", "O")  # table 0001

IMPRESSION = Code(code_value="19005-8", coding_scheme_designator="LN", code_meaning="Impression")
IMAGES = Code(code_value="18748-4", coding_scheme_designator="LN", code_meaning="Diagnostic imaging study")
SUMMARY = Code(
    code_value="111017",
    coding_scheme_designator="DCM",
    code_meaning="CAD Processing and Findings Summary",
)
DICOM_STUDY = Code(code_value="113014", coding_scheme_designator="DCM", code_meaning="DICOM Study")


def control_id(report: Report, destination: Hl7Destination) -> str:
    """MSH-10: 20 characters, the same for the same report, status and receiver after every restart."""
    return derived_uuid(report.report_uid, report.revision, report.status, destination.name).hex[:20].upper()


def hl7_document(context: DocumentContext, destination: Hl7Destination, page: bytes = b"") -> Document:
    """The message for one receiver, with MSH-10 as its uid. `page`: the report as PDF, where one is made."""
    return Document(
        kind=DocumentKind.HL7,
        uid=control_id(context.report, destination),
        sop_class_uid=None,
        media_type=MEDIA_TYPE,
        destination=destination.name,
        content=encode_hl7(context, destination, page),
    )


def encode_hl7(context: DocumentContext, destination: Hl7Destination, page: bytes = b"") -> bytes:
    """The message as its receiver wants it, without the MLLP frame; the same input gives the same bytes."""
    message = _Oru(context, destination, page)
    return "".join(line + er7.SEGMENT_END for line in message.segments()).encode("utf-8")


def has_patient(content: bytes) -> bool:
    """Whether the message says whose report it is (PID-3)."""
    pid = er7.read(content).first("PID")
    return pid is not None and bool(pid.text(3))


class _Oru:
    """One message in the making: what its segments share."""

    def __init__(self, context: DocumentContext, destination: Hl7Destination, page: bytes) -> None:
        self.context, self.destination, self.page = context, destination, page
        self.study, self.report, self.language = context.study, context.report, context.language
        self.review = self.report.review
        self.devices = devices(context)
        self.status = RESULT_STATUS.get(self.report.status, destination.unread_status)
        self.created = self._time(self.report.created_at)
        self.observed = self._time(self.study.study_datetime or self.report.created_at)

    def segments(self) -> Iterator[str]:
        """MSH, PID, ORC, OBR, NTE, then the observations: words, summary, findings, links."""
        yield self._msh()
        yield self._pid(self.study.patient)
        yield self._segment("ORC", {**self._common_order("RE"), 9: self.created})
        yield self._obr()
        yield self._segment("NTE", {1: "1", 2: "L", 3: self.report.disclaimer[self.language]})
        observations = [*self._words(), *self._findings(), *self._measurements(), *self._links()]
        for number, observation in enumerate(observations, 1):
            yield self._segment("OBX", {1: str(number), **observation})

    # ------------------------------------------------------------------ header, patient, order
    def _msh(self) -> str:
        destination = self.destination
        return self._segment(
            "MSH",
            {
                3: destination.sending_application,
                4: destination.sending_facility or self.context.facility_code,
                5: destination.receiving_application,
                6: destination.receiving_facility,
                7: self.created,
                9: ("ORU", "R01", "ORU_R01"),
                10: control_id(self.report, destination),
                11: "P",
                12: destination.version,
                15: "AL",
                16: "NE",
                17: "VNM",
                18: CHARACTER_SET[destination.charset],
                19: LANGUAGE[self.language],
            },
        )

    def _pid(self, patient: Patient) -> str:
        born = patient.patient_birth_date
        return self._segment(
            "PID",
            {
                1: "1",
                3: identifiers(patient, self.context.facility_code),
                5: patient_name(patient.patient_name.reveal()),
                7: born.reveal().strftime("%Y%m%d") if born else "",
                8: patient.patient_sex if patient.patient_sex in SEXES else "",
            },
        )

    def _common_order(self, control: str) -> dict[int, er7.Field]:
        return {1: control, 2: self._placer(), 3: self._filler(), 5: ORDER_STATUS[self.report.status]}

    def _placer(self) -> str:
        """OBR-2: the number by which the hospital system knows its order, where one is tied to the study."""
        return (self.study.placer_order_number or "").strip()

    def _filler(self) -> er7.Field:
        """OBR-3: the accession number; without one the study itself."""
        accession = (self.study.accession_number or "").strip()
        return (accession, "ACC") if accession else (self.study.study_instance_uid, "StudyInstanceUID")

    def _obr(self) -> str:
        code, name = examination(self.context)
        fields: dict[int, er7.Field] = {
            1: "1",
            2: self._placer(),
            3: self._filler(),
            4: coded(code, local=name),
            7: self.observed,
            18: (self.study.accession_number or "").strip(),
            22: self.created,
            24: "RAD",
            25: self.status,
        }
        if self.report.tier is not None:
            fields[27] = ("", "", "", "", "", PRIORITY[self.report.tier])
        if self.review is not None:
            fields[32] = (person(self.review), self._time(self.review.signed_at))
        return self._segment("OBR", fields)

    # ------------------------------------------------------------------ observations
    def _words(self) -> Iterator[dict[int, er7.Field]]:
        """Everything that must be read, as text."""
        report, language = self.report, self.language
        if report.status is ReportStatus.UNVERIFIED:
            lines = [codes.BANNER[language], *statements(report, language)]
        else:  # a person's words: as they were signed
            paragraphs = report.conclusion[language].splitlines()
            lines = [sentence for paragraph in paragraphs for sentence in sentences(paragraph)]
        lines += textwrap.wrap(report.disclaimer[language], LONGEST_LINE)
        for number, line in enumerate(filter(None, lines), 1):
            yield self._observation("TX", coded(IMPRESSION), str(number), line)

    def _findings(self) -> Iterator[dict[int, er7.Field]]:
        """The outcome, then presence and certainty of each finding under one sub-id."""
        if self.review is None:  # of the machine's work, not of a person's
            yield self._observation("CWE", coded(SUMMARY), "", coded(codes.OUTCOMES[self.report.outcome]))
        for number, finding in enumerate(self.report.findings, 1):
            device = None if is_added(finding) else self._device_of(finding)
            present = finding.presence is Presence.PRESENT
            term = codes.FINDINGS[finding.key]
            name = coded(term.code, local=term.display[self.language], local_code=term.key)
            presence = coded(codes.PRESENCE[finding.presence])
            yield self._observation(
                "CWE",
                name,
                str(number),
                presence,
                flag="A" if present else "",
                device=device if self.review is None else None,  # it is the person who says so
            )
            if is_added(finding):
                continue
            yield {
                **self._observation(
                    "NM",
                    coded(CERTAINTY),
                    str(number),
                    f"{finding.probability * 100:.1f}",
                    flag={Presence.PRESENT: "H", Presence.ABSENT: "N"}.get(finding.presence, ""),
                    device=device,
                ),
                6: ("%", "Percent", "UCUM"),
                7: f"<{finding.operating_point * 100:.1f}",
                **self._stands(finding),
            }

    def _measurements(self) -> Iterator[dict[int, er7.Field]]:
        """Volumes; of a signed report those that a person stands for, and as deleted what he rejected.

        OBX-7 is empty: there is no reference.
        """
        rejected = [one for one, _ in rejected_volumes(self.report)]
        measured = [*self.report.measurements, *rejected]
        for number, one in enumerate(measured, len(self.report.findings) + 1):
            part = (one.code.code_value, one.display[self.language], one.code.coding_scheme_designator)
            name = (*coded(codes.VOLUME), *part)
            device = self._device_of(one) if self.review is None or one in rejected else None
            yield {
                **self._observation("NM", name, str(number), f"{one.value:g}", device=device),
                6: ("ml", "Milliliter", "UCUM"),
                **({11: "D"} if one in rejected else {}),  # table 0085: as of a rejected finding
            }

    def _stands(self, finding: Finding) -> dict[int, er7.Field]:
        """OBX-11 of the machine's number: deleted (table 0085) where a person has rejected the finding."""
        judgement = judgement_of(self.review, finding) if self.review else None
        rejected = judgement is not None and judgement.verdict is Verdict.REJECTED
        return {11: "D"} if rejected else {}

    def _links(self) -> Iterator[dict[int, er7.Field]]:
        """The study, where to see it when the site has a viewer for it, and the page (CH02, ED)."""
        uid = self.study.study_instance_uid
        yield self._observation("HD", coded(DICOM_STUDY), "", ("", uid, "ISO"))
        if self.destination.viewer_url:
            url = self.destination.viewer_url.replace("{study_instance_uid}", uid)
            yield self._observation("RP", coded(IMAGES), "", (url, NAMESPACE, "TEXT", "HTML"))
        is_in_message = 0 < len(self.page) <= self.destination.pdf_maximum_bytes
        if self.destination.pdf_url and not is_in_message:
            url = self.destination.pdf_url.replace("{study_instance_uid}", uid)
            second = "2" if self.destination.viewer_url else ""  # OBX-3 and OBX-4 together name one
            yield self._observation("RP", coded(IMAGES), second, (url, NAMESPACE, "AP", "PDF"))
        if is_in_message:
            content = base64.b64encode(self.page).decode("ascii")
            yield self._observation("ED", coded(IMAGES), "", (NAMESPACE, "AP", "PDF", "Base64", content))

    def _observation(
        self,
        value_type: str,
        identifier: er7.Field,
        sub_id: str,
        value: er7.Field,
        *,
        flag: str = "",
        device: Device | None = None,
    ) -> dict[int, er7.Field]:
        observation: dict[int, er7.Field] = {
            2: value_type,
            3: identifier,
            4: sub_id,
            5: value,
            8: flag,
            11: self.status,
            14: self.observed,
            19: self.created,
        }
        if self.review is not None and device is None:  # OBX-16: the person who answers for it
            return {**observation, 16: person(self.review)}
        device = device or self.devices[0]
        return {
            **observation,
            15: (NAMESPACE, device.label, "L"),
            17: ("AI-CAD", "AI image analysis", "L"),
            18: (device.uid, NAMESPACE),
        }

    def _device_of(self, finding: Finding | Measurement) -> Device:
        wanted = (finding.algorithm_name, finding.algorithm_version)
        return next(
            (device for device in self.devices if (device.name, device.version) == wanted), self.devices[0]
        )

    # ------------------------------------------------------------------ letters
    def _time(self, moment: datetime) -> str:
        """TS to the second, with its offset (2.A.22)."""
        return moment.astimezone(self.context.zone).strftime("%Y%m%d%H%M%S%z")[:19]

    def _segment(self, name: str, fields: Mapping[int, er7.Field]) -> str:
        return er7.segment(name, {number: self._spelled(value) for number, value in fields.items()})

    def _spelled(self, value: er7.Field) -> er7.Field:
        """The same value in the receiver's letters: NFC, or ASCII."""
        if isinstance(value, list):
            return [self._letters(repetition) for repetition in value]
        return self._letters(value)

    def _letters(self, value: er7.Repetition) -> er7.Repetition:
        if isinstance(value, str):
            return self._spell(value)
        return tuple(
            self._spell(part) if isinstance(part, str) else tuple(self._spell(text) for text in part)
            for part in value
        )

    def _spell(self, text: str) -> str:
        return er7.transliterate(text) if self.destination.charset == "ascii" else _nfc(text)


def _nfc(text: str) -> str:
    """NFC, and no half of a surrogate pair, which UTF-8 cannot say."""
    return unicodedata.normalize("NFC", text).encode("utf-8", "replace").decode("utf-8")
