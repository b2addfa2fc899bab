"""From a data set to the words of this product: lenient in, valid out.

An odd optional value becomes None and never an error, because a film with a wrong age is still a film.
Only what filing needs may fail. Values are read from their bytes, so neither a warning nor an exception of
a library can carry a patient's text outside.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from pathlib import PurePosixPath

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import UID

from hoichan.errors import IncompleteObject, NotDicom
from hoichan.intake import charsets
from hoichan.intake.door import is_uid
from hoichan.intake.headers import (
    EXPLICIT_LITTLE,
    PIXEL_DATA,
    Buffer,
    Element,
    Syntax,
    inflated,
    is_deflated,
    items,
    syntax_of,
    walk,
)
from hoichan.intake.part10 import digest, read_meta
from hoichan.intake.vietnamese import LegacySet
from hoichan.ports import Spool, Spooled
from hoichan.privacy import Phi
from hoichan.types import (
    Instance,
    Patient,
    Series,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    StudyState,
    Urgency,
)

_HEADER_LIMIT = 1 << 16  # bytes; no attribute that we read is longer
_CITIZEN_ID = re.compile(r"[0-9]{12}\Z")
# Defined terms of (0018,5100), PS3.3 C.7.3.1.1.2
PATIENT_POSITIONS = frozenset(
    f"{first}F{side}" for first in ("H", "F") for side in ("P", "S", "DR", "DL")
) | frozenset({"LFP", "LFS", "RFP", "RFS", "AFDR", "AFDL", "PFDR", "PFDL"})
_CITIZEN_ISSUERS = ("VN-BCA", "CCCD")
_DAYS_OF_UNIT = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}


def read_spooled(
    spool: Spool, spooled: Spooled, zone: tzinfo, character_set: LegacySet | None = None
) -> Study:
    """The header of one file of the spool, and its SHA-256, for which every byte is read once.

    `character_set`: of the sender, where it writes one that DICOM has no term for.
    Raises NotDicom, IncompleteObject, or DamagedObject where the disk has changed what was received.
    An OSError of the disk passes through: the file is there, the disk is not.
    """
    place = spool.file(spooled.path)
    if place.stat().st_size == 0:
        raise NotDicom("The file is empty.")
    with (
        place.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        meta = read_meta(mapped)
        sha256 = digest(mapped, meta)
        syntax = syntax_of(meta.transfer_syntax_uid)
        data: Buffer = mapped
        start = meta.offset
        if is_deflated(meta.transfer_syntax_uid):
            data, start = inflated(mapped[meta.offset :], meta.transfer_syntax_uid), 0
        raw: dict[BaseTag, DataElement | RawDataElement] = {
            BaseTag(element.tag): _raw(data, element, syntax)
            for element in walk(data, syntax, start=start)  # to the end: a UID may stand behind the pixels
            if element.tag != PIXEL_DATA
        }
    data_set = Dataset(raw)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(meta.transfer_syntax_uid)
    return describe(
        data_set,
        path=spooled.path,
        sha256=sha256,
        received_at=spooled.received_at,
        calling_ae_title=spooled.calling_ae_title,
        zone=zone,
        character_set=character_set,
    )


def read_header(data: bytes, transfer_syntax_uid: str) -> Header:
    """The attributes of a small data set, such as that of a DIMSE-N request. Raises NotDicom."""
    plain = inflated(data, transfer_syntax_uid)
    syntax = syntax_of(transfer_syntax_uid)
    raw: dict[BaseTag, DataElement | RawDataElement] = {
        BaseTag(element.tag): _raw(plain, element, syntax, longest=len(plain))
        for element in walk(plain, syntax, stop_at=PIXEL_DATA)
    }
    return Header(Dataset(raw))


def describe(
    data_set: Dataset,
    *,
    path: PurePosixPath,
    sha256: Sha256,
    received_at: datetime,
    calling_ae_title: str,
    zone: tzinfo,
    character_set: LegacySet | None = None,
) -> Study:
    """A study of exactly one instance, receiving, revision 0.

    `data_set` carries its transfer syntax in `file_meta`; without one it is taken for explicit little
    endian. `zone` is that of study times which bring no offset. Raises IncompleteObject where one of the
    four UIDs is missing or malformed; every other oddity becomes None.
    """
    meta = getattr(data_set, "file_meta", None) or {}
    header = Header(data_set, legacy=character_set)
    study_datetime = header.moment("StudyDate", "StudyTime", zone)
    instance = Instance(
        sop_instance_uid=SOPInstanceUID(header.uid("SOPInstanceUID")),
        sop_class_uid=header.uid("SOPClassUID"),
        transfer_syntax_uid=str(meta.get("TransferSyntaxUID") or EXPLICIT_LITTLE),
        instance_number=header.integer("InstanceNumber"),
        number_of_frames=max(1, header.integer("NumberOfFrames") or 1),
        rows=header.integer("Rows"),
        columns=header.integer("Columns"),
        image_type=tuple(value.upper() for value in header.texts("ImageType")),
        presentation_intent_type=header.coded("PresentationIntentType"),
        path=path,
        sha256=sha256,
        received_at=received_at,
    )
    series = Series(
        series_instance_uid=SeriesInstanceUID(header.uid("SeriesInstanceUID")),
        modality=header.coded("Modality") or "OT",  # PS3.3 C.7.3.1.1.1: other
        series_number=header.integer("SeriesNumber"),
        series_description=header.text("SeriesDescription"),
        body_part_examined=header.coded("BodyPartExamined"),
        view_position=header.coded("ViewPosition") or _misplaced_view(header),
        laterality=header.coded("ImageLaterality") or header.coded("Laterality"),
        manufacturer=header.text("Manufacturer"),
        manufacturer_model_name=header.text("ManufacturerModelName"),
        instances=(instance,),
    )
    return Study(
        study_instance_uid=StudyInstanceUID(header.uid("StudyInstanceUID")),
        revision=0,
        patient=patient_of(header, zone),
        accession_number=header.text("AccessionNumber"),
        study_id=header.text("StudyID"),
        study_datetime=study_datetime,
        study_description=header.text("StudyDescription"),
        urgency=_urgency(header),
        calling_ae_title=calling_ae_title,
        series=(series,),
        state=StudyState.RECEIVING,
    )


_URGENCIES = {
    "STAT": Urgency.STAT,
    "HIGH": Urgency.URGENT,
    "ROUTINE": Urgency.ROUTINE,
    "MEDIUM": Urgency.ROUTINE,
    "LOW": Urgency.LOW,
}


def _urgency(header: Header) -> Urgency | None:
    """Of (0040,1003), at the top or in the request of the image; the former (0032,000C) where it lacks."""
    requests = [header, *header.items("RequestAttributesSequence")]
    said = [one.coded("RequestedProcedurePriority") for one in requests]
    said.append({"MED": "MEDIUM"}.get(old := header.coded("StudyPriorityID") or "", old))
    return next((_URGENCIES[word] for word in said if word in _URGENCIES), None)


def _misplaced_view(header: Header) -> str | None:
    """The view of a film whose maker wrote it into Patient Position, where HFS and the like belong."""
    position = header.coded("PatientPosition")
    is_film = header.coded("Modality") in ("CR", "DX")
    return position if is_film and position not in PATIENT_POSITIONS else None


def patient_of(header: Header, zone: tzinfo) -> Patient:
    """Whose it is, as far as the attributes of the patient say."""
    patient_id = header.text("PatientID") or ""
    issuer = header.text("IssuerOfPatientID")
    birth_date = header.date("PatientBirthDate")
    sex = header.coded("PatientSex")
    citizen_id = _citizen_id(header, patient_id, issuer)
    study_date = header.date("StudyDate")
    return Patient(
        patient_id=Phi(patient_id),
        issuer_of_patient_id=issuer,
        national_id=Phi(citizen_id) if citizen_id else None,
        patient_name=Phi(header.name("PatientName")),
        patient_birth_date=Phi(birth_date) if birth_date else None,
        patient_sex=sex if sex in ("M", "F", "O") else None,
        patient_age_years=_age(header.text("PatientAge"), birth_date, study_date),
    )


def _citizen_id(header: Header, patient_id: str, issuer: str | None) -> str | None:
    """The 12-digit personal number: named as such by its issuer, or nameless among the other ids.

    Twelve digits of another issuer are that hospital's own number, not the citizen's.
    """
    if _CITIZEN_ID.match(patient_id) and _issues_citizen_ids(issuer):
        return patient_id
    nameless = None
    for item in header.items("OtherPatientIDsSequence"):
        value = item.text("PatientID") or ""
        if not _CITIZEN_ID.match(value):
            continue
        of = item.text("IssuerOfPatientID")
        if _issues_citizen_ids(of):
            return value
        if of is None:
            nameless = nameless or value
    return nameless


def _issues_citizen_ids(issuer: str | None) -> bool:
    return any(name in (issuer or "").upper() for name in _CITIZEN_ISSUERS)


def _age(text: str | None, birth_date: date | None, study_date: date | None) -> int | None:
    """Full years: from the age string (PS3.5 6.2 AS), else from the dates. None when absurd."""
    match = re.fullmatch(r"\s*([0-9]{1,3})([DWMY]?)\s*", (text or "").upper())
    if match:
        days = int(match[1]) * _DAYS_OF_UNIT[match[2] or "Y"]
        return round(days / _DAYS_OF_UNIT["Y"]) if match[2] in ("", "Y") else int(days / _DAYS_OF_UNIT["Y"])
    if birth_date is None or study_date is None:
        return None
    had_birthday = (study_date.month, study_date.day) >= (birth_date.month, birth_date.day)
    years = study_date.year - birth_date.year - (not had_birthday)
    return years if 0 <= years <= 150 else None


class Header:
    """Reads single attributes of a data set and gives None for what cannot be understood."""

    def __init__(
        self, data_set: Dataset, declared: Sequence[str] | None = None, legacy: LegacySet | None = None
    ) -> None:
        self._data_set = data_set
        self._legacy = legacy
        self._declared: Sequence[str] = ()
        self._declared = self.texts("SpecificCharacterSet") or declared or ()

    def uid(self, keyword: str) -> str:
        """A UID that filing needs. Raises IncompleteObject."""
        value = self.text(keyword) or ""
        if not is_uid(value):
            raise IncompleteObject(f"{keyword} is missing or malformed.")
        return value

    def text(self, keyword: str) -> str | None:
        """The first value as text; None when absent or empty."""
        values = self.texts(keyword)
        return values[0] if values and values[0] else None

    def coded(self, keyword: str) -> str | None:
        """A coded string (CS) in upper case; None when absent or empty."""
        value = self.text(keyword)
        return value.upper() if value else None

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Every value as text, NFC, without padding, and without NUL, which PostgreSQL cannot hold."""
        element = self._element(keyword)
        if element is None or element.value is None:
            return ()
        if isinstance(element, RawDataElement):
            text = charsets.decode(element.value, self._declared, self._legacy)
            return tuple(part.replace("\0", "").strip() for part in text.split("\\")) if text else ()
        value = element.value
        values = value if isinstance(value, MultiValue | list | tuple) else (value,)
        found = (str(part).replace("\0", "") for part in values if part is not None)
        return tuple(charsets.repair(part) for part in found if part)

    def name(self, keyword: str) -> str:
        """The alphabetic group of a person name, family^given^middle; "" when absent (PS3.5 6.2.1)."""
        groups = (self.text(keyword) or "").split("=")
        chosen = next((group for group in groups if group.strip("^ ")), "")
        return "^".join(part.strip() for part in chosen.split("^")).rstrip("^")

    def integer(self, keyword: str) -> int | None:
        """The first value of IS, US or SS, where it is a whole number of zero or more."""
        element = self._element(keyword)
        if element is None or not element.value:
            return element.value if element is not None and element.value == 0 else None
        if isinstance(element, RawDataElement) and keyword in ("Rows", "Columns", "FailureReason"):
            if len(element.value) < 2:
                return None
            order = "<H" if element.is_little_endian else ">H"
            return int(struct.unpack_from(order, element.value)[0])
        match = re.fullmatch(r"\+?([0-9]{1,12})(\.0*)?", self.text(keyword) or "")
        return int(match[1]) if match else None

    def date(self, keyword: str) -> date | None:
        """A DA value, also in the old form with dots or with dashes."""
        match = re.fullmatch(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})", self.text(keyword) or "")
        if match is None:
            return None
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            return None

    def moment(self, date_keyword: str, time_keyword: str, zone: tzinfo) -> datetime | None:
        """Date and time in UTC; midnight where the time is missing or odd."""
        day = self.date(date_keyword)
        if day is None:
            return None
        text = (self.text(time_keyword) or "").replace(":", "")
        match = re.match(r"([01][0-9]|2[0-3])([0-5][0-9])?([0-5][0-9])?(?:\.([0-9]{1,6}))?", text)
        at = time()
        if match:
            at = time(
                int(match[1]), int(match[2] or 0), int(match[3] or 0), int((match[4] or "0").ljust(6, "0"))
            )
        try:
            return datetime.combine(day, at, self._offset() or zone).astimezone(UTC)
        except OverflowError:  # the first or the last day of the calendar
            return None

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence; empty where it cannot be read."""
        element = self._element(keyword)
        if element is None or not element.value:
            return []
        if not isinstance(element, RawDataElement):
            found_items = (item for item in element.value if isinstance(item, Dataset))
            return [Header(item, self._declared, self._legacy) for item in found_items]
        syntax = Syntax(implicit=element.is_implicit_VR, little=element.is_little_endian, native=True)
        whole = Element(int(element.tag), element.VR, 0, len(element.value), False)
        try:
            return [
                Header(
                    Dataset(
                        {
                            BaseTag(e.tag): _raw(element.value, e, syntax, longest=len(element.value))
                            for e in found
                        }
                    ),
                    self._declared,
                    self._legacy,
                )
                for found in items(element.value, syntax, whole)
            ]
        except NotDicom:
            return []

    def _offset(self) -> tzinfo | None:
        match = re.fullmatch(r"([+-])([01][0-9])([0-5][0-9])", self.text("TimezoneOffsetFromUTC") or "")
        if match is None:
            return None
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(offset if match[1] == "+" else -offset)

    def _element(self, keyword: str) -> DataElement | RawDataElement | None:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._data_set:
            return None
        return self._data_set.get_item(tag)


def _raw(data: Buffer, element: Element, syntax: Syntax, *, longest: int = _HEADER_LIMIT) -> RawDataElement:
    """An undecoded element; the value of an overlong one is left out."""
    value = data[element.start : element.start + element.length] if element.length <= longest else None
    return RawDataElement(
        BaseTag(element.tag), element.vr, element.length, value, element.start, syntax.implicit, syntax.little
    )
