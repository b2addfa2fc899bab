import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.intake.charsets import decode, repair

NAME = "Nguyễn^Thị Hồng^Đào"


@pytest.mark.parametrize("declared", [[], [""], ["ISO_IR 6"], ["ISO_IR 100"], ["ISO_IR 192"]])
def test_vietnamese_utf8_is_read_whatever_is_declared(declared):
    assert decode(NAME.encode(), declared) == NAME


def test_decomposed_letters_come_out_composed():
    assert decode(unicodedata.normalize("NFD", NAME).encode(), ["ISO_IR 192"]) == NAME


def test_real_latin_1_stays_latin_1():
    assert decode("Müller^Jürgen".encode("latin-1"), ["ISO_IR 100"]) == "Müller^Jürgen"


def test_utf8_without_a_vietnamese_letter_keeps_its_declaration():
    assert decode("ß".encode(), ["ISO_IR 100"]) == "Ã\x9f"


def test_other_single_byte_sets_are_honoured():
    assert decode("Люкceмбypг".encode("iso8859_5"), ["ISO_IR 144"]) == "Люкceмбypг"


def test_gb18030_is_honoured():
    assert decode("王^小东".encode("gb18030"), ["GB18030"]) == "王^小东"


def test_code_extensions_of_the_standard():  # PS3.5 H.3.1
    value = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    assert decode(value, ["", "ISO 2022 IR 87"]) == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_korean_code_extensions():  # PS3.5 I.2
    value = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
    assert decode(value, ["", "ISO 2022 IR 149"]) == "Hong^Gildong=洪^吉洞"


@given(
    st.binary(max_size=60), st.lists(st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "odd", "ISO_IR 13"]))
)
def test_any_bytes_give_composed_text(value, declared):
    text = decode(value, declared)
    assert unicodedata.is_normalized("NFC", text)


def test_padding_is_taken_off():
    assert decode(b"CHEST \0", []) == "CHEST"


def test_mojibake_is_repaired():
    assert repair(NAME.encode().decode("latin-1")) == NAME


@pytest.mark.parametrize("text", [NAME, "plain", "Müller", ""])
def test_good_text_is_left_alone(text):
    assert repair(text) == text
