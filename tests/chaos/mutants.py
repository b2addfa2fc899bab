"""Data sets that went wrong, from a seed: what a broken modality, a bad cable or a hostile peer sends."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pydicom
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts

from hoichan.errors import HoichanError
from hoichan.intake.headers import DEFLATED, EXPLICIT_LITTLE
from hoichan.intake.part10 import read_meta
from hoichan.testing.datasets import encode
from hoichan.testing.reports import a_film

LONGEST = 200_000  # bytes of a data set; the wrong is in the headers, not in the pixels
KNOWN_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
_VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV"
).split()
_LENGTHS = (0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_WORDS = (
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\xe0\x7f\x10\x00",
    b"\xff\xff\xff\xff",
)
Mutation = Callable[[bytes, random.Random], bytes]


class Sample(NamedTuple):
    """A data set that some program wrote, right or wrong."""

    name: str
    sop_class: str
    sop_instance: str
    syntax: str
    data_set: bytes


def corpus(longest: int = LONGEST) -> list[Sample]:
    """pydicom's own test files, many of them malformed on purpose, that name a storage class."""
    found = []
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")):
        if not path.is_file():
            continue
        whole = path.read_bytes()
        try:
            meta = read_meta(whole)
        except HoichanError:
            continue
        known = meta.sop_class_uid in KNOWN_CLASSES and meta.transfer_syntax_uid in ALL_TRANSFER_SYNTAXES
        if known and len(whole) - meta.offset <= longest:
            found.append(
                Sample(
                    path.name,
                    meta.sop_class_uid,
                    meta.sop_instance_uid or "1.2.3",
                    meta.transfer_syntax_uid,
                    whole[meta.offset :],
                )
            )
    return found


def chest_films(count: int = 12) -> list[Sample]:
    """Films that a model takes, each of its own study: their mutants reach the runner."""
    made = (a_film(f"fuzz {number}", rows=96, columns=80) for number in range(count))
    return [
        Sample("chest film", film.SOPClassUID, film.SOPInstanceUID, EXPLICIT_LITTLE, encode(film))
        for film in made
    ]


def renamed(sample: Sample, number: int) -> Sample:
    """The same as an instance of its own: its UID ends with a number, and is as long as before."""
    uid = sample.sop_instance
    if len(uid) < 12 or sample.syntax == DEFLATED:
        return sample
    new = f"{uid[:-9]}.{10_000_000 + number}".replace("..", ".1")
    return sample._replace(sop_instance=new, data_set=sample.data_set.replace(uid.encode(), new.encode()))


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _flip_bits(data: bytes, dice: random.Random) -> bytes:
    """zzuf's way: so many of a thousand bits, all over."""
    changed = bytearray(data)
    for _ in range(max(1, len(data) * 8 * dice.choice((1, 4, 40)) // 10_000)):
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _change_header(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randrange(1, 12)):
        changed[dice.randrange(min(len(data), 2000))] = dice.randrange(256)
    return bytes(changed)


def _wild_length(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(max(1, min(len(data), 4000) - 4))
    return data[:at] + struct.pack("<I", dice.choice(_LENGTHS)) + data[at + 4 :]


def _wild_vr(data: bytes, dice: random.Random) -> bytes:
    places = [at for at in range(4, min(len(data), 4000)) if data[at : at + 2] in _VRS]
    if not places:
        return _wild_length(data, dice)
    at = dice.choice(places)
    return data[:at] + dice.choice(_VRS) + data[at + 2 :]


def _drop(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.randrange(1, 60) :]


def _double(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    end = at + dice.randrange(1, 600)
    return data[:end] + data[at:end] + data[end:]


def _insert(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    word = dice.choice((*_WORDS, dice.randbytes(dice.randrange(1, 20))))
    return data[:at] + word + data[at:]


def _nest(data: bytes, dice: random.Random) -> bytes:
    """Sequences in sequences, up to far deeper than any reader's stack."""
    depth = dice.choice((3, 31, 33, 500, 5000))
    opening = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    at = dice.choice((0, len(data)))
    return data[:at] + opening * depth + closing * dice.choice((depth, depth, depth - 1, 0)) + data[at:]


def _blank(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    end = min(len(data), at + dice.randrange(1, 400))
    return data[:at] + bytes([dice.choice((0, 32, 255))]) * (end - at) + data[end:]


def _wild_text(data: bytes, dice: random.Random) -> bytes:
    """The character set, a date, a number, a name: other bytes of the same length."""
    places = [
        at
        for at in range(4, min(len(data), 4000))
        if data[at : at + 2] in (b"CS", b"PN", b"DA", b"TM", b"IS", b"DS", b"AS")
    ]
    changed = bytearray(data)
    for at in dice.sample(places, min(3, len(places))):
        length = int.from_bytes(changed[at + 2 : at + 4], "little")
        if length < 300 and at + 4 + length <= len(changed):
            changed[at + 4 : at + 4 + length] = dice.randbytes(length)
    return bytes(changed)


MUTATIONS: tuple[Mutation, ...] = (
    _cut,
    _flip_bits,
    _change_header,
    _wild_length,
    _wild_vr,
    _wild_text,
    _drop,
    _double,
    _insert,
    _nest,
    _blank,
)


def mutants(count: int, seed: int) -> Iterator[Sample]:
    """So many: every fourth is a file as it came, the others have one to three things wrong with them."""
    dice = random.Random(seed)
    samples = [*corpus(), *chest_films()]
    for number in range(count):
        sample = renamed(dice.choice(samples), number)
        data = sample.data_set
        for mutation in dice.choices(MUTATIONS, k=dice.choice((1, 1, 2, 3))) if number % 4 else ():
            if data:
                data = _under_deflate(mutation, data, sample.syntax, dice)
        yield sample._replace(data_set=data)


def _under_deflate(mutation: Mutation, data: bytes, syntax: str, dice: random.Random) -> bytes:
    """A deflated data set goes wrong before it is deflated, half of the time."""
    if syntax != DEFLATED or dice.random() < 0.5:
        return mutation(data, dice)
    try:
        plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)
    except zlib.error:
        return data
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(mutation(plain, dice) if plain else plain) + stream.flush()
