"""Text of a data set as it was meant, NFC, whatever Specific Character Set (0008,0005) says.

Many devices write UTF-8 and declare ISO_IR 100 or nothing; then a Vietnamese name reads as `Nguyá»…n`.
Text is hardly ever valid UTF-8 by accident, so bytes that are, and that spell a Vietnamese letter, are
taken for it. Sets of the years before Unicode are what the site says of the sender, see `vietnamese`.
The file keeps its bytes: nothing is repaired on disk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pydicom.charset import python_encoding

from hoichan.intake import vietnamese
from hoichan.intake.vietnamese import LegacySet

_ESCAPE = 0x1B
_UNDECLARED = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO 2022 IR 100"})
_BASE = "aăâeêioôơuưyAĂÂEÊIOÔƠUƯY"
_TONES = ("", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323")  # ngang huyền sắc ngã hỏi nặng
_VIETNAMESE = frozenset(unicodedata.normalize("NFC", base + tone) for base in _BASE for tone in _TONES) | {
    "đ",
    "Đ",
}
_MARKED = frozenset(letter for letter in _VIETNAMESE if ord(letter) > 0x7F)
_ESCAPES = {  # PS3.3 C.12.1.1.2: escape sequence -> how the bytes after it decode
    b"\x1b(B": "ascii",
    b"\x1b(J": "shift_jis",
    b"\x1b)I": "shift_jis",
    b"\x1b-A": "latin_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7",
    b"\x1b-G": "iso8859_6",
    b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9",
    b"\x1b-T": "iso8859_11",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "gb2312",
}
_JAPANESE = (b"\x1b$B", b"\x1b$(D")  # the codec wants the escape itself
_ESCAPED = re.compile(rb"(\x1b[$(\-)]{1,2}[A-Z])([^\x1b]*)")


def decode(value: bytes, declared: Sequence[str], legacy: LegacySet | None = None) -> str:
    """The text of an element. Never raises: what no table knows becomes U+FFFD.

    `declared` are the defined terms of (0008,0005); empty where the data set has none. `legacy`: what the
    sender writes where it declares nothing that knows Vietnamese.
    """
    value = value.rstrip(b"\0 ")
    if _ESCAPE in value:
        return _clean(_decode_escaped(value, declared))
    term = declared[0].strip() if declared else ""
    if value.isascii() and (legacy is None or value.decode("ascii").isprintable()):
        return _clean(value.decode("ascii"))
    if term in _UNDECLARED:
        try:
            meant = unicodedata.normalize("NFC", value.decode("utf-8"))
        except UnicodeDecodeError:
            meant = ""
        if not _MARKED.isdisjoint(meant):
            return _clean(meant)
        if legacy is not None:
            return _clean(vietnamese.decode(value, legacy))
    return _clean(_decode_as(value, python_encoding.get(term, "utf-8")))


def repair(text: str) -> str:
    """A text that was decoded under the wrong declaration, read again; others only become NFC."""
    try:
        meant = unicodedata.normalize("NFC", text.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return _clean(text)
    return _clean(text if _MARKED.isdisjoint(meant) else meant)


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip(" \0"))


def _decode_as(value: bytes, encoding: str) -> str:
    if encoding in ("iso8859", "iso_ir_6"):  # the standard says ASCII; Latin-1 loses nothing
        encoding = "latin_1"
    return value.decode(encoding, "replace")


def _decode_escaped(value: bytes, declared: Sequence[str]) -> str:
    """Code extensions (PS3.5 6.1.2.5): every run of bytes under the set its escape sequence names."""
    term = declared[0].strip() if declared else ""
    head = value[: value.index(b"\x1b")]
    text = _decode_as(head, python_encoding.get(term, "latin_1"))
    for escape, run in _ESCAPED.findall(value):
        if escape in _JAPANESE:
            text += (escape + run).decode("iso2022_jp_2", "replace")
        else:
            text += _decode_as(run, _ESCAPES.get(escape, "latin_1"))
    return text
