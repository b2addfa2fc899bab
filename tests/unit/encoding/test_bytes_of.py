"""Bytes of a document: whatever it holds, the same as pydicom writes."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hoichan.encoding.bytes_of import bytes_of
from hoichan.encoding.source import document_context
from hoichan.encoding.sr import FORMS, encode_sr
from hoichan.settings import Site
from hoichan.testing import a_film, a_report, a_study

WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\\^="), max_size=9)
CODES = st.text("ABCXYZ_ 0189", max_size=16).map(str.strip)
UIDS = st.lists(st.integers(0, 10**6), min_size=2, max_size=6).map(
    lambda parts: ".".join(map(str, ["1", *parts]))
)
VALUES = {
    "CodeMeaning": WORDS | st.none(),
    "TextValue": WORDS,
    "LongCodeValue": WORDS,
    "StudyDescription": WORDS,
    "PatientName": WORDS,
    "AccessionNumber": WORDS,
    "CodeValue": CODES,
    "ImageType": st.lists(CODES, min_size=2, max_size=4),
    "ReferencedSOPInstanceUID": UIDS,
    "StudyDate": st.sampled_from(["20261122", ""]),
    "NumericValue": st.lists(st.decimals(0, 999, places=2).map(str), min_size=1, max_size=3),
    "SeriesNumber": st.integers(0, 9999),
    "Rows": st.integers(0, 65535),
    "GraphicData": st.lists(st.floats(0, 999, width=32), max_size=6),
    "EncapsulatedDocument": st.binary(max_size=9),
}


def of(elements, items=()):
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    if items:
        made.ContentSequence = list(items)
    return made


ITEMS = st.recursive(
    st.fixed_dictionaries({}, optional=VALUES).map(of),
    lambda below: st.builds(of, st.fixed_dictionaries({}, optional=VALUES), st.lists(below, max_size=3)),
    max_leaves=8,
)


def document(item, *, charset="ISO_IR 192", syntax=ExplicitVRLittleEndian):
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = syntax
    item.SOPClassUID, item.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.4"
    item.SpecificCharacterSet = charset
    return item


def by_pydicom(made):
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@given(ITEMS)
def test_any_tree_is_written_as_pydicom_writes_it(item):
    made = document(item)
    assert bytes_of(made) == by_pydicom(made)  # ours first: pydicom changes what it writes


@pytest.mark.parametrize("form", FORMS)
def test_a_report_is_written_as_pydicom_writes_it(form):
    source = a_film()
    study = a_study(source)
    context = document_context(study, a_report(study), source=source, site=Site(), software_version="9.9")
    made = encode_sr(context, form)
    assert bytes_of(made) == by_pydicom(made)


@pytest.mark.parametrize(
    "odd",
    [{"charset": "ISO_IR 100"}, {"charset": ["", "ISO 2022 IR 87"]}, {"syntax": ImplicitVRLittleEndian}],
)
def test_another_character_set_or_syntax_is_left_to_pydicom(odd):
    made = document(of({"CodeMeaning": "a", "PatientName": "Nguyen^An"}), **odd)
    assert bytes_of(made) == by_pydicom(made)


def test_pixels_are_left_to_pydicom():
    """Their representation depends on other elements."""
    item = {"Rows": 1, "Columns": 1, "BitsAllocated": 8, "BitsStored": 8, "PixelRepresentation": 0}
    one, other = (document(of({**item, "PixelData": b"ab", "SmallestImagePixelValue": 1})) for _ in "ab")
    assert bytes_of(one) == by_pydicom(other)


def test_a_text_too_long_for_a_short_length_is_written_as_pydicom_writes_it():
    made = document(of({"ImageType": ["A" * 16] * 5000}))
    with pytest.warns(UserWarning, match="64 kByte"):
        expected = by_pydicom(made)
    with pytest.warns(UserWarning, match="64 kByte"):
        assert bytes_of(made) == expected
