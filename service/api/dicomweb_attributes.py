"""Attributes of studies, series and instances for answers in the DICOM JSON model (PS3.18 annex F).

The record comes first: it has the patient as corrected, and names whose character set was repaired. What it
does not hold is read from the file's header.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from functools import cached_property
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue

from hoichan.adapters.held_sql import Held, Row, read_header
from hoichan.errors import NotDicom, NotHeld
from hoichan.intake import charsets

LARGEST_INLINE = 1024  # bytes of a value that travels inside of the JSON
_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})

# What is always told (PS3.18 tables 10.6.3-3 to -5).
OF_STUDY = [
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "InstanceAvailability",
    "ModalitiesInStudy",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "RetrieveURL",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDescription",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
]
OF_SERIES = [
    "SpecificCharacterSet",
    "Modality",
    "TimezoneOffsetFromUTC",
    "SeriesDescription",
    "RetrieveURL",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "BodyPartExamined",
    "NumberOfSeriesRelatedInstances",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "RequestAttributesSequence",
]
OF_INSTANCE = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceAvailability",
    "TimezoneOffsetFromUTC",
    "RetrieveURL",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "NumberOfFrames",
    "AvailableTransferSyntaxUID",
]
_MORE_OF_STUDY = [
    "IssuerOfPatientID",
    "OtherPatientIDsSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientComments",
    "NameOfPhysiciansReadingStudy",
    "AdmittingDiagnosesDescription",
    "Occupation",
    "AdditionalPatientHistory",
    "SOPClassesInStudy",
    "ProcedureCodeSequence",
    "InstitutionName",
]
_MORE_OF_SERIES = [
    "Laterality",
    "ProtocolName",
    "OperatorsName",
    "PerformingPhysicianName",
    "SeriesDate",
    "SeriesTime",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "InstitutionName",
    "FrameOfReferenceUID",
    "PatientPosition",
    "ViewPosition",
    "PresentationIntentType",
]
EVERYTHING = {"study": OF_STUDY + _MORE_OF_STUDY, "series": OF_SERIES + _MORE_OF_SERIES}
_AS_SENT = frozenset({"StudyDate", "StudyTime"})  # the record has them in the site's zone, to be matched by
_UNICODE = "ISO_IR 192"  # JSON is UTF-8 (PS3.18 F.2.2)


class Attributes:
    """The attributes of one study, series or instance, looked up as they are needed."""

    def __init__(self, recorded: Mapping[str, Any], files: Callable[[], Sequence[Held]]) -> None:
        """`recorded`: by keyword, as the record has them; `files`: where the rest can be read, in order."""
        self.recorded = {"SpecificCharacterSet": _UNICODE, **recorded}
        self._files = files

    @cached_property
    def _header(self) -> Dataset:
        for held in self._files():
            try:
                return read_header(held.path)
            except (OSError, NotDicom, NotHeld):
                continue
        return Dataset()

    @property
    def held(self) -> Sequence[Held]:
        """The files it speaks of."""
        return self._files()

    def values(self, keyword: str) -> list[str]:
        """Every value as text, for matching."""
        if keyword in self.recorded:
            return _texts(self.recorded[keyword])
        element = readable(self._header, tag_for_keyword(keyword) or 0)
        return [] if element is None or element.VR == "SQ" else _texts(element.value)

    def json(self, keywords: Sequence[str]) -> dict[str, Any]:
        """These attributes, in order of their tags."""
        found = {}
        for keyword in dict.fromkeys(keywords):
            tag = tag_for_keyword(keyword)
            if tag is None:
                continue
            known = keyword in self.recorded
            if known and keyword not in _AS_SENT:
                found[f"{tag:08X}"] = recorded_json(keyword, self.recorded[keyword])
                continue
            element = readable(self._header, tag)
            if element is not None and element.VR not in BINARY:
                found[f"{tag:08X}"] = element_json(element)
            elif known:
                found[f"{tag:08X}"] = recorded_json(keyword, self.recorded[keyword])
        return dict(sorted(found.items()))

    def json_of_all(self) -> dict[str, Any]:
        """Whatever the header holds, but for long and binary values."""
        tags = [tag for tag in self._header.keys() if not tag.is_private]  # noqa: SIM118  elements otherwise
        keywords = [keyword_for_tag(tag) for tag in tags]
        return self.json([*self.recorded, *(keyword for keyword in keywords if keyword)])


def study_record(row: Row, held: Sequence[Held], zone: tzinfo, url: str) -> dict[str, Any]:
    """What the record says of a study."""
    recorded = patient_record(row)
    modalities = sorted({one.modality for one in held}) or str(row["modalities"]).split("\\")
    classes = sorted({one.sop_class_uid for one in held})
    recorded |= {
        "AccessionNumber": row["accession_number"],
        "StudyInstanceUID": row["study_instance_uid"],
        "StudyID": row["study_id"],
        "StudyDescription": row["study_description"],
        "InstanceAvailability": "ONLINE",
        "ModalitiesInStudy": modalities,
        "SOPClassesInStudy": classes,
        "NumberOfStudyRelatedSeries": len({one.series_instance_uid for one in held}),
        "NumberOfStudyRelatedInstances": len(held),
        "RetrieveURL": f"{url}/studies/{row['study_instance_uid']}",
    }
    if row["study_datetime"] is not None:
        local = row["study_datetime"].astimezone(zone)
        recorded |= {"StudyDate": f"{local:%Y%m%d}", "StudyTime": f"{local:%H%M%S}"}
    return recorded


def patient_record(row: Row) -> dict[str, Any]:
    """What the record says of the patient of a study."""
    born = row["patient_birth_date"]
    return {
        "PatientName": row["patient_name"],
        "PatientID": row["patient_id"],
        "IssuerOfPatientID": row["issuer_of_patient_id"],
        "PatientBirthDate": f"{born:%Y%m%d}" if born else None,
        "PatientSex": row["patient_sex"],
    }


def series_record(held: Sequence[Held], url: str) -> dict[str, Any]:
    """What the record says of a series."""
    first = held[0]
    recorded: dict[str, Any] = {
        "Modality": first.modality,
        "StudyInstanceUID": first.study_instance_uid,
        "SeriesInstanceUID": first.series_instance_uid,
        "NumberOfSeriesRelatedInstances": len(held),
        "RetrieveURL": f"{url}/studies/{first.study_instance_uid}/series/{first.series_instance_uid}",
    }
    row = first.series_row
    if row is not None:
        recorded |= {
            "SeriesNumber": row["series_number"],
            "SeriesDescription": row["series_description"],
            "BodyPartExamined": row["body_part_examined"],
        }
    return recorded


def instance_record(held: Held, url: str) -> dict[str, Any]:
    """What the record says of an instance."""
    study, of_series = held.study_instance_uid, held.series_instance_uid
    recorded: dict[str, Any] = {
        "SOPClassUID": held.sop_class_uid,
        "SOPInstanceUID": held.sop_instance_uid,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": of_series,
        "InstanceAvailability": "ONLINE",
        "AvailableTransferSyntaxUID": held.transfer_syntax_uid,
        "RetrieveURL": f"{url}/studies/{study}/series/{of_series}/instances/{held.sop_instance_uid}",
    }
    row = held.instance_row
    if row is not None:
        recorded["InstanceNumber"] = row["instance_number"]
        if row["rows"] is not None and row["columns"] is not None:
            recorded |= {"Rows": row["rows"], "Columns": row["columns"]}
    return recorded


def recorded_json(keyword: str, value: object) -> dict[str, Any]:
    """A value of the record in the JSON model."""
    vr = dictionary_VR(keyword).split(" or ", maxsplit=1)[0]
    if value is None or value in ("", []):
        return {"vr": vr}
    values = value if isinstance(value, list) else [value]
    return {"vr": vr, "Value": [{"Alphabetic": one} for one in values] if vr == "PN" else values}


def element_json(element: DataElement) -> dict[str, Any]:
    """An element of a file in the JSON model; an unreadable value becomes an empty one."""
    with warnings.catch_warnings():  # pydicom's warnings quote the data set
        warnings.simplefilter("ignore")
        try:
            found: dict[str, Any] = element.to_json_dict(None, LARGEST_INLINE * LARGEST_INLINE)
        except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, OverflowError):
            return {"vr": element.VR}
    if element.VR in ("FL", "FD", "DS") and "Value" in found:  # JSON knows no infinity
        found["Value"] = [one if one is None or math.isfinite(one) else None for one in found["Value"]]
    if element.VR in _TEXTS and "Value" in found:
        found["Value"] = [_repaired(value) for value in found["Value"]]
    return found


def _repaired(value: object) -> object:
    """Text whose character set was wrongly declared, as the record reads it."""
    if isinstance(value, dict):
        return {group: _repaired(text) for group, text in value.items()}
    return charsets.repair(value) if isinstance(value, str) else value


def readable(header: Dataset, tag: int) -> DataElement | None:
    """An element, if it is there and can be read."""
    if tag not in header:
        return None
    with warnings.catch_warnings():  # pydicom's warnings quote the data set
        warnings.simplefilter("ignore")
        try:
            found: DataElement = header[tag]
        except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, OverflowError):
            return None
    return found


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [str(one) for one in values if one is not None]
