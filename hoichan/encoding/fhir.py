"""The report as a FHIR R4 (4.0.1) transaction bundle.

Every entry that has an identifier is a conditional create, so the same bundle sent twice is filed once;
Provenance has no identifier and is PUT under a derived id. The patient is only ever referred to by a
conditional reference and never created: no match, or two, and the receiver refuses the whole bundle. Each
statement of the machine carries the label AIAST (Artificial Intelligence asserted). Codes and numbers are
those of the SR.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Literal

from hoichan import codes
from hoichan.encoding.fhir_parts import (
    CITIZEN_ID,
    FACILITY_CODE,
    INSURANCE_NUMBER,
    PATIENT_REFERENCE,
    Json,
    concept,
    dicom_identifier,
    percent,
    urn,
    v2,
)
from hoichan.encoding.fhir_shared import BundleBuilder
from hoichan.encoding.fhir_signed import sign_observation, sign_provenance, sign_report, sign_volume
from hoichan.encoding.fhir_task import review_task, signed_task
from hoichan.encoding.images import key_picture_uid
from hoichan.encoding.source import DocumentContext, body_part
from hoichan.reporting.signed import verdict_of
from hoichan.reporting.volume_verdicts import measurement_id, rejected_volumes, volume_judgement_of
from hoichan.settings import Site
from hoichan.types import Code, Finding, Measurement, Presence, Review
from hoichan.uids import derived_uuid

UnreadStatus = Literal["partial", "preliminary"]

CHEST_FILM_LOINC = Code(
    code_value="36554-4", coding_scheme_designator="LN", code_meaning="XR Chest Single view"
)
IMAGING_STUDY_LOINC = Code(
    code_value="18748-4", coding_scheme_designator="LN", code_meaning="Diagnostic imaging study"
)
CERTAINTY = Code(code_value="111012", coding_scheme_designator="DCM", code_meaning="Certainty of Finding")
OPERATING_POINT = Code(
    code_value="111071", coding_scheme_designator="DCM", code_meaning="CAD Operating Point"
)
EXAMINATION = {
    "chest": {"vi": "X-quang ngực thẳng", "en": "Chest film, frontal"},
    "other": {"vi": "Chẩn đoán hình ảnh", "en": "Diagnostic imaging"},
}
VOLUME_OF = {"vi": "Thể tích", "en": "Volume:"}
REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"


def encode_fhir(context: DocumentContext, site: Site, picture_jpeg: bytes, page: bytes = b"") -> bytes:
    """The bundle as UTF-8 JSON; the same input gives the same bytes.

    The report's status is `partial` (nobody has read it); `addressed_to` adapts it to a receiver. A signed
    report updates what the machine's made. `page`: the report as PDF, only of a signed one.
    """
    builder = _Builder(context, site)
    review = context.report.review
    return _dump(builder.signed_bundle(review, page) if review else builder.bundle(picture_jpeg))


def addressed_to(
    content: bytes,
    *,
    unread_status: UnreadStatus,
    patient_identifier_system: str | None,
    review_task: bool = True,
) -> bytes:
    """The bundle in one receiver's dialect; the same bytes when the receiver asks for nothing special.

    Citizen id and insurance number keep their national systems whatever the receiver calls its own numbers.
    """
    bundle = json.loads(content)
    if not review_task:
        bundle["entry"] = [one for one in bundle["entry"] if one["resource"]["resourceType"] != "Task"]
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] == "DiagnosticReport" and resource["status"] == "partial":
            resource["status"] = unread_status
        for name in ("subject", "for"):  # Task.for
            if patient_identifier_system and name in resource:
                _readdress(resource[name], patient_identifier_system)
    return _dump(bundle)


def has_patient(content: bytes) -> bool:
    """Whether the bundle says whose report it is; one that takes a report back always does."""
    text = content.decode("utf-8")
    return PATIENT_REFERENCE in text or '"status":"entered-in-error"' in text


def _readdress(subject: Json, system: str) -> None:
    own_identifier = subject.get("identifier")
    if own_identifier is not None and own_identifier["system"] not in (CITIZEN_ID, INSURANCE_NUMBER):
        own_identifier["system"] = system
    reference = subject.get("reference", "")
    own, _, value = reference.removeprefix(PATIENT_REFERENCE).partition("|")
    if reference.startswith(PATIENT_REFERENCE) and own != CITIZEN_ID:
        subject["reference"] = f"{PATIENT_REFERENCE}{system}|{value}"


def examination(context: DocumentContext) -> tuple[Code, str]:
    """What was examined, as a LOINC code and in the site's language."""
    key = context.key
    chest = (
        key is not None
        and key.series.modality in ("CR", "DX")
        and body_part(context.source) == "CHEST"
        and len(context.study.instances) == 1
    )
    name = EXAMINATION["chest" if chest else "other"][context.language]
    return (CHEST_FILM_LOINC if chest else IMAGING_STUDY_LOINC), name


