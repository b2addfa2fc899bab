"""A data set without its person: the Basic Application Level Confidentiality Profile of PS3.15 annex E.

The result is built anew, element by element; what no rule lets in stays out. `profile` says what happens to
an attribute, `words` which text may stay, `pseudonyms` what takes the place of identities, `dates` moves
times, `pixels` says whether a person must look. Pixels themselves are never touched.

The same key gives the same result, on every machine and for every object of a patient, so studies and series
stay together. Not offered: retaining UIDs, institution, full dates or private attributes; cleaning pixels,
graphics or structured content. The safe list of private attributes is empty.
"""

from __future__ import annotations

import re
import threading
import warnings
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from pydicom import config
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

import hoichan
from hoichan.errors import NotDeidentifiable
from hoichan.guard import dates, words
from hoichan.guard.options import Options, state_method
from hoichan.guard.pixels import PIXELS, pixel_risks
from hoichan.guard.profile import (
    BASIC,
    BIRTH,
    CHARACTERISTICS,
    CLASS_UIDS,
    DESCRIPTORS,
    DEVICE,
    DUMMIES,
    REFUSED,
    REFUSED_CONTENT,
    REFUSED_FAMILIES,
    Action,
    default_action,
    resolve,
)
from hoichan.guard.pseudonyms import Pseudonyms, is_valid_uid, is_well_known
from hoichan.guard.reading import element_of, expected_vr, has_expected_vm, text_of, values_as_text
from hoichan.uids import derived_uid

_QUIET = threading.Lock()  # what pydicom says of a value is switched off for the whole process
_DEEPEST = 32  # nested items; real objects stay below ten
_OLDEST_YEARS = 89  # whoever is older becomes 90 (the usual "safe harbor" rule)
_LARGEST_INTEGER = 2**31  # IS, PS3.5 6.2
_INTEGER = re.compile(r"([+-]?[0-9]{1,11})?")
_DECIMAL = re.compile(r"([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?)?")
_OF_A_CODE = range(0x00080100, 0x00080125)  # value, scheme, meaning, and where the code was found
_UNKNOWN_CODE = ("261665006", "SCT", "Unknown")


class Remark(StrEnum):
    """What the caller should know about one object. Stable codes, joined by those of `PixelRisk`."""

    PATIENT_WITHOUT_ID = "patient_without_id"  # the study takes the patient's place: no link between studies
    UNKNOWN_CODE = "unknown_code_replaced"  # a coded concept outside of the standard's context groups
    UNKNOWN_TERM = "unknown_term_removed"  # a coded string that is no defined term
    UNREADABLE = "unreadable_element_removed"  # wrong VR or wrong bytes
    UNMOVED_DATE = "unreadable_date_removed"  # with keep_dates: a date that is none
    AGE_CAPPED = "age_capped"  # over 89


@dataclass(frozen=True, slots=True, kw_only=True)
class Deidentified:
    """A data set that names nobody in its attributes."""

    data_set: Dataset  # with file meta, ready to be written in the transfer syntax it came in
    uid_map_size: int  # distinct UIDs that were replaced
    burned_in_risk: bool  # the pixels may name somebody: do not pass on without a look
    warnings: tuple[str, ...]  # codes of Remark and PixelRisk, without doubles, in a fixed order


def deidentify(data_set: Dataset, *, key: bytes, options: Options | None = None) -> Deidentified:
    """The same object without the person, under new UIDs; `data_set` keeps its content.

    `data_set` carries its transfer syntax in `file_meta` (explicit little endian when it has none). `key` has
    32 bytes or more and is the only secret. Raises NotDeidentifiable for documents, reports, speech, raw
    data, directories, and what has no SOP class or instance; ConfigurationError for a short key.
    """
    options = options or Options()
    with _QUIET, warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")  # their texts quote values
        return _deidentify(data_set, Pseudonyms(key), options)


