import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.guard import words

GIVEN_NAMES = tuple(
    """
    an anh bach bao binh chau chi cuong dao dat dung duong giang ha hai hanh hien hieu hoa hoang hong hung
    huong huy huyen khanh khoa kim lan lien linh loan long mai minh my nam nga ngan ngoc nhan nhung phong
    phuc phuong quan quang quoc quyen son tam tan thang thanh thao thi thinh thu thuy tien toan trang tri
    trinh trung tu tuan tung tuyet van vi viet vinh vy xuan yen nguyen tran le pham huynh vo dang bui do ho
    ngo ly
    """.split()  # noqa: SIM905
)


def test_no_common_vietnamese_name_is_a_word_of_descriptions():
    """Without marks a name cannot be told from a word, so no such word may be on the list."""
    kept = {name for name in GIVEN_NAMES if words.clean_description(name)}
    assert kept == set()
    assert {name for name in GIVEN_NAMES if words.clean_term("BodyPartExamined", name)} == set()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CHEST PA", "CHEST PA"),
        ("Chest_AP bedside 0912345678", "CHEST AP BEDSIDE"),
        ("Ngực thẳng - Nguyễn Văn An", "NGỰC THẲNG"),
        ("NGUYEN VAN AN", ""),
        ("", ""),
    ],
)
def test_descriptions(text, left):
    assert words.clean_description(text) == left


@given(st.text(max_size=200))
@settings(deadline=None)
def test_what_is_left_is_short_and_stays_when_cleaned_again(text):
    left = words.clean_description(text)
    assert len(left) <= 64
    assert words.clean_description(left) == left or len(left) > 50


@pytest.mark.parametrize(
    ("keyword", "value", "term"),
    [
        ("BodyPartExamined", "chest", "CHEST"),
        ("ImageType", "SCREEN SAVE", "SCREEN SAVE"),
        ("PatientOrientation", "FP", "FP"),
        ("BodyPartExamined", "FPL", None),
        ("BodyPartExamined", "MARKER", None),
    ],
)
def test_terms(keyword, value, term):
    assert words.clean_term(keyword, value) == term


@pytest.mark.parametrize(
    ("keyword", "text", "left"),
    [
        ("Manufacturer", "GE MEDICAL SYSTEMS", "GE"),
        ("Manufacturer", "KONICA MINOLTA, INC.", "Konica Minolta"),
        ("Manufacturer", "Nguyễn Văn An", None),
        ("RescaleType", "HU", "HU"),
        ("RescaleType", "MARKER", None),
        ("ConvolutionKernel", "B70f", "B70f"),
        ("ConvolutionKernel", "NGUYEN", None),
        ("StudyDescription", "CHEST", None),
    ],
)
def test_technical_text(keyword, text, left):
    assert words.clean_text(keyword, text) == left


def test_codes_keep_their_meaning_only_from_the_dictionary():
    assert words.clean_code("121322", "DCM") == "Source image for image processing operation"
    assert words.clean_code("T-D3000", "SRT") == words.clean_code("51185008", "SCT")
    assert words.clean_code("0912345678", "SCT") is None
    assert words.clean_code("AN", "99LOCAL") is None
