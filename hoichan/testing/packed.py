"""The same made-up film in every transfer syntax that a door takes (PS3.5 clause 10 and annex A).

Where a codec here can write it, the pixels are real; high-throughput JPEG 2000 was written by OpenJPH 0.31.
What nobody here can write has other bytes, and what refers to pixels elsewhere has none.
"""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gdcm
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID

from hoichan.intake.headers import EXPLICIT_BIG, EXPLICIT_LITTLE, NATIVE, PIXEL_DATA
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file

SIDE = 64  # pixels
GARBAGE = b"no picture" * 20
_GREY = (np.add.outer(np.arange(SIDE), np.arange(SIDE)) * 30).astype("<u2")  # up to 3,780: 12 bits
_VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\1\xe0mdat" + bytes(200)
_HTJ2K = (
    "/0//UQApQAAAAABAAAAAQAAAAAAAAAAAAAAAQAAAAEAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAAABAAUEBEAB/1wAEyCIkJCQ"
    "kJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4zMS4wLv+QAAoAAAAAASgAAf+TwAArAP9/bfdt99vuAoG0AMAAE8AAE4BIIPEC"
    "gnQASETiAKNUAMAAFVAABVgiRIgQ8apyAnUAIooQIeLAQgHstgDAABaEAAFpgBAQEBAQEBAQ58p6enGCeAAQISAgICAgIP79jGB79jGB"
    "7LoAwAAW3AABdEAGg8FgMBgMBoPBYDAYDPn/Cnp6enp6enECfQCGBoPBYDAYDAaDwWAwGP7/eGCEB79iEB79iEB79iEB7LMBwAAuqgAB"
    "duBaa6211lprrbXWWmuttdZaa6211v6//Ap6enp6enp6enp6enp6enACdgG61lprrbXWWmuttdZaa6211lprrf9/2wAAB79gAB79gAB7"
    "9gAB79gAB79gAB79gAB79gAB7LMC/9k="
)
_HTJ2K_LOSSY = (
    "/0//UQApQAAAAABAAAAAQAAAAAAAAAAAAAAAQAAAAEAAAAAAAAAAAAABDwEB/1AACAACAAAAIP9SAAwAAAABAAUEBEAA/1wAIyJhqWGL"
    "YYthblmZWZlZhlHLUctR2kpCSkJKlkIgQiBB2P9kABcAAU9wZW5KUEggVmVyIDAuMzEuMC7/kAAKAAAAAAA8AAH/k8AFUBcN5mBe4wGB"
    "tADABLABKGYAwnQA1v4zUwDACWAEoPC08nQA4sfstAAAAAD/2Q=="
)
_PROGRESSION_AT = 60  # byte of the progression order in the COD segment of both; 2: RPCL

Pack = Callable[[Dataset], bytes | None]  # makes one frame of a film; None: it has no pixels of its own


def film_in(transfer_syntax_uid: str, *, garbage: bool = False) -> Dataset:
    """A film with pixels as this syntax wants them, in a study of its own.

    `garbage`: with pixels that no decoder reads.
    """
    made = film(study=f"{transfer_syntax_uid} {garbage}", pixels=_GREY.tobytes())
    made.Rows = made.Columns = SIDE
    made.BitsStored, made.HighBit = 12, 11
    if transfer_syntax_uid == EXPLICIT_BIG:
        made.PixelData = _GREY.astype(">u2").tobytes()
    if transfer_syntax_uid in NATIVE:
        return made
    frame = GARBAGE if garbage else _PACKS.get(transfer_syntax_uid, _nobody)(made)
    if frame is None:
        del made.PixelData
        made.PixelDataProviderURL = "http://127.0.0.1/nothing"
    else:
        made.add_new(PIXEL_DATA, "OB", encapsulate([frame], has_bot=False))
        made["PixelData"].is_undefined_length = True
    return made


def _nobody(_: Dataset) -> bytes:
    """No codec here writes it."""
    return GARBAGE


def _elsewhere(_: Dataset) -> None:
    """The pixels are with a server, or in a stream beside the object."""