def _deidentify(source: Dataset, pseudonyms: Pseudonyms, options: Options) -> Deidentified:
    sop_class_uid = _accepted_class(source)
    meta = getattr(source, "file_meta", None) or FileMetaDataset()
    syntax = text_of(meta, "TransferSyntaxUID")
    if not is_valid_uid(syntax):
        syntax = ExplicitVRLittleEndian
    patient = _patient_key(source)
    cleaner = _Cleaner(
        pseudonyms=pseudonyms,
        options=options,
        sop_class_uid=sop_class_uid,
        shift=pseudonyms.shift(patient),
        shift_of_time=pseudonyms.shift_of_time(patient) if options.shift_times else timedelta(),
    )
    result = cleaner.clean(source)
    state_method(result, options)
    result.PatientID = result.PatientName = pseudonyms.patient_id(patient)
    if options.keep_characteristics:
        _set_age(result, source, cleaner.remarks)
    _set_meta(result, syntax)
    if not text_of(source, "PatientID"):
        cleaner.remarks.add(Remark.PATIENT_WITHOUT_ID)
    risks = pixel_risks(source, syntax)
    remarks = tuple(str(remark) for remark in Remark if remark in cleaner.remarks)
    return Deidentified(
        data_set=result,
        uid_map_size=len(cleaner.replaced_uids),
        burned_in_risk=bool(risks),
        warnings=remarks + tuple(str(risk) for risk in risks),
    )


