"""Who made the object: the model that answered, or this service where none did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence

from hoichan.encoding.source import DocumentContext, offset_text
from hoichan.finding_table import FINDINGS, OWN_SCHEME
from hoichan.types import Finding, Measurement, ModelManifest, Report, VolumeManifest
from hoichan.uids import device_uid

SERVICE_NAME = "Hội Chẩn"
# highdicom quotes a name that it finds odd in a warning: it never sees one, `stamp` sets them afterwards.
NAMES = ("PatientName", "ReferringPhysicianName")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One observer device: a model version, or the service."""

    uid: str  # Device UID: new weights, new UID
    name: str
    version: str
    manufacturer: str
    manifest: ModelManifest | VolumeManifest | None  # None: the service itself

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


def devices(context: DocumentContext) -> tuple[Device, ...]:
    """The models that answered, in the report's order; the service itself when none did. Never empty."""
    models = tuple(
        Device(
            uid=device_uid(manifest.digest),
            name=manifest.algorithm_name,
            version=manifest.algorithm_version,
            manufacturer=manifest.algorithm_source,
            manifest=manifest,
        )
        for manifest in context.report.manifests
    )
    return models or (service_device(context.software_version),)


def service_device(software_version: str) -> Device:
    """This service as a device."""
    return Device(
        uid=device_uid(f"hoichan|{software_version}"),
        name=SERVICE_NAME,
        version=software_version,
        manufacturer=SERVICE_NAME,
        manifest=None,
    )


def manifest_of(report: Report, said: Finding | Measurement) -> ModelManifest | VolumeManifest | None:
    """The manifest of the model that made a finding or a measurement."""
    wanted = (said.algorithm_name, said.algorithm_version)
    for manifest in report.manifests:
        if (manifest.algorithm_name, manifest.algorithm_version) == wanted:
            return manifest
    return None


def long_string(text: str) -> str:
    """LO: 64 characters at most, no backslash (PS3.5 6.2)."""
    return text.replace("\\", "/")[:64].strip()


def equipment(context: DocumentContext) -> dict[str, Any]:
    """General Equipment attributes as keyword arguments of highdicom's constructors."""
    first = devices(context)[0]
    return {
        "manufacturer": long_string(first.manufacturer),
        "manufacturer_model_name": long_string(first.name),
        "software_versions": [long_string(first.version), long_string(f"hoichan {context.software_version}")],
        "device_serial_number": long_string(context.facility_code),
    }


def contributing_equipment(context: DocumentContext) -> Sequence:
    """(0018,A001), one item a device, with its Device UID (IHE AIR)."""
    return contributions(devices(context), "".join(context.created) + offset_text(context.zone))


def contributions(of: Iterable[Device], at: str) -> Sequence:
    """(0018,A001) of these devices at a moment (DT)."""
    items = []
    for device in of:
        purpose = Dataset()
        purpose.CodeValue, purpose.CodingSchemeDesignator = "Newcode1", "99IHE"
        purpose.CodeMeaning = "Processing Algorithm"
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = Sequence([purpose])
        item.Manufacturer = long_string(device.manufacturer)
        item.ManufacturerModelName = long_string(device.name)
        item.SoftwareVersions = long_string(device.version)
        item.DeviceUID = device.uid
        item.ContributionDateTime = at
        items.append(item)
    return Sequence(items)


def coding_schemes(*, private: bool = False) -> Sequence:
    """(0008,0110): who is answerable for codes that no public scheme has."""
    ihe = Dataset()
    ihe.CodingSchemeDesignator = "99IHE"
    ihe.CodingSchemeName = "IHE AI Results codes not yet assigned"
    ihe.CodingSchemeResponsibleOrganization = "IHE International"
    if not private:
        return Sequence([ihe])
    own = Dataset()
    own.CodingSchemeDesignator = "99HOICHAN"
    own.CodingSchemeName = "Codes of Hoi Chan for what has no public code"
    own.CodingSchemeResponsibleOrganization = "Hoi Chan"
    return Sequence([ihe, own])


def stamp(document: Dataset, context: DocumentContext) -> None:
    """Dates, zone, names and contributing equipment: what highdicom sets to "now", quotes, or leaves out."""
    document.ContentDate, document.ContentTime = context.created
    document.InstanceCreationDate, document.InstanceCreationTime = context.created
    document.TimezoneOffsetFromUTC = offset_text(context.zone)
    document.ContributingEquipmentSequence = contributing_equipment(context)
    header = context.header
    for keyword in (*NAMES, "IssuerOfPatientID", "StudyDescription"):
        if keyword in header:
            setattr(document, keyword, header.get(keyword))
    schemes = {FINDINGS[one.key].code.coding_scheme_designator for one in context.report.findings}
    private = OWN_SCHEME in schemes or bool(context.report.measurements)
    document.CodingSchemeIdentificationSequence = coding_schemes(private=private)
