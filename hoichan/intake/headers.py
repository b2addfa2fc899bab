"""Walks over the elements of an encoded data set without decoding a single value (PS3.5 clause 7).

The door needs to know that a data set is whole before it says Success, so every length is held against
what is really there, down to the fragments of encapsulated pixels. Nothing is copied, nothing is warned
about, and the only error is NotDicom, whose text holds tags and offsets but never a value.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Container, Iterator, Mapping
from typing import NamedTuple

from hoichan.errors import NotDicom

Buffer = bytes | mmap.mmap

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG})
_DEFLATED_TOO = frozenset({DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})  # JPIP, deflated

PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_SHORT_LENGTH: Mapping[bytes, str] = {  # PS3.5 7.1.2: 16-bit length; every other VR has 32 bits
    vr.encode(): vr
    for vr in (
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO",
        "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US",
    )
}  # fmt: skip
_NO_VR: Mapping[bytes, None] = {b"": None}
_PLAIN_HEADERS = {
    (implicit, little): struct.Struct(("<" if little else ">") + ("HH0sI" if implicit else "HH2sH"))
    for implicit in (False, True)
    for little in (False, True)
}
_DEEPEST = 32  # nested items; real objects stay below ten
_LARGEST_INFLATED = 1024**3  # bytes; a deflated data set may not grow beyond this


class Syntax(NamedTuple):
    """How a data set is written."""

    implicit: bool  # no VR in the element headers
    little: bool  # little endian
    native: bool  # pixels are not encapsulated


class Element(NamedTuple):
    """Where one element lies in the (inflated) data set."""

    tag: int
    vr: str | None  # None: not written there
    start: int  # offset of the value
    length: int  # bytes of the value, delimiters included
    undefined: bool  # the length was given as undefined


def syntax_of(transfer_syntax_uid: str) -> Syntax:
    """How elements are written in a transfer syntax; unlisted ones are explicit, little and encapsulated."""
    return Syntax(
        implicit=transfer_syntax_uid == IMPLICIT_LITTLE,
        little=transfer_syntax_uid != EXPLICIT_BIG,
        native=transfer_syntax_uid in NATIVE,
    )


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Whether the whole data set is deflated."""
    return transfer_syntax_uid in _DEFLATED_TOO


def inflated(data_set: Buffer, transfer_syntax_uid: str) -> Buffer:
    """The data set as its elements stand, deflate undone (PS3.5 A.5). Raises NotDicom."""
    if not is_deflated(transfer_syntax_uid):
        return data_set
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = stream.decompress(data_set[:], _LARGEST_INFLATED)
    except zlib.error as error:
        raise NotDicom("The deflated data set cannot be inflated.") from error
    if not stream.eof:
        raise NotDicom("The deflated data set is cut off or too large.")
    return plain


def walk(
    data: Buffer, syntax: Syntax, *, start: int = 0, end: int | None = None, stop_at: int | None = None
) -> Iterator[Element]:
    """Every element of the outermost level, in file order, up to the first tag at or above `stop_at`.

    Raises NotDicom where a length runs past the end or an item is not where it must be.
    """
    yield from _elements(data, syntax, start, len(data) if end is None else end, depth=0, stop_at=stop_at)


def find(data: Buffer, syntax: Syntax, wanted: Container[int], *, start: int = 0) -> Iterator[Element]:
    """As `walk`, to the end, but gives only the wanted tags, in half of the time. Raises NotDicom."""
    vrs: Mapping[bytes, str | None] = _NO_VR if syntax.implicit else _SHORT_LENGTH
    header = _plain_header(syntax)
    position, end = start, len(data)
    while position < end:
        if end - position >= 8:
            group, number, code, length = header(data, position)
            if code in vrs and group != 0xFFFE and length != _UNDEFINED and length <= end - position - 8:
                tag = group << 16 | number
                if tag in wanted:
                    yield Element(tag, vrs[code], position + 8, length, False)
                position += 8 + length
                continue
        element = next(_elements(data, syntax, position, end, depth=0), None)
        if element is None:
            break  # padding
        if element.tag in wanted:
            yield element
        position = element.start + element.length


def items(data: Buffer, syntax: Syntax, element: Element) -> Iterator[list[Element]]:
    """The elements of each item of a sequence. Raises NotDicom."""
    if element.vr == "UN":  # PS3.5 6.2.2 note 5
        syntax = Syntax(implicit=True, little=True, native=syntax.native)
    position, end = element.start, element.start + element.length
    while position < end:
        tag, length = _item_header(data, syntax, position, end)
        position += 8
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM:
            raise NotDicom(f"No item where one must be, at byte {position - 8}.")
        if length == _UNDEFINED:
            found = list(_elements(data, syntax, position, end, depth=1, in_item=True))
            position = found.pop().start  # the delimiter
        else:
            found = list(_elements(data, syntax, position, position + length, depth=1))
            position += length
        yield found


