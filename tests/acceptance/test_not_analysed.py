"""What cannot be scored is kept, says why, and goes on byte for byte where a rule says so."""

import json
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, EncapsulatedPDFStorage, GrayscaleSoftcopyPresentationStateStorage

from hoichan.intake.part10 import split
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from hoichan.testing.house import RunningHouse, wait_until
from tests.unit.service.api.dicomweb_site import sample

VIDEO_PHOTOGRAPHIC, MPEG4 = "1.2.840.10008.5.1.4.1.1.77.1.4.1", "1.2.840.10008.1.2.4.102"
CONFIG = """
[[destinations]]
name = "share"
kind = "folder"
path = "{path}"
send = []

[[forward]]
name = "what-no-model-reads"
to = ["share"]
states = ["not_analysed"]
"""


def presentation_state():
    made = film(study="pr", pixels=None)
    made.SOPClassUID, made.Modality = GrayscaleSoftcopyPresentationStateStorage, "PR"
    return as_file(made)


def pdf():
    made = film(study="pdf", pixels=None)
    made.SOPClassUID, made.Modality = EncapsulatedPDFStorage, "DOC"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = b"%PDF-1.4 " + b"x" * 2001
    return as_file(made)


def video():
    made = film(study="video", pixels=None)
    made.SOPClassUID, made.Modality = VIDEO_PHOTOGRAPHIC, "XC"
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "YBR_PARTIAL_420"
    made.Rows = made.Columns = 8
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.PlanarConfiguration = 7, 0, 0
    made.NumberOfFrames, made.FrameTime = 25, 40
    made.add_new(0x7FE00010, "OB", encapsulate([b"\0\0\0\x18ftypmp42" + b"\1" * 500], has_bot=False))
    made["PixelData"].is_undefined_length = True
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(MPEG4)
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


OBJECTS = {
    "ecg": lambda: sample("waveform_ecg.dcm"),
    "rt plan": lambda: sample("rtplan.dcm"),
    "presentation state": presentation_state,
    "video": video,
    "pdf": pdf,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("not-analysed")
    with RunningHouse(folder, config=CONFIG.format(path=folder / "share")) as house:
        yield house, folder / "share"


@pytest.mark.parametrize("kind", OBJECTS)
def test_it_is_kept_forwarded_and_says_why(running, tmp_path, kind):
    house, share = running
    content = OBJECTS[kind]()
    path = tmp_path / "object.dcm"
    path.write_bytes(content)
    assert "1 of 1 accepted" in house.send(path).stdout
    uid = instance_of(content)
    (file,) = wait_until(lambda: list(share.rglob(f"{uid}.dcm")), seconds=60, what="it was sent on")
    assert split(file.read_bytes()).data_set == split(content).data_set
    study = file.parent.name
    line = wait_until(lambda: listed(house, study), seconds=30, what="its state is told")
    assert line["state"] == "not_analysed" and line["state_reason"]
    assert line["report"]["outcome"] == "not_analysed" and line["report"]["refusals"]
    events = wait_until(
        lambda: [e for e in house.events(study) if e == "forward_sent"], seconds=30, what="the trail tells it"
    )
    assert events == ["forward_sent"]


def instance_of(content):
    return str(dcmread(BytesIO(content), stop_before_pixels=True).SOPInstanceUID)


def listed(house, study):
    found = json.loads(house.get(f"api/v1/studies/{study}"))
    return found if found["state"] == "not_analysed" else None