def _as_is(content: bytes) -> Pack:
    return lambda _: content


def _eight_bits(made: Dataset) -> bytes:
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    return (_GREY >> 4).astype("u1").tobytes()


def _jpeg(made: Dataset) -> bytes:
    file = BytesIO()
    Image.frombytes("L", (SIDE, SIDE), _eight_bits(made)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _extended(made: Dataset) -> bytes:
    """Of 8 bits: SOF1 in the place of SOF0, for whoever reads process 2 reads process 1 (ISO/IEC 10918-1)."""
    return _jpeg(made).replace(b"\xff\xc0", b"\xff\xc1", 1)


def _by_pydicom(transfer_syntax_uid: str, **options: Any) -> Pack:  # noqa: ANN401  of the encoder
    def pack(made: Dataset) -> bytes:
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
        made.compress(UID(transfer_syntax_uid), generate_instance_uid=False, **options)
        del made.file_meta
        return get_frame(made.PixelData, 0, number_of_frames=1)

    return pack


def _by_gdcm(syntax: int) -> Pack:
    """GDCM reads and writes files."""

    def pack(made: Dataset) -> bytes:
        with TemporaryDirectory() as folder:
            plain, packed = Path(folder, "plain.dcm"), Path(folder, "packed.dcm")
            plain.write_bytes(as_file(made))
            reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
            reader.SetFileName(str(plain))
            change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
            if not reader.Read() or not _changed(change, reader.GetImage()):
                raise RuntimeError("GDCM cannot write this syntax.")
            writer.SetFileName(str(packed))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            if not writer.Write():
                raise RuntimeError("GDCM cannot write this file.")
            return get_frame(dcmread(packed).PixelData, 0, number_of_frames=1)

    return pack


def _changed(change: Any, image: Any) -> bool:  # noqa: ANN401  of gdcm, untyped
    change.SetInput(image)
    return bool(change.Change())


def _deflated_frame(_: Dataset) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(_GREY.tobytes()) + stream.flush()


def _htj2k(content: str, *, order: int | None = None) -> Pack:
    codestream = bytearray(b64decode(content))
    if order is not None:
        codestream[_PROGRESSION_AT] = order
    return _as_is(bytes(codestream))


_JPEG_2000 = _by_pydicom("1.2.840.10008.1.2.4.90")
_PACKS: Mapping[str, Pack] = {
    "1.2.840.10008.1.2.1.98": _as_is(_GREY.tobytes()),
    "1.2.840.10008.1.2.4.50": _jpeg,
    "1.2.840.10008.1.2.4.51": _extended,
    "1.2.840.10008.1.2.4.57": _by_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14),
    "1.2.840.10008.1.2.4.70": _by_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    "1.2.840.10008.1.2.4.80": _by_pydicom("1.2.840.10008.1.2.4.80"),
    "1.2.840.10008.1.2.4.81": _by_pydicom("1.2.840.10008.1.2.4.81", jls_error=2),
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _by_pydicom("1.2.840.10008.1.2.4.91", j2k_cr=[4]),
    "1.2.840.10008.1.2.4.92": _JPEG_2000,  # part 2 without what it adds to part 1
    "1.2.840.10008.1.2.4.93": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _htj2k(_HTJ2K),
    "1.2.840.10008.1.2.4.202": _htj2k(_HTJ2K, order=2),
    "1.2.840.10008.1.2.4.203": _htj2k(_HTJ2K_LOSSY),
    "1.2.840.10008.1.2.5": _by_pydicom("1.2.840.10008.1.2.5"),
    "1.2.840.10008.1.2.8.1": _deflated_frame,
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{end}" for end in (94, 95, 204, 205)), _elsewhere),
    **dict.fromkeys((f"1.2.840.10008.1.2.7.{end}" for end in (1, 2, 3)), _elsewhere),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{end}" for end in range(100, 109)), _as_is(_VIDEO)),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{end}.1" for end in range(100, 107)), _as_is(_VIDEO)),
}
