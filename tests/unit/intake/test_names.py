import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.intake.names import (
    NumberKind,
    fold,
    is_citizen_id,
    is_insurance_number,
    mask,
    matches,
    read_number,
    same_name,
    search_key,
    words_of,
)

LETTERS = "aăâbcdđeêghiklmnoôơpqrstuưvxyàáãảạằắẵẳặầấẫẩậèéẽẻẹềếễểệìíĩỉịòóõỏọồốỗổộờớỡởợùúũủụừứữửựỳýỹỷỵ"
WORDS = st.text(LETTERS, min_size=1, max_size=6)
NAMES = st.lists(WORDS, min_size=1, max_size=5)


@pytest.mark.parametrize(
    "name",
    [
        "Nguyễn^An^Văn",
        "Nguyễn^Văn^An",
        "NGUYEN VAN AN",
        "NGUYEN^VAN AN",
        "nguyễn   văn an",
        unicodedata.normalize("NFD", "Nguyễn Văn An"),
        "=Nguyễn^An^Văn",
        "^^^=NGUYEN^VAN AN",
    ],
)
def test_every_way_of_writing_a_name_is_the_same(name):
    assert same_name(name, "Nguyễn Văn An")
    assert search_key(name) == "an nguyen van"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Nguyễn Văn An", "Nguyễn Văn"), ("An An", "An"), ("", ""), ("^^", ""), ("Đào", "Dao Dao")],
)
def test_other_words_are_another_name(one, other):
    assert not same_name(one, other)


def test_the_stroke_of_d_is_no_accent_to_unicode_but_is_to_us():
    assert fold("Đỗ Thị Ánh") == "do thi anh"
    assert fold("ĐÀO") == fold("Ðào") == "dao"


def test_the_ideographic_group_counts_when_the_alphabetic_one_is_empty():
    assert words_of("=山田^太郎") == ("山田", "太郎")
    assert words_of("Yamada^Tarou=山田^太郎") == ("yamada", "tarou")


@given(NAMES, st.randoms(use_true_random=False), st.sampled_from(["^", " ", "  ", "-", "."]))
@settings(deadline=None)
def test_order_case_composition_and_separators_do_not_count(words, random, separator):
    shuffled = list(words)
    random.shuffle(shuffled)
    other = unicodedata.normalize("NFD", separator.join(shuffled).upper())
    assert same_name(" ".join(words), other)
    assert search_key(other) == search_key(" ".join(words))


@given(NAMES)
@settings(deadline=None)
def test_a_name_without_accents_is_found(words):
    name = " ".join(words)
    assert fold(name).isascii()
    assert same_name(name, fold(name))
    assert fold(fold(name)) == fold(name)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_folded_once_and_for_all(text):
    assert fold(fold(text)) == fold(text)
    assert search_key(search_key(text)) == search_key(text)


@given(NAMES, st.data())
@settings(deadline=None)
def test_beginnings_of_words_find_a_name(words, data):
    chosen = data.draw(st.lists(st.sampled_from(range(len(words))), unique=True))
    query = " ".join(words[i][: data.draw(st.integers(1, len(words[i])))] for i in chosen)
    assert matches(fold(query), " ".join(words))


@pytest.mark.parametrize(
    ("query", "name", "found"),
    [
        ("van a", "Nguyễn Văn An", True),
        ("t thi", "Trần Thị", True),
        ("an an", "Nguyễn Văn An", False),
        ("guyen", "Nguyễn Văn An", False),
        ("", "Nguyễn Văn An", True),
        ("đ", "Đào", True),
    ],
)
def test_what_a_query_finds(query, name, found):
    assert matches(query, name) is found


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("079123456789", NumberKind.CITIZEN_ID, "079123456789"),
        (" 079 123 456 789 ", NumberKind.CITIZEN_ID, "079123456789"),
        ("０７９123456789", NumberKind.CITIZEN_ID, "079123456789"),
        ("dn4797912345678", NumberKind.HEALTH_CARD, "DN4797912345678"),
        ("DN-4-79-7912345678", NumberKind.HEALTH_CARD, "DN4797912345678"),
        ("7912345678", NumberKind.SOCIAL_INSURANCE, "7912345678"),
        ("023456789", NumberKind.IDENTITY_CARD, "023456789"),
    ],
)
def test_numbers_are_understood(text, kind, value):
    number = read_number(text)
    assert number is not None
    assert (number.kind, number.value) == (kind, value)


@pytest.mark.parametrize(
    "text", ["", "12345678", "0791234567890", "DN9797912345678", "BN0001", "٠٧٩١٢٣٤٥٦٧٨٩"]
)
def test_other_numbers_are_not(text):
    assert read_number(text) is None


def test_who_takes_which_number():
    assert is_citizen_id("079123456789")
    assert not is_citizen_id("7912345678")
    assert is_insurance_number("7912345678")
    assert is_insurance_number("079123456789")
    assert not is_insurance_number("023456789")


def test_masking():
    assert mask("079123451234") == "079*****1234"
    assert mask("DN4797912345678") == "DN4********5678"
    assert mask("7912345678") == "*******678"
    assert mask("BN0001") == "******"
    assert mask("") == ""


@given(st.text("0123456789", min_size=1, max_size=20))
@settings(deadline=None)
def test_a_mask_keeps_the_length_and_hides_enough(number):
    shown = mask(number)
    assert len(shown) == len(number)
    assert shown.count("*") >= min(5, len(number))
