"""The options of the Basic Profile that are on, and how an object says so itself."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import hoichan


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of PS3.15 E.3 that are on; all off is the plain Basic Profile."""

    keep_dates: bool = False  # 113107: dates moved back by 1 to 3,650 days, the same for all of a patient
    shift_times: bool = False  # with keep_dates: the clock moves too; else times of day stay
    keep_characteristics: bool = False  # 113108: sex, size, weight, age in whole years with 90 for over 89
    keep_device: bool = False  # 113109: serial numbers, station names, maker, model, software as they stand
    clean_descriptions: bool = False  # 113105: words of the fixed list stay in descriptions


def state_method(result: Dataset, options: Options) -> None:
    """PS3.15 E.1.1 step 6 and PS3.3 C.7.1.1, CID 7050."""
    chosen = [("113100", "Basic Application Confidentiality Profile")]
    if options.clean_descriptions:
        chosen.append(("113105", "Clean Descriptors Option"))
    if options.keep_dates:
        chosen.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
    if options.keep_characteristics:
        chosen.append(("113108", "Retain Patient Characteristics Option"))
    if options.keep_device:
        chosen.append(("113109", "Retain Device Identity Option"))
    items = []
    for value, meaning in chosen:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    result.SpecificCharacterSet = "ISO_IR 192"
    result.PatientIdentityRemoved = "YES"
    result.DeidentificationMethod = [f"hoichan {hoichan.__version__}", "DICOM PS3.15 E.1-1"]
    result.DeidentificationMethodCodeSequence = Sequence(items)
    result.LongitudinalTemporalInformationModified = "MODIFIED" if options.keep_dates else "REMOVED"
