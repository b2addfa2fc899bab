"""High-throughput JPEG 2000 (PS3.5 A.4.4.4) through the door: kept as it came, and read.

No codec of ours writes it, so the picture is of another program: OpenJPH 0.26.3, 24 x 16 pixels of 16 bits.
"""

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL
from pynetdicom import build_context

from hoichan.adapters.frames import decoded
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.part10 import split
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, film
from tests.integration.test_listener import association, opened

CODESTREAM = bytes.fromhex(
    "ff4fff5100294000000000180000001000000000000000000000001800000010000000000000000000010f0101ff50000800020000"
    "000aff52000c00020001000504044001ff5c00132088909090909090909090909090888888ff64001700014f70656e4a5048205665"
    "7220302e32362e332eff90000a0000000000950001ff93c00026fbfc05077400c000130002fc02877400c00012c0001380e1000774"
    "00228af800823400c00013c00015401021fe818b7400102120fe000840775600c00015300005700683c1f0da71027500860683c160"
    "f8e010f62101ecb800c0002b600016b85a6badb5d6f3fa7a7a70027800bad65a6badb5d6faff1000001efd80007bf60001ecbf00ff"
    "d9"
)
PICTURE = np.add.outer(np.arange(16), np.arange(24)) * 30


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_a_film_in_htj2k_is_kept_and_read(tmp_path, syntax):
    spool = DiskSpool(tmp_path)
    sent = film(study="htj2k")
    sent.Rows, sent.Columns = PICTURE.shape
    sent.BitsStored, sent.HighBit = 16, 15
    sent.PixelData = encapsulate([CODESTREAM])
    sent["PixelData"].VR, sent["PixelData"].is_undefined_length = "OB", True
    sent.ensure_file_meta()
    sent.file_meta.TransferSyntaxUID = syntax
    with opened(spool) as port:
        contexts = [build_context(COMPUTED_RADIOGRAPHY, syntax)]
        with association(port, contexts=contexts) as made:
            assert made.send_c_store(sent).Status == 0x0000
    (spooled,) = spool.listing(sent.StudyInstanceUID)
    file = split(spool.file(spooled.path).read_bytes())
    assert file.transfer_syntax_uid == syntax
    assert CODESTREAM in file.data_set
    _, pixels = decoded(spool.file(spooled.path), 0)
    assert np.array_equal(pixels, PICTURE)