def _elements(
    data: Buffer,
    syntax: Syntax,
    position: int,
    end: int,
    *,
    depth: int,
    stop_at: int | None = None,
    in_item: bool = False,
) -> Iterator[Element]:
    """As `walk`; inside an item of undefined length the last element given is its delimiter."""
    vrs: Mapping[bytes, str | None] = _NO_VR if syntax.implicit else _SHORT_LENGTH
    header = _plain_header(syntax)
    while position < end:
        if end - position < 8:
            if any(data[position:end]):
                raise NotDicom(f"Cut off in an element header at byte {position}.")
            break  # padding
        group, number, code, length = header(data, position)
        if code in vrs and group != 0xFFFE and length != _UNDEFINED and length <= end - position - 8:
            tag = group << 16 | number  # of most elements there is no more to ask
            if stop_at is not None and tag >= stop_at:
                return
            yield Element(tag, vrs[code], position + 8, length, False)
            position += 8 + length
            continue
        tag, vr, length, position = _header(data, syntax, position, end)
        if tag == _ITEM_END and in_item:
            yield Element(tag, None, position, 0, False)
            return
        if stop_at is not None and tag >= stop_at:
            return
        if tag >> 16 == 0xFFFE:
            raise NotDicom(f"A delimiter outside of a sequence at byte {position - 8}.")
        stop = _value_end(data, syntax, Element(tag, vr, position, length, length == _UNDEFINED), end, depth)
        yield Element(tag, vr, position, stop - position, length == _UNDEFINED)
        position = stop
    if in_item:
        raise NotDicom("An item of undefined length has no end.")


def _plain_header(syntax: Syntax) -> Callable[[Buffer, int], tuple[int, int, bytes, int]]:
    """Reads group, number, VR and length of an element of eight bytes' header."""
    return _PLAIN_HEADERS[syntax.implicit, syntax.little].unpack_from


def _header(data: Buffer, syntax: Syntax, position: int, end: int) -> tuple[int, str | None, int, int]:
    """Tag, VR, length and offset of the value; without a VR in an explicit syntax it is read as implicit."""
    order = "<" if syntax.little else ">"
    group, number = struct.unpack_from(order + "HH", data, position)
    tag = group << 16 | number
    vr = data[position + 4 : position + 6]
    if syntax.implicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
        return tag, None, struct.unpack_from(order + "I", data, position + 4)[0], position + 8
    if vr in _SHORT_LENGTH:
        return tag, vr.decode(), struct.unpack_from(order + "H", data, position + 6)[0], position + 8
    if end - position < 12:
        raise NotDicom(f"Cut off in the header of {_name(tag)}.")
    return tag, vr.decode(), struct.unpack_from(order + "I", data, position + 8)[0], position + 12


def _value_end(data: Buffer, syntax: Syntax, element: Element, end: int, depth: int) -> int:
    if element.tag == PIXEL_DATA and depth == 0 and syntax.native == element.undefined:
        raise NotDicom("Pixel data is not written as the transfer syntax says.")
    if not element.undefined:
        if element.start + element.length > end:
            missing = element.start + element.length - end
            raise NotDicom(f"{_name(element.tag)} is cut off: {missing} bytes are missing.")
        return element.start + element.length
    if element.tag == PIXEL_DATA:
        return _after_fragments(data, syntax, element.start, end)
    if element.vr not in ("SQ", "UN", None):
        raise NotDicom(f"{_name(element.tag)} has an undefined length but is no sequence.")
    if depth >= _DEEPEST:
        raise NotDicom("Sequences are nested too deeply.")
    if element.vr == "UN":
        syntax = Syntax(implicit=True, little=True, native=syntax.native)
    return _after_items(data, syntax, element.start, end, depth + 1)


def _after_items(data: Buffer, syntax: Syntax, position: int, end: int, depth: int) -> int:
    while True:
        tag, length = _item_header(data, syntax, position, end)
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise NotDicom(f"No item where one must be, at byte {position - 8}.")
        if length != _UNDEFINED:
            position += length
        else:
            for element in _elements(data, syntax, position, end, depth=depth, in_item=True):
                position = element.start + element.length
        if position > end:
            raise NotDicom("An item runs past the end of the data set.")


def _after_fragments(data: Buffer, syntax: Syntax, position: int, end: int) -> int:
    """PS3.5 A.4: an offset table item, at least one fragment, and a delimiter."""
    count = 0
    while True:
        tag, length = _item_header(data, syntax, position, end)
        position += 8
        if tag == _SEQUENCE_END:
            if count < 2:
                raise NotDicom("Encapsulated pixel data has no fragment.")
            return position
        if tag != _ITEM or length == _UNDEFINED:
            raise NotDicom(f"Encapsulated pixel data has no item at byte {position - 8}.")
        position += length
        count += 1
        if position > end:
            raise NotDicom(f"A fragment of the pixel data is cut off: {position - end} bytes are missing.")


def _item_header(data: Buffer, syntax: Syntax, position: int, end: int) -> tuple[int, int]:
    if end - position < 8:
        raise NotDicom("A sequence has no end.")
    group, number, length = struct.unpack_from("<HHI" if syntax.little else ">HHI", data, position)
    return group << 16 | number, length


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
