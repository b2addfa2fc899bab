"""The file form of a received data set: our own file meta, then the bytes exactly as they came (PS3.10 7.1).

A checksum of the data set (XXH3, 128 bits) stands in the private information (0002,0102). It costs a fiftieth
of SHA-256 and tells what the disk has changed. The SHA-256 for the record is made by the house when it first
reads the file and has found it unchanged (ADR-0009).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache

import xxhash

import hoichan
from hoichan.errors import DamagedObject, IncompleteObject, NotDicom
from hoichan.intake.door import is_uid
from hoichan.intake.headers import Buffer, Syntax, walk
from hoichan.types import Sha256
from hoichan.uids import derived_uid

_PREAMBLE = b"\0" * 128 + b"DICM"
_IMPLEMENTATION_CLASS = derived_uid("implementation", "hoichan")
_IMPLEMENTATION_VERSION = f"HOICHAN_{hoichan.__version__}"[:16]
_CHECKSUM_CREATOR = derived_uid("private information", "xxh3-128 of the data set")
_DIGEST_CREATOR = derived_uid("private information", "sha256 of the data set")  # files of the first weeks
CHECKSUM_BYTES = 16


Checksum = xxhash.xxh3_128  # takes the data set whole, or piece by piece with update()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A Part 10 file in its two halves."""

    sop_class_uid: str  # (0002,0002); "" when the file meta has none
    sop_instance_uid: str  # (0002,0003); "" when the file meta has none
    transfer_syntax_uid: str  # (0002,0010)
    data_set: bytes  # as it stands in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What stands before the data set."""

    sop_class_uid: str  # (0002,0002)
    sop_instance_uid: str  # (0002,0003)
    transfer_syntax_uid: str  # (0002,0010)
    calling_ae_title: str  # (0002,0016) and (0002,0017)
    checksum: bytes | None  # (0002,0102): XXH3-128 or SHA-256, by its length; None in another's file
    offset: int  # where the data set begins in the file


def write_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_ae_title: str,
    checksum: bytes = bytes(CHECKSUM_BYTES),
) -> bytes:
    """Preamble, prefix and group 0002. The data set follows as it is.

    `checksum`: `Checksum.digest()` of the data set. The length of what is returned does not depend on it, so
    it may be written last.
    """
    title = "".join(c for c in calling_ae_title.strip() if " " <= c <= "~" and c != "\\")[:16]
    before, between = _around_instance(sop_class_uid, transfer_syntax_uid, title)
    instance = _element(0x0003, "UI", sop_instance_uid.encode())
    group = before + instance + between + _element(0x0102, "OB", checksum)
    return _PREAMBLE + _element(0x0000, "UL", struct.pack("<I", len(group))) + group


@lru_cache(maxsize=256)  # of a series it is always the same
def _around_instance(sop_class_uid: str, transfer_syntax_uid: str, title: str) -> tuple[bytes, bytes]:
    """The elements of group 0002 before (0002,0003), and those from there to the checksum."""
    before = _element(0x0001, "OB", b"\0\1") + _element(0x0002, "UI", sop_class_uid.encode())
    between = (
        _element(0x0010, "UI", transfer_syntax_uid.encode()),
        _element(0x0012, "UI", _IMPLEMENTATION_CLASS.encode()),
        _element(0x0013, "SH", _IMPLEMENTATION_VERSION.encode()),
        _element(0x0016, "AE", title.encode()),
        _element(0x0017, "AE", title.encode()),
        _element(0x0100, "UI", _CHECKSUM_CREATOR.encode()),
    )
    return before, b"".join(between)


def is_part10(start: Buffer) -> bool:
    """Whether a file that begins with these 132 bytes says that it is DICOM."""
    return start[128:132] == b"DICM"


def split(file: bytes) -> File:
    """Another's file as a door takes it: what it says it is, and the data set as it stands.

    Raises NotDicom (no prefix, damaged file meta) and IncompleteObject (no transfer syntax, so that nobody
    can know how to read on). Whether the data set is whole is for `hoichan.intake.door` to say.
    """
    values, offset = _elements(file)
    syntax = _text(values, 0x00020010)
    if not is_uid(syntax):
        raise IncompleteObject("Transfer Syntax UID is missing in the file meta, or malformed.")
    return File(
        sop_class_uid=_text(values, 0x00020002),
        sop_instance_uid=_text(values, 0x00020003),
        transfer_syntax_uid=syntax,
        data_set=file[offset:],
    )


def read_meta(file: Buffer) -> FileMeta:
    """The file meta of a Part 10 file, ours or another's; the data set is not looked at. Raises NotDicom."""
    values, offset = _elements(file)
    creator, checksum = _text(values, 0x00020100), values.get(0x00020102, b"")
    ours = (creator, len(checksum)) in ((_CHECKSUM_CREATOR, CHECKSUM_BYTES), (_DIGEST_CREATOR, 32))
    return FileMeta(
        sop_class_uid=_text(values, 0x00020002),
        sop_instance_uid=_text(values, 0x00020003),
        transfer_syntax_uid=_text(values, 0x00020010),
        calling_ae_title=_text(values, 0x00020016),
        checksum=checksum if ours else None,
        offset=offset,
    )


def digest(file: Buffer, meta: FileMeta) -> Sha256:
    """SHA-256 of the data set, after it was held against its checksum; reads the whole file.

    Raises DamagedObject where the file is not what was written when it was received.
    """
    with memoryview(file) as whole, whole[meta.offset :] as data_set:
        sha256 = hashlib.sha256(data_set)
        if meta.checksum is not None:
            same_kind = sha256 if len(meta.checksum) == sha256.digest_size else Checksum(data_set)
            if same_kind.digest() != meta.checksum:
                raise DamagedObject
    return Sha256(sha256.hexdigest())


def _elements(file: Buffer) -> tuple[dict[int, bytes], int]:
    """The values of group 0002, and where the data set begins. Raises NotDicom."""
    if not is_part10(file):
        raise NotDicom("The file has no DICM prefix.")
    syntax = Syntax(implicit=False, little=True, native=True)
    values: dict[int, bytes] = {}
    offset, end = len(_PREAMBLE), len(file)
    while offset < end:
        element = next(walk(file, syntax, start=offset, end=end, stop_at=0x00030000), None)
        if element is None:
            break
        values[element.tag] = file[element.start : element.start + element.length]
        offset = element.start + element.length
        if element.tag == 0x00020000 and element.length == 4:
            end = min(end, offset + struct.unpack("<I", values[element.tag])[0])
    return values, offset


def _element(number: int, vr: str, value: bytes) -> bytes:
    """One element of group 0002, explicit VR little endian, padded to an even length (PS3.5 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    length = struct.pack("<HI", 0, len(value)) if vr == "OB" else struct.pack("<H", len(value))
    return struct.pack("<HH", 0x0002, number) + vr.encode() + length + value


def _text(values: dict[int, bytes], tag: int) -> str:
    return values.get(tag, b"").decode("ascii", "replace").strip(" \0")
