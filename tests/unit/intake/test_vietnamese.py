"""The four sets of the years before Unicode, held against the tables of the C library where it has them."""

import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.intake.charsets import decode
from hoichan.intake.vietnamese import LEGACY_SETS
from hoichan.settings import Listener, Sender

NAME = "Nguyễn^Thị Hồng^Đào"
TONES = ("", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323")
SMALL = [unicodedata.normalize("NFC", base + tone) for base in "aăâeêioôơuưy" for tone in TONES] + ["đ"]
# A letter of VNI for Windows: the vowels with the bytes behind them, as its keyboard programs list them.
VNI = {
    "á": "aù", "à": "aø", "ả": "aû", "ã": "aõ", "ạ": "aï", "â": "aâ", "ấ": "aá", "ầ": "aà", "ẩ": "aå",
    "ẫ": "aã", "ậ": "aä", "ă": "aê", "ắ": "aé", "ằ": "aè", "ẳ": "aú", "ẵ": "aü", "ặ": "aë", "ê": "eâ",
    "ế": "eá", "ề": "eà", "ể": "eå", "ễ": "eã", "ệ": "eä", "ô": "oâ", "ố": "oá", "ộ": "oä", "ơ": "ô",
    "ớ": "ôù", "ợ": "ôï", "ư": "ö", "ứ": "öù", "ự": "öï", "í": "í", "ì": "ì", "ỉ": "æ", "ĩ": "ó", "ị": "ò",
    "ý": "yù", "ỳ": "yø", "ỷ": "yû", "ỹ": "yõ", "ỵ": "î", "đ": "ñ",
}  # fmt: skip
ICONV = {"windows-1258": "CP1258", "tcvn3": "TCVN5712-1", "viscii": "VISCII"}


def written(text, legacy):
    """The bytes of a text, by the C library's own tables."""
    if legacy == "vni":
        return "".join(VNI.get(letter, letter) for letter in text).encode("cp1252")
    done = subprocess.run(
        ["iconv", "-f", "UTF-8", "-t", ICONV[legacy]], input=text.encode(), capture_output=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("legacy", LEGACY_SETS)
@pytest.mark.parametrize("declared", [[], ["ISO_IR 100"], ["ISO_IR 6"]])
def test_every_letter_is_read(legacy, declared):
    letters = list(VNI) if legacy == "vni" else SMALL + [one.upper() for one in SMALL]
    text = " ".join(letters)
    assert decode(written(text, legacy), declared, legacy) == text


@pytest.mark.parametrize(
    ("legacy", "value"),
    [
        ("windows-1258", b"Nguy\xea\xden^Th\xf2 H\xf4\xccng^\xd0a\xcco".replace(b"Th\xf2", b"Thi\xf2")),
        ("tcvn3", b"Nguy\xd4n^Th\xde H\xe5ng^\xa7\xb5o"),
        ("viscii", b"Nguy\xadn^Th\xb8 H\xb0ng^\xd0\xe0o"),
        ("vni", "Nguyeãn^Thò Hoàng^Ñaøo".encode("cp1252")),
    ],
)
def test_a_name_is_read(legacy, value):
    assert decode(value, ["ISO_IR 100"], legacy) == NAME


@pytest.mark.parametrize("legacy", LEGACY_SETS)
def test_what_is_declared_rightly_or_is_utf_8_stays(legacy):
    assert decode(NAME.encode(), ["ISO_IR 192"], legacy) == NAME
    assert decode(NAME.encode(), ["ISO_IR 100"], legacy) == NAME
    assert decode("王^小东".encode("gb18030"), ["GB18030"], legacy) == "王^小东"
    assert decode(b"CHEST AP \0", [], legacy) == "CHEST AP"


@given(st.binary(max_size=60), st.sampled_from(LEGACY_SETS))
def test_any_bytes_give_composed_text(value, legacy):
    assert unicodedata.is_normalized("NFC", decode(value, ["ISO_IR 100"], legacy))


def test_the_site_says_it_of_a_sender():
    listener = Listener(
        senders=(
            Sender(ae_title="CR_OLD", host="10.0.0.1", character_set="tcvn3"),
            Sender(ae_title="*", host="10.0.0.0/24"),
        )
    )
    assert listener.character_set_of("CR_OLD ") == "tcvn3"
    assert listener.character_set_of("CR_NEW") is None
