"""The header that our DICOM objects share with the images they speak of.

Patient and study attributes come from the study as intake understood it (character sets repaired); dates and
times come from the source image as they stand there, because a PACS compares them as text. Whatever type 2
attribute is absent becomes empty, so that an odd source never stops a report.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo

from pydicom import Dataset

from hoichan.settings import Site
from hoichan.types import Instance, Report, Series, Study
from hoichan.uids import derived_uid

UNPAIRED_BODY_PARTS = frozenset(
    {"CHEST", "ABDOMEN", "HEAD", "NECK", "SKULL", "PELVIS", "CSPINE", "TSPINE", "LSPINE"}
)
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
_DATE = re.compile(r"[0-9]{8}")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_ORIENTATION = re.compile(r"[AFHLPR]{1,3}")
_PN_COMPONENT_GROUP_LENGTH = 64  # PS3.5 6.2, characters


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyImage:
    """The image that stands for the report: the one the most urgent finding speaks of."""

    series: Series
    instance: Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentContext:
    """All that the encoders of one report share."""

    study: Study
    report: Report
    source: Dataset | None  # header of the key image; None when it cannot be read
    key: KeyImage | None
    zone: timezone  # all dates and times of our DICOM objects are in this offset
    site_zone: tzinfo  # and those that people read on paper in this: the modality's may be another
    language: str  # vi | en
    institution_name: str
    facility_code: str
    software_version: str
    segmentations: str = ""  # binary | fractional: which form of SEG some receiver gets; "": none

    @property
    def header(self) -> Dataset:
        """A fresh copy of the patient and study attributes."""
        return shared_header(self.study, self.source, self.zone)

    @property
    def nameless_header(self) -> Dataset:
        """The same with empty names, for highdicom."""
        header = self.header
        header.PatientName = header.ReferringPhysicianName = ""
        return header

    @property
    def created(self) -> tuple[str, str]:
        """DA and TM of the report."""
        moment = self.report.created_at.astimezone(self.zone)
        return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")

    def uid(self, kind: str) -> str:
        """The UID of one thing we create for this report."""
        return derived_uid(self.report.report_uid, kind)


def document_context(
    study: Study,
    report: Report,
    *,
    source: Dataset | None,
    site: Site,
    software_version: str,
    segmentations: str = "",
) -> DocumentContext:
    """The shared ground of one report's documents. `source` is the header of `key_image`, where readable."""
    return DocumentContext(
        study=study,
        report=report,
        source=source,
        key=key_image(study, report),
        zone=zone_of(source, site.zone, study.study_datetime or report.created_at),
        site_zone=site.zone,
        language=site.language,
        institution_name=site.name,
        facility_code=site.facility_code,
        software_version=software_version,
        segmentations=segmentations,
    )


def key_image(study: Study, report: Report) -> KeyImage | None:
    """The image of the first positive finding, else of the first result, else the first image of the study.

    None when the study holds nothing with rows and columns.
    """
    places = [
        KeyImage(series=series, instance=instance) for series in study.series for instance in series.instances
    ]
    wanted = [finding.sop_instance_uid for finding in report.positives]
    wanted += [result.sop_instance_uid for result in report.results]
    wanted += [one.sop_instance_uid for one in report.measurements]
    wanted += [refusal.sop_instance_uid for refusal in report.refusals if refusal.sop_instance_uid]
    for uid in wanted:
        for place in places:
            if place.instance.sop_instance_uid == uid:
                return place
    return next((place for place in places if place.instance.rows and place.instance.columns), None)


def zone_of(source: Dataset | None, site_zone: tzinfo, at: datetime) -> timezone:
    """The offset of all times of our object: the source's own (0008,0201), else the site's at that moment."""
    text = str(source.get("TimezoneOffsetFromUTC", "") or "").strip() if source is not None else ""
    if _OFFSET.fullmatch(text):
        minutes = int(text[1:3]) * 60 + int(text[3:5])
        return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
    return timezone(at.astimezone(site_zone).utcoffset() or timedelta(0))


def offset_text(zone: timezone) -> str:
    """+0700, as in (0008,0201)."""
    return datetime(2000, 1, 1, tzinfo=zone).strftime("%z")[:5]


def shared_header(study: Study, source: Dataset | None, zone: timezone) -> Dataset:
    """Patient and study attributes for a new object; every type 2 attribute is there, at least empty.

    `source` is the header of the key image, or None when it cannot be read.
    """
    patient, header = study.patient, Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.StudyInstanceUID = study.study_instance_uid
    header.PatientID = _nfc(patient.patient_id.reveal())
    header.PatientName = person_name(patient.patient_name.reveal())
    born = patient.patient_birth_date
    header.PatientBirthDate = born.reveal().strftime("%Y%m%d") if born else ""
    header.PatientSex = patient.patient_sex if patient.patient_sex in ("M", "F", "O") else ""
    if patient.issuer_of_patient_id:
        header.IssuerOfPatientID = _nfc(patient.issuer_of_patient_id)
    header.AccessionNumber = study.accession_number or ""
    header.StudyID = study.study_id or ""
    if study.study_description:
        header.StudyDescription = _nfc(study.study_description)[:64]
    moment = study.study_datetime.astimezone(zone) if study.study_datetime else None
    header.StudyDate = _date(source) or (moment.strftime("%Y%m%d") if moment else "")
    header.StudyTime = _text(source, "StudyTime", _TIME) or (moment.strftime("%H%M%S") if moment else "")
    referring = source.get("ReferringPhysicianName", "") if source is not None else ""
    header.ReferringPhysicianName = person_name(str(referring or ""))
    return header


def body_part(source: Dataset | None) -> str:
    """(0018,0015) of the source, or ""."""
    text = str(source.get("BodyPartExamined", "") or "").strip().upper() if source is not None else ""
    return text if _CODE_STRING.fullmatch(text) else ""


def laterality(source: Dataset | None) -> str:
    """(0020,0060) or (0020,0062) of the source: L, R, or "" for unknown and unpaired."""
    for keyword in ("Laterality", "ImageLaterality"):
        text = str(source.get(keyword, "") or "") if source is not None else ""
        if text in ("L", "R"):
            return text
    return ""


def patient_orientation(source: Dataset | None) -> tuple[str, str] | None:
    """(0020,0020) of the source when it is usable: directions of a row and of a column."""
    value = source.get("PatientOrientation") if source is not None else None
    if value is None or isinstance(value, str) or len(value) != 2:
        return None
    row, column = (str(part) for part in value)
    if not (_ORIENTATION.fullmatch(row) and _ORIENTATION.fullmatch(column)):
        return None
    return row, column


def person_name(text: str) -> str:
    """A PN that fits: NFC, three groups at most, each cut to 64 characters (PS3.5 6.2)."""
    groups = _nfc(text).replace("\\", " ").split("=")[:3]
    return "=".join(group[:_PN_COMPONENT_GROUP_LENGTH].rstrip() for group in groups)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _date(source: Dataset | None) -> str:
    """(0008,0020) of the source where it is a day of the calendar; some machines write 00000000."""
    text = _text(source, "StudyDate", _DATE)
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return ""
    return text


def _text(source: Dataset | None, keyword: str, pattern: re.Pattern[str]) -> str:
    text = str(source.get(keyword, "") or "").strip() if source is not None else ""
    return text if pattern.fullmatch(text) else ""