def _dump(bundle: Json) -> bytes:
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


class _Builder(BundleBuilder):
    """The statements of the report: machine's, or signed."""

    def bundle(self, picture_jpeg: bytes) -> Json:
        entries = [self._device(device) for device in self.devices]
        entries.append(self._imaging_study())
        observations = [self._observation(finding) for finding in self.report.findings]
        observations += [self._measurement(one) for one in self.report.measurements]
        entries += [*observations, self._media(picture_jpeg)]
        entries.append(self._report([entry["fullUrl"] for entry in observations]))
        entries.append(self._provenance([entry["fullUrl"] for entry in observations]))
        return {"resourceType": "Bundle", "type": "transaction", "entry": [*entries, *self._task()]}

    def signed_bundle(self, review: Review, page: bytes) -> Json:
        """What a person signed, as updates of what the machine's bundle made."""
        doctor: Json = {
            "type": "Practitioner",
            "identifier": {"system": self._system("licence"), "value": review.licence_number},
            "display": review.reviewer_name,
        }
        entries = [self._device(device) for device in self.devices]
        entries.append(self._imaging_study())
        system = self._system("observation")
        observations = [
            sign_observation(self._observation(finding), finding, review, system=system, doctor=doctor)
            for finding in self.report.findings
        ]
        observations += [
            sign_volume(self._measurement(one), said, review, system=system, doctor=doctor)
            for one in self.report.measurements
            if (said := volume_judgement_of(review, one)) is not None
        ]
        urls = [entry["fullUrl"] for entry in observations]
        observations += [  # taken back where they are, and no result of the report
            sign_volume(self._measurement(one), said, review, system=system, doctor=doctor)
            for one, said in rejected_volumes(self.report)
        ]
        text = f"{self.report.conclusion[self.language]}\n{self.report.disclaimer[self.language]}"
        report = sign_report(
            self._report(urls), review, system=self._system("report"), doctor=doctor, text=text, page=page
        )
        provenance = sign_provenance(
            self._provenance(urls), review, system=self._system("signed-content"), doctor=doctor
        )
        entries += [*observations, report, provenance]
        verdict = str(verdict_of(review)) if self.report.manifests else None
        entries += [
            done
            for task in self._task()
            if (done := signed_task(task, doctor=doctor, signed_at=self.issued, verdict=verdict)) is not None
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    def _task(self) -> list[Json]:
        """What asks a radiologist to look at the result; the last of the bundle."""
        made = review_task(
            self.report,
            system=self._system("task"),
            subject=self.subject,
            order=self._order(),
            report_id=str(self.report_id),
            requester_id=self._device_id(self.devices[0]),
            issued=self.issued,
            language=self.language,
        )
        return [made] if made is not None else []

    def _observation(self, finding: Finding) -> Json:
        term = codes.FINDINGS[finding.key]
        identity = derived_uuid(
            self.report.report_uid,
            "observation",
            finding.key,
            finding.sop_instance_uid,
            finding.algorithm_name,
        )
        device = self._device_of(finding)
        study = urn(str(self.study_id))
        resource: Json = {
            "resourceType": "Observation",
            "meta": self._meta(),
            "identifier": [{"system": self._system("observation"), "value": str(identity)}],
            **self._order(),
            "partOf": [study],
            "status": "preliminary",
            "category": [v2("observation-category", "imaging", "Imaging")],
            "code": concept(term.code, term.display[self.language]),
            "subject": self.subject,
            "effectiveDateTime": self.effective,
            "issued": self.issued,
            "valueCodeableConcept": concept(codes.PRESENCE[finding.presence]),
            "method": {"text": f"AI image classification ({device.label})"},
            "device": urn(self._device_id(device)),
            "derivedFrom": [study],
            "component": [
                {"code": concept(CERTAINTY), "valueQuantity": percent(finding.probability)},
                {
                    "code": concept(OPERATING_POINT, "Decision threshold"),
                    "valueQuantity": percent(finding.operating_point),
                },
                {"code": {"text": "Calibration"}, "valueString": finding.calibration},
                {"code": {"text": "SOP Instance UID"}, "valueString": finding.sop_instance_uid},
            ],
        }
        if term.site is not None:
            resource["bodySite"] = concept(term.site)
        if finding.presence is Presence.PRESENT:
            resource["interpretation"] = [v2("v3-ObservationInterpretation", "A", "Abnormal")]
        return self._create(identity, resource, self._system("observation"), str(identity))

    def _measurement(self, one: Measurement) -> Json:
        """A volume with its unit; no reference range, for there is none."""
        identity = measurement_id(self.report.report_uid, one)
        device = self._device_of(one)
        study = urn(str(self.study_id))
        quantity = {"value": one.value, "unit": one.unit, "system": codes.SCHEME_TO_SYSTEM["UCUM"]}
        resource: Json = {
            "resourceType": "Observation",
            "meta": self._meta(),
            "identifier": [{"system": self._system("observation"), "value": str(identity)}],
            **self._order(),
            "partOf": [study],
            "status": "preliminary",
            "category": [v2("observation-category", "imaging", "Imaging")],
            "code": concept(codes.VOLUME, f"{VOLUME_OF[self.language]} {one.display[self.language]}"),
            "subject": self.subject,
            "effectiveDateTime": self.effective,
            "issued": self.issued,
            "valueQuantity": {**quantity, "code": one.unit},
            "note": [{"text": codes.NO_REFERENCE[self.language]}],
            "bodySite": concept(one.code, one.display[self.language]),
            "method": {"text": f"AI image segmentation ({device.label})"},
            "device": urn(self._device_id(device)),
            "derivedFrom": [study],
            "component": [{"code": {"text": "Series Instance UID"}, "valueString": one.series_instance_uid}],
        }
        return self._create(identity, resource, self._system("observation"), str(identity))

    def _media(self, picture_jpeg: bytes) -> Json:
        """The picture itself, so that a receiver without a viewer can show it."""
        uid = key_picture_uid(self.context)
        identity = derived_uuid(uid, "media")
        identifier = dicom_identifier(uid)
        resource: Json = {
            "resourceType": "Media",
            "meta": self._meta(),
            "identifier": [identifier],
            "status": "completed",
            "type": {"text": "AI picture"},
            "subject": self.subject,
            "createdDateTime": self.issued,
            "device": urn(self._device_id(self.devices[0])),
            "content": {
                "contentType": "image/jpeg",
                "data": base64.b64encode(picture_jpeg).decode("ascii"),
                "size": len(picture_jpeg),
                "hash": base64.b64encode(hashlib.sha1(picture_jpeg, usedforsecurity=False).digest()).decode(),
                "title": codes.BANNER[self.language],
                "creation": self.issued,
            },
            "note": [{"text": self.report.disclaimer[self.language]}],
        }
        return self._create(identity, resource, identifier["system"], identifier["value"])

    def _report(self, observations: list[str]) -> Json:
        report, language = self.report, self.language
        text = f"{codes.BANNER[language]}. {report.conclusion[language]} {report.disclaimer[language]}"
        resource: Json = {
            "resourceType": "DiagnosticReport",
            "meta": self._meta(),
            **self._replaces(),
            "identifier": [
                {"system": self._system("report"), "value": str(self.report_id)},
                dicom_identifier(report.report_uid),
            ],
            **self._order(),
            "status": "partial",
            "category": [v2("v2-0074", "RAD", "Radiology")],
            "code": concept(*examination(self.context)),
            "subject": self.subject,
            "effectiveDateTime": self.effective,
            "issued": self.issued,
            "performer": [
                {
                    "type": "Organization",
                    "identifier": {"system": FACILITY_CODE, "value": self.site.facility_code},
                    "display": self.site.name,
                }
            ],
            **({"result": [{"reference": url} for url in observations]} if observations else {}),
            "imagingStudy": [urn(str(self.study_id))],
            "media": [
                {
                    "comment": codes.BANNER[language],
                    "link": urn(str(derived_uuid(key_picture_uid(self.context), "media"))),
                }
            ],
            "conclusion": text,
        }
        return self._create(self.report_id, resource, self._system("report"), str(self.report_id))

    def _replaces(self) -> Json:
        """The report of the revision before, by its identifier."""
        if self.report.predecessor is None:
            return {}
        old = str(derived_uuid(self.report.predecessor, "report"))
        identifier = {"system": self._system("report"), "value": old}
        reference = {"type": "DiagnosticReport", "identifier": identifier}
        return {"extension": [{"url": REPLACES, "valueReference": reference}]}

    def _provenance(self, observations: list[str]) -> Json:
        identity = derived_uuid(self.report.report_uid, "provenance")
        sources: list[Json] = [
            {"role": "source", "what": urn(str(self.study_id))},
            {
                "role": "source",
                "what": {
                    "identifier": dicom_identifier(self.report.report_uid),
                    "display": "DICOM SR TID 1500",
                },
            },
        ]
        if self.report.predecessor is not None:
            sources.append(
                {"role": "revision", "what": {"identifier": dicom_identifier(self.report.predecessor)}}
            )
        resource: Json = {
            "resourceType": "Provenance",
            "id": str(identity),
            "target": [urn(str(self.report_id)), *({"reference": url} for url in observations)],
            "occurredDateTime": self.issued,
            "recorded": self.issued,
            "activity": v2("v3-DataOperation", "CREATE", "create"),
            "agent": [
                {
                    "type": v2("provenance-participant-type", "assembler", "Assembler"),
                    "who": urn(self._device_id(device)),
                }
                for device in self.devices
            ],
            "entity": sources,
        }
        request = {"method": "PUT", "url": f"Provenance/{identity}"}
        return {"fullUrl": f"urn:uuid:{identity}", "resource": resource, "request": request}