@dataclass(slots=True, kw_only=True)
class _Cleaner:
    """Builds clean data sets from one object; gathers what was met on the way."""

    pseudonyms: Pseudonyms
    options: Options
    sop_class_uid: str
    shift: timedelta
    shift_of_time: timedelta
    replaced_uids: set[str] = field(default_factory=set)
    remarks: set[Remark] = field(default_factory=set)

    def clean(self, source: Dataset, depth: int = 0) -> Dataset:
        """One level, and by `_sequence` those below it."""
        if depth > _DEEPEST:
            raise NotDeidentifiable("Sequences are nested too deeply.")
        result = Dataset()
        is_code = depth > 0 and ("CodeMeaning" in source or "CodeValue" in source)
        for tag in sorted(source.keys()):
            vr, keyword = expected_vr(tag), keyword_for_tag(tag)
            if vr is None or not keyword or not _is_content(tag) or (is_code and tag in _OF_A_CODE):
                continue
            if depth > 0 and keyword in PIXELS:
                continue  # PS3.5 A.4 knows them in icons only, which go; nobody would look at their risk
            cleaned = self._element(source, tag, keyword, vr, depth)
            if cleaned is not None:
                result[tag] = cleaned
        if is_code:
            self._code(source, result)
        return result

    def _element(
        self, source: Dataset, tag: BaseTag, keyword: str, vr: str, depth: int
    ) -> DataElement | None:
        action = self._action(keyword, vr, nested=depth > 0)
        first = vr.split(" or ", maxsplit=1)[0]
        if action is Action.REMOVE:
            return None
        if action is Action.EMPTY:
            return _made(tag, first, Sequence() if first == "SQ" else None)
        element = element_of(source, tag)
        if element is None:
            self.remarks.add(Remark.UNREADABLE)
            return None
        if first == "SQ":
            return self._sequence(element, depth)
        if element.is_empty:
            return _made(tag, first, None)
        if first in ("DA", "TM", "DT") and self._moves(keyword):
            moved = self._moved(source, element, keyword)
            if moved is not None:
                return _made(tag, first, moved)
            self.remarks.add(Remark.UNMOVED_DATE)
            action = self._basic(keyword, vr, nested=depth > 0)
            if action in (Action.REMOVE, Action.EMPTY):
                return _made(tag, first, None) if action is Action.EMPTY else None
        if action is Action.NEW_UID:
            return _made(tag, "UI", [self._uid(uid, keyword) for uid in values_as_text(element)])
        return self._value(element, keyword, first, action, nested=depth > 0)

    def _value(
        self, element: DataElement, keyword: str, vr: str, action: Action, *, nested: bool
    ) -> DataElement | None:
        """An element that is kept or cleaned, or the dummy in its place."""
        if action is Action.KEEP:
            return self._kept(element, keyword, vr)
        if vr == "CS":
            return self._terms(element, keyword)
        texts = values_as_text(element)
        if keyword == "TimezoneOffsetFromUTC":
            return _made(element.tag, vr, texts[0]) if texts and dates.is_zone(texts[0]) else None
        if keyword in DESCRIPTORS and action is Action.CLEAN:
            left = words.clean_description(" ".join(texts))
            action = Action.CLEAN if left else self._basic(keyword, vr, nested=nested)
        else:
            left = words.clean_text(keyword, texts[0] if texts else "") or ""
        if left:
            return _made(element.tag, vr, left)
        if action is Action.DUMMY:
            return _made(element.tag, vr, DUMMIES.get(vr))
        return _made(element.tag, vr, None) if action is Action.EMPTY else None

    def _action(self, keyword: str, vr: str, *, nested: bool) -> Action:
        """The basic action, unless an option says otherwise."""
        options = self.options
        if (options.keep_characteristics and keyword in CHARACTERISTICS) or (
            options.keep_device and keyword in DEVICE
        ):
            return Action.CLEAN if vr in ("CS", "SQ") else Action.KEEP
        if options.clean_descriptions and keyword in DESCRIPTORS:
            return Action.CLEAN
        if (vr in ("DA", "TM", "DT") and self._moves(keyword)) or (
            options.keep_dates and keyword == "TimezoneOffsetFromUTC"
        ):
            return Action.CLEAN
        action = self._basic(keyword, vr, nested=nested)
        if action in (Action.REMOVE, Action.EMPTY) and keyword not in BASIC and words.may_hold(keyword):
            return Action.CLEAN
        return action

    def _basic(self, keyword: str, vr: str, *, nested: bool) -> Action:
        code = BASIC.get(keyword)
        if code is None:
            return default_action(keyword, vr)
        return resolve(keyword, code, sop_class_uid=self.sop_class_uid, nested=nested)

    def _moves(self, keyword: str) -> bool:
        return self.options.keep_dates and keyword not in BIRTH

    def _moved(self, source: Dataset, element: DataElement, keyword: str) -> str | list[str] | None:
        """Every value moved, or None; a date and its time move together over midnight."""
        texts = values_as_text(element)
        by = self.shift + self.shift_of_time
        if len(texts) == 1 and self.shift_of_time and element.VR in ("DA", "TM"):
            partner = (
                keyword.replace("Date", "Time") if element.VR == "DA" else keyword.replace("Time", "Date")
            )
            other = text_of(source, partner) if tag_for_keyword(partner) else ""
            pair = (texts[0], other) if element.VR == "DA" else (other, texts[0])
            both = dates.move_date_and_time(*pair, by)
            if both is not None:
                return both[0] if element.VR == "DA" else both[1]
        move = {"DA": dates.move_date, "TM": dates.move_time, "DT": dates.move_datetime}[element.VR]
        moved = [move(text, by) for text in texts]
        return None if not moved or None in moved else [text for text in moved if text]

    def _uid(self, uid: str, keyword: str) -> str:
        if not uid or is_well_known(uid) or (keyword in CLASS_UIDS and is_valid_uid(uid)):
            return uid
        self.replaced_uids.add(uid)
        return self.pseudonyms.uid(uid)

    def _sequence(self, element: DataElement, depth: int) -> DataElement | None:
        """Every item cleaned; one of which nothing is left is dropped, and so is a sequence of such."""
        items = [self.clean(item, depth + 1) for item in element.value]
        kept = [item for item in items if len(item)]
        return None if items and not kept else _made(element.tag, "SQ", Sequence(kept))

    def _code(self, source: Dataset, result: Dataset) -> None:
        """A coded concept (PS3.3 table 8.8-1): value and scheme as they stand, the meaning in our words."""
        value, scheme = text_of(source, "CodeValue"), text_of(source, "CodingSchemeDesignator")
        meaning = words.clean_code(value, scheme)
        if meaning is None:
            self.remarks.add(Remark.UNKNOWN_CODE)
            value, scheme, meaning = _UNKNOWN_CODE
        result.CodeValue, result.CodingSchemeDesignator, result.CodeMeaning = value, scheme, meaning[:64]

    def _terms(self, element: DataElement, keyword: str) -> DataElement:
        """The known terms of a coded string. Those of Image Type keep their place."""
        values = values_as_text(element)
        cleaned = [words.clean_term(keyword, value) if value else "" for value in values]
        if None in cleaned:
            self.remarks.add(Remark.UNKNOWN_TERM)
        stand_in = {"ImageType": "OTHER", "ContentLabel": "OTHER", "Modality": "OT"}.get(keyword)
        kept = [stand_in if term is None else term for term in cleaned]
        return _made(element.tag, "CS", [term for term in kept if term is not None] or None)

    def _kept(self, element: DataElement, keyword: str, vr: str) -> DataElement | None:
        """An element as it stands, once its value is what its VR promises."""
        numbers = vr not in ("DS", "IS") or all(_is_number(text, vr) for text in values_as_text(element))
        if not numbers or not has_expected_vm(element):  # text may pose as a row of numbers
            self.remarks.add(Remark.UNREADABLE)
            return None
        if keyword == "PatientAge":
            return None  # set at the end, in whole years
        value = list(element.value) if isinstance(element.value, MultiValue) else element.value
        kept = _made(element.tag, element.VR, value)
        kept.is_undefined_length = element.is_undefined_length
        return kept


