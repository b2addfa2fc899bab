"""What the resources of a FHIR R4 bundle share: times, identifiers, the order, the study and the devices."""

from __future__ import annotations

from datetime import datetime

from hoichan import codes
from hoichan.encoding.equipment import Device, devices
from hoichan.encoding.fhir_parts import (
    INSURANCE_NUMBER,
    TERMINOLOGY,
    Json,
    coding,
    concept,
    dicom_identifier,
    patient_reference,
    v2,
)
from hoichan.encoding.source import DocumentContext
from hoichan.settings import Site
from hoichan.types import Finding, Measurement, Series
from hoichan.uids import derived_uuid

MOST_INSTANCES_LISTED = 20  # per series; a CT would only swell the bundle

AIAST: Json = {
    "system": f"{TERMINOLOGY}/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}


class BundleBuilder:
    """One bundle in the making: what all its resources share."""

    def __init__(self, context: DocumentContext, site: Site) -> None:
        self.context, self.site = context, site
        self.study, self.report, self.language = context.study, context.report, context.language
        self.devices = devices(context)
        self.study_id = derived_uuid(self.study.study_instance_uid, "imaging-study")
        known_as = self.report.review.known_as if self.report.review else self.report.report_uid
        self.report_id = derived_uuid(known_as, "report")
        reference = patient_reference(self.study, site)
        self.subject: Json = {"type": "Patient"}
        if reference is not None:
            self.subject["reference"] = reference
        else:
            self.subject["display"] = "unknown"
        insurance = self.study.patient.insurance_number
        if insurance is not None:  # beside the reference, where it came to us as such
            kind = v2("v2-0203", "HC", "Health Card Number")
            self.subject["identifier"] = {
                "type": kind,
                "system": INSURANCE_NUMBER,
                "value": insurance.reveal(),
            }
        self.issued = self._time(self.report.created_at)
        self.effective = self._time(self.study.study_datetime or self.report.created_at)

    def _time(self, moment: datetime) -> str:
        return moment.astimezone(self.context.zone).isoformat(timespec="seconds")

    def _system(self, name: str) -> str:
        return f"{self.site.identifier_base}/id/{name}"

    def _create(self, identity: object, resource: Json, system: str, value: str) -> Json:
        kind = resource["resourceType"]
        request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={system}|{value}"}
        return {"fullUrl": f"urn:uuid:{identity}", "resource": resource, "request": request}

    def _meta(self) -> Json:
        tag = {"system": self._system("tag"), "code": "ai-unverified", "display": "AI result, not reviewed"}
        return {"security": [AIAST], "tag": [tag]}

    def _order(self) -> Json:
        """The order by its accession number; nothing where the study has none."""
        if not self.study.accession_number:
            return {}
        identifier = {
            "type": v2("v2-0203", "ACSN", "Accession ID"),
            "system": self._system("accession"),
            "value": self.study.accession_number,
        }
        return {"basedOn": [{"type": "ServiceRequest", "identifier": identifier}]}

    def _device_id(self, device: Device) -> str:
        return str(derived_uuid(device.uid, "device"))

    def _device(self, device: Device) -> Json:
        manifest = device.manifest
        versions = [{"type": {"text": "software version"}, "value": device.version}]
        resource: Json = {
            "resourceType": "Device",
            "identifier": [{"type": {"text": "DICOM Device UID"}, **dicom_identifier(device.uid)}],
            "status": "active",
            "manufacturer": device.manufacturer,
            "deviceName": [{"name": device.name, "type": "model-name"}],
            "modelNumber": device.name,
            "type": {
                "coding": [
                    {
                        "system": "http://snomed.info/sct",
                        "code": "706689003",
                        "display": "Application program software",
                    }
                ]
            },
            "version": versions,
        }
        if manifest is not None:
            versions.append({"type": {"text": "weights sha256"}, "value": manifest.weights_sha256})
            versions.append({"type": {"text": "hoichan version"}, "value": self.context.software_version})
            resource["property"] = [
                {
                    "type": concept(
                        codes.FINDINGS[output.finding_key].code, f"operating point: {output.finding_key}"
                    ),
                    "valueQuantity": [
                        {
                            "value": output.operating_point,
                            "system": "http://unitsofmeasure.org",
                            "code": "1",
                        }
                    ],
                }
                for output in getattr(manifest, "outputs", ())  # of a network for volumes: none
                if output.enabled
            ]
            notes = (manifest.intended_use, manifest.disclaimer)
            texts = [text for note in notes if (text := note.get(self.language) or note.get("en", ""))]
            if texts:
                resource["note"] = [{"text": text} for text in texts]
            if not resource["property"]:
                del resource["property"]
        identifier = dicom_identifier(device.uid)
        return self._create(self._device_id(device), resource, identifier["system"], identifier["value"])

    def _imaging_study(self) -> Json:
        identifier = dicom_identifier(self.study.study_instance_uid)
        modalities = dict.fromkeys(series.modality for series in self.study.series)
        order = self._order()
        resource: Json = {
            "resourceType": "ImagingStudy",
            "identifier": [identifier, *(item["identifier"] for item in order.get("basedOn", ()))],
            "status": "available",
            "modality": [self._modality(modality) for modality in modalities],
            "subject": self.subject,
            **({"started": self._time(self.study.study_datetime)} if self.study.study_datetime else {}),
            **order,
            "numberOfSeries": len(self.study.series),
            "numberOfInstances": len(self.study.instances),
            "series": [self._series(series) for series in self.study.series],
        }
        return self._create(self.study_id, resource, identifier["system"], identifier["value"])

    def _modality(self, modality: str) -> Json:
        return {"system": codes.SCHEME_TO_SYSTEM["DCM"], "code": modality}

    def _series(self, series: Series) -> Json:
        resource: Json = {
            "uid": series.series_instance_uid,
            **({"number": series.series_number} if series.series_number is not None else {}),
            "modality": self._modality(series.modality),
            "numberOfInstances": len(series.instances),
        }
        if (series.body_part_examined or "").strip().upper() == "CHEST":
            resource["bodySite"] = coding(codes.CHEST)
        if len(series.instances) <= MOST_INSTANCES_LISTED:
            resource["instance"] = [
                {
                    "uid": instance.sop_instance_uid,
                    "sopClass": {
                        "system": "urn:ietf:rfc:3986",
                        "code": f"urn:oid:{instance.sop_class_uid}",
                    },
                    **({"number": instance.instance_number} if instance.instance_number is not None else {}),
                }
                for instance in series.instances
            ]
        return resource

    def _device_of(self, finding: Finding | Measurement) -> Device:
        for device in self.devices:
            if (device.name, device.version) == (finding.algorithm_name, finding.algorithm_version):
                return device
        return self.devices[0]
