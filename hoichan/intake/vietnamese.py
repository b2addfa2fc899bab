"""Vietnamese text of the years before Unicode, which DICOM has no defined terms for.

Devices of that time write it as if it were ISO_IR 100 or ISO_IR 6, and nothing in an object tells which of
the sets it is: the site says so of a sender (`character_set`). Four were in use:

    windows-1258   Windows: a letter, and its tone as a combining mark behind it
    tcvn3          TCVN 5712:1993, the "ABC" fonts; often all in small letters, for a font of capitals
    viscii         RFC 1456
    vni            VNI for Windows: a letter, and a second byte for tone and hook
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Literal, get_args

LegacySet = Literal["windows-1258", "tcvn3", "viscii", "vni"]
LEGACY_SETS: tuple[LegacySet, ...] = get_args(LegacySet)

_VISCII = (
    "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐ"  # 0x80
    "ỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲ"
    "Õắằặấầẩậẽẹếềểễệố"
    "ồổỗỠƠộờởịỰỨỪỬơớƯ"
    "ÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳ"
    "ĐứÒÓÔạỷừửÙÚỹỵÝỡư"
    "àáâãảăữẫèéêẻìíĩỉ"
    "đựòóôõỏọụùúũủýợỮ"
)
_VISCII_LOW = {0x02: "Ẳ", 0x05: "Ẵ", 0x06: "Ẫ", 0x14: "Ỷ", 0x19: "Ỹ", 0x1E: "Ỵ"}
_TCVN3 = (
    "ÀẢÃÁẠẶẬÈẺẼÉẸỆÌỈĨ"  # 0x80
    "ÍỊÒỎÕÓỌỘỜỞỠỚỢÙỦŨ"
    "\u00a0ĂÂÊÔƠƯĐăâêôơưđẰ"
    "\u0323\u0309\u0303\u0300\u0301àảãáạẲằẳẵắẴ"
    "ẮẦẨẪẤỀặầẩẫấậèỂẻẽ"
    "éẹềểễếệìỉỄẾỒĩíịò"
    "Ổỏõóọồổỗốộờởỡớợù"
    "ỖủũúụừửữứựỳỷỹýỵỐ"
)
_TCVN3_LOW = {
    0x01: "Ú", 0x02: "Ụ", 0x04: "Ừ", 0x05: "Ử", 0x06: "Ữ", 0x11: "Ứ", 0x12: "Ự", 0x13: "Ỳ",
    0x14: "Ỷ", 0x15: "Ỹ", 0x16: "Ý", 0x17: "Ỵ",
}  # fmt: skip
# VNI: what a byte behind a vowel does to it; those of â and ă bring the tone along.
_VNI_MARKS: Mapping[str, str] = {
    "ù": "\u0301", "ø": "\u0300", "û": "\u0309", "õ": "\u0303", "ï": "\u0323",
    "â": "\u0302", "á": "\u0302\u0301", "à": "\u0302\u0300",
    "å": "\u0302\u0309", "ã": "\u0302\u0303", "ä": "\u0302\u0323",
    "ê": "\u0306", "é": "\u0306\u0301", "è": "\u0306\u0300",
    "ú": "\u0306\u0309", "ü": "\u0306\u0303", "ë": "\u0306\u0323",
}  # fmt: skip
_VNI_LETTERS: Mapping[str, str] = {
    "ô": "ơ", "ö": "ư", "ñ": "đ", "í": "í", "ì": "ì", "æ": "ỉ", "ó": "ĩ", "ò": "ị", "î": "ỵ",
}  # fmt: skip
_VNI_VOWELS = frozenset("aeouyAEOUYơưƠƯ")


def decode(value: bytes, legacy: LegacySet) -> str:
    """The text, not composed (NFC is the caller's). Never raises: what no table knows becomes U+FFFD."""
    if legacy == "windows-1258":
        return value.decode("cp1258", "replace")
    if legacy == "vni":
        return _decode_vni(value.decode("cp1252", "replace"))
    high, low = (_VISCII, _VISCII_LOW) if legacy == "viscii" else (_TCVN3, _TCVN3_LOW)
    return "".join(high[code - 0x80] if code >= 0x80 else low.get(code, chr(code)) for code in value)


def _decode_vni(text: str) -> str:
    """A mark counts behind a vowel only: alone, and behind other letters, it is what it looks like."""
    made: list[str] = []
    for letter in text:
        small = letter.lower()
        if small in _VNI_LETTERS:
            plain = _VNI_LETTERS[small]
            made.append(plain if letter == small else plain.upper())
        elif small in _VNI_MARKS and made and made[-1] in _VNI_VOWELS:
            made[-1] = unicodedata.normalize("NFC", made[-1] + _VNI_MARKS[small])
        else:
            made.append(letter)
    return "".join(made)