def _accepted_class(source: Dataset) -> str:
    """The SOP class of an object that a profile can clean. Raises NotDeidentifiable."""
    sop_class_uid, sop_instance_uid = text_of(source, "SOPClassUID"), text_of(source, "SOPInstanceUID")
    if not is_valid_uid(sop_class_uid) or not sop_instance_uid:
        raise NotDeidentifiable("The object has no SOP Class UID or no SOP Instance UID.")
    if sop_class_uid in REFUSED or sop_class_uid.startswith(REFUSED_FAMILIES):
        raise NotDeidentifiable(f"Objects of SOP class {sop_class_uid} are made of text, speech or raw data.")
    if any(Tag(tag) in source for tag in REFUSED_CONTENT):
        raise NotDeidentifiable("The object holds a document or a directory.")
    return sop_class_uid


def _patient_key(source: Dataset) -> str:
    """What the pseudonym and the shift of a patient are derived from: id and issuer, else the study."""
    patient_id = text_of(source, "PatientID")
    if patient_id:
        return f"{text_of(source, 'IssuerOfPatientID')}\0{patient_id}"
    return f"study\0{text_of(source, 'StudyInstanceUID') or text_of(source, 'SOPInstanceUID')}"


def _is_content(tag: BaseTag) -> bool:
    """Not private, no group length, not of a group that goes as a whole (PS3.15 E.1: curves, overlays)."""
    group = tag.group
    return not (
        tag.is_private
        or tag == 0x00080005  # the whole result is UTF-8
        or tag.element == 0x0000
        or group < 0x0008
        or 0x5000 <= group <= 0x50FF
        or 0x6000 <= group <= 0x60FF
        or group >= 0xFFFA
    )


def _is_number(text: str, vr: str) -> bool:
    """A DS or IS as PS3.5 6.2 writes it; an empty one among several is none."""
    if vr == "DS":
        return _DECIMAL.fullmatch(text) is not None
    return _INTEGER.fullmatch(text) is not None and abs(int(text or "0")) < _LARGEST_INTEGER


def _made(tag: BaseTag | int, vr: str, value: object) -> DataElement:
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)


def _set_age(result: Dataset, source: Dataset, remarks: set[Remark]) -> None:
    """Whole years; over 89 all are 90. Less than a year is zero."""
    text = text_of(source, "PatientAge")
    if len(text) == 4 and text[:3].isdecimal() and text[:3].isascii() and text[3] in "DWMY":
        years: int | None = int(int(text[:3]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[text[3]])
    else:
        years = dates.full_years(text_of(source, "PatientBirthDate"), text_of(source, "StudyDate"))
    if years is None:
        return
    if years > _OLDEST_YEARS:
        remarks.add(Remark.AGE_CAPPED)
        years = _OLDEST_YEARS + 1
    result.PatientAge = f"{years:03}Y"


def _set_meta(result: Dataset, transfer_syntax_uid: str) -> None:
    """Group 0002 of our own; nothing of the sender's stays, nor its preamble."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(derived_uid("implementation", "hoichan"))
    meta.ImplementationVersionName = f"HOICHAN_{hoichan.__version__}"[:16]
    result.file_meta = meta
