"""dcmtk sends films in twelve transfer syntaxes; each is stored byte for byte and can be read again.

The films are synthetic. Native syntaxes and RLE are written by pydicom, the JPEG ones by dcmtk's own tools,
JPEG 2000 by pydicom's plug-in.
"""

import shutil
import subprocess
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, build_context

from dicom_listener import Door
from hoichan.adapters.associations import associate
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.dataset import read_spooled
from hoichan.intake.part10 import read_meta
from hoichan.settings import Listener, Site
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, film

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(shutil.which("dcmsend") is None, reason="dcmtk is not installed"),
]

DCMTK = {  # made by a dcmtk tool from the explicit little endian film
    JPEGBaseline8Bit: ["dcmcjpeg", "+eb"],
    JPEGExtended12Bit: ["dcmcjpeg", "+ee"],
    JPEGLossless: ["dcmcjpeg", "+el"],
    JPEGLosslessSV1: ["dcmcjpeg", "+e1"],
    JPEGLSLossless: ["dcmcjpls", "+el"],
    JPEGLSNearLossless: ["dcmcjpls", "+en"],
    RLELossless: ["dcmcrle"],
    DeflatedExplicitVRLittleEndian: ["dcmconv", "+td"],
    ExplicitVRBigEndian: ["dcmconv", "+tb"],
    ImplicitVRLittleEndian: ["dcmconv", "+ti"],
}
SYNTAXES = [ExplicitVRLittleEndian, *DCMTK, JPEG2000, JPEG2000Lossless]
EIGHT_BITS = (JPEGBaseline8Bit,)


def source(syntax):
    """A film of 64 x 48 with a gradient, 12 bits stored, or 8 where the syntax wants it."""
    data_set = film(study="twelve", instance=syntax)
    gradient = np.add.outer(np.arange(48), np.arange(64)) * 30
    data_set.Rows, data_set.Columns = gradient.shape
    if syntax in EIGHT_BITS:
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 8, 8, 7
        data_set.PixelData = (gradient // 16).astype(np.uint8).tobytes()
        data_set["PixelData"].VR = "OB"
    else:
        data_set.BitsStored, data_set.HighBit = 12, 11
        data_set.PixelData = gradient.astype("<u2").tobytes()
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data_set


def write(syntax, folder):
    data_set = source(syntax)
    path = folder / f"{UID(syntax).keyword}.dcm"
    if syntax in (JPEG2000, JPEG2000Lossless):
        rates = {"j2k_cr": [4]} if syntax == JPEG2000 else {}
        data_set.compress(syntax, generate_instance_uid=False, **rates)
    data_set.save_as(path, enforce_file_format=True)
    if syntax in DCMTK:
        # +un: the SOP Instance UID stays, also where the syntax is lossy
        keep = ["+un"] if DCMTK[syntax][0] in ("dcmcjpeg", "dcmcjpls") else []
        made = path.with_suffix(".made")
        subprocess.run([*DCMTK[syntax], *keep, path, made], check=True, capture_output=True)
        made.replace(path)
    return path


@pytest.fixture
def door(tmp_path):
    spool = DiskSpool(tmp_path / "spool")
    opened = Door(spool, Listener(port=0))
    yield spool, opened.open()
    opened.close()


def stored_of(spool, path):
    """What the spool holds of a film that was sent: its bytes and its meta."""
    original = dcmread(path, stop_before_pixels=True)
    (spooled,) = [
        s for s in spool.listing(original.StudyInstanceUID) if s.path.stem == original.SOPInstanceUID
    ]
    content = spool.file(spooled.path).read_bytes()
    return content, read_meta(content)


def test_dcmsend_in_every_transfer_syntax(door, tmp_path):
    spool, port = door
    sent = {syntax: write(syntax, tmp_path) for syntax in SYNTAXES}
    assert len({dcmread(path).file_meta.TransferSyntaxUID for path in sent.values()}) == len(SYNTAXES) >= 12
    done = subprocess.run(
        ["dcmsend", "-v", "-dn", "-aet", "CR_ROOM1", "127.0.0.1", str(port), *sent.values()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert f"with status SUCCESS  : {len(SYNTAXES)}" in done.stderr + done.stdout
    for syntax, path in sent.items():
        content, meta = stored_of(spool, path)
        original = path.read_bytes()
        if UID(syntax).is_encapsulated:
            assert meta.transfer_syntax_uid == syntax
            assert content[meta.offset :] == original[read_meta(original).offset :], path.name
        else:  # dcmsend proposes all native syntaxes together and writes the one that we take
            assert meta.transfer_syntax_uid in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
            assert np.array_equal(dcmread(BytesIO(content)).pixel_array, dcmread(path).pixel_array)


@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("-xi", ImplicitVRLittleEndian),
        ("-xd", DeflatedExplicitVRLittleEndian),
        ("-xe", ExplicitVRLittleEndian),
    ],
)
def test_storescu_in_native_syntaxes(door, tmp_path, option, syntax):
    spool, port = door
    path = write(syntax, tmp_path)
    subprocess.run(["storescu", option, "127.0.0.1", str(port), path], check=True, timeout=60)
    content, meta = stored_of(spool, path)
    assert meta.transfer_syntax_uid == syntax
    assert np.array_equal(dcmread(BytesIO(content)).pixel_array, dcmread(path).pixel_array)


def test_big_endian_alone(door, tmp_path):
    spool, port = door
    path = write(ExplicitVRBigEndian, tmp_path)
    entity = AE()
    association = associate(
        entity, "127.0.0.1", port, contexts=[build_context(COMPUTED_RADIOGRAPHY, ExplicitVRBigEndian)]
    )
    assert association.send_c_store(dcmread(path)).Status == 0x0000
    association.release()
    content, meta = stored_of(spool, path)
    assert meta.transfer_syntax_uid == ExplicitVRBigEndian
    assert np.array_equal(dcmread(BytesIO(content)).pixel_array, dcmread(path).pixel_array)


def test_what_came_can_be_described(door, tmp_path):
    spool, port = door
    sent = [write(syntax, tmp_path) for syntax in SYNTAXES]
    subprocess.run(["dcmsend", "-dn", "127.0.0.1", str(port), *sent], check=True, timeout=120)
    (study,) = spool.every_study()
    for spooled in spool.listing(study):
        part = read_spooled(spool, spooled, Site().zone)
        assert (part.instances[0].rows, part.instances[0].columns) == (48, 64)
        assert part.patient.patient_name.reveal() == "Nguyễn^An^Văn"
        assert part.calling_ae_title == "DCMSEND"


def test_echoscu(door):
    _, port = door
    subprocess.run(["echoscu", "127.0.0.1", str(port)], check=True, timeout=60)


def test_dcmsend_hears_that_a_truncated_film_was_not_taken(door, tmp_path):
    spool, port = door
    path = write(JPEGLosslessSV1, tmp_path)
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(path.read_bytes()[:-30])
    subprocess.run(
        ["storescu", "-xs", "127.0.0.1", str(port), broken], check=False, timeout=60, capture_output=True
    )
    assert spool.every_study() == []
    subprocess.run(["dcmsend", "-dn", "127.0.0.1", str(port), path], check=True, timeout=60)
    assert len(spool.every_study()) == 1
