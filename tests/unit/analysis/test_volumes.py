"""Slices to volumes and back: every voxel keeps its place in the patient, and what does not fit says why."""

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from hoichan.analysis.volume_selection import misfits
from hoichan.analysis.volumes import normalise, read_volume, slide
from hoichan.errors import InputOutOfDomain
from hoichan.types import VolumeSpec

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "models" / "hippocampus"
DATA = Path(os.environ.get("HOICHAN_TEST_DATA", ROOT / ".." / "shared" / "data"))
STUDY = DATA / "dicom" / "mr_brain_study3"
CROP = VolumeSpec(
    modality="MR", spacing_mm=(1, 1, 1), spacing_tolerance_mm=0.05,
    smallest=(28, 36, 22), largest=(48, 64, 52), largest_echo_time_ms=30,
)  # fmt: skip


def series(row=(1, 0, 0), column=(0, 1, 0), shape=(6, 5, 4), spacing=(2.0, 1.5), gap=3.0):
    """Slices of (slices, rows, columns) random voxels, in no order."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 1000, shape).astype(np.uint16)
    normal, made = np.cross(row, column), []
    for k in range(shape[0]):
        one = Dataset()
        one.Modality, one.SOPInstanceUID = "MR", f"1.2.{k + 1}"
        one.FrameOfReferenceUID = "1.2.3"
        one.Rows, one.Columns = shape[1:]
        one.PixelSpacing = list(spacing)
        one.ImageOrientationPatient = [*map(float, row), *map(float, column)]
        one.ImagePositionPatient = [float(v) for v in np.array([10.0, -20.0, 30.0]) + normal * gap * k]
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 0, 1
        one.PhotometricInterpretation, one.PixelData = "MONOCHROME2", pixels[k].tobytes()
        one.file_meta = Dataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.append(one)
    return [made[i] for i in rng.permutation(shape[0])], pixels


AXES = [
    (r, c) for r, c in itertools.product(np.vstack([np.eye(3), -np.eye(3)]), repeat=2) if abs(r @ c) < 0.5
]


@pytest.mark.parametrize(("row", "column"), AXES)
def test_every_voxel_lies_where_dicom_says(row, column):
    slices, pixels = series(tuple(row), tuple(column))
    volume = read_volume(slices)
    assert (np.diag(volume.affine)[:3] > 0).all()
    by_uid = {str(one.SOPInstanceUID): one for one in slices}
    k, r, c = 4, 3, 1
    one = by_uid[f"1.2.{k + 1}"]
    # PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1
    lps = np.array(one.ImagePositionPatient, float) + row * 1.5 * c + column * 2.0 * r
    at = np.linalg.inv(volume.affine) @ [-lps[0], -lps[1], lps[2], 1]
    i, j, m = np.rint(at[:3]).astype(int)
    np.testing.assert_allclose(at[:3], [i, j, m], atol=1e-6)
    assert volume.voxels[i, j, m] == pixels[k, r, c]
    assert volume.voxel_ml == pytest.approx(0.009)


@pytest.mark.parametrize(("row", "column"), AXES)
def test_labels_come_back_to_their_slices(row, column):
    slices, pixels = series(tuple(row), tuple(column))
    volume = read_volume(slices)
    back = volume.to_slices((volume.voxels > 500).astype(np.uint8))
    expected = {f"1.2.{k + 1}": pixels[k] > 500 for k in range(len(pixels))}
    for uid, labels in zip(volume.sop_instance_uids, back, strict=True):
        np.testing.assert_array_equal(labels.astype(bool), expected[uid])


def test_a_missing_slice_is_no_volume():
    slices, _ = series()
    kept = [one for one in slices if one.SOPInstanceUID != "1.2.3"]
    with pytest.raises(InputOutOfDomain, match="even distances"):
        read_volume(kept)


def test_a_slice_without_a_place_is_no_volume():
    slices, _ = series()
    del slices[2].ImagePositionPatient
    with pytest.raises(InputOutOfDomain, match="where it lies"):
        read_volume(slices)


def test_all_reasons_of_a_misfit_are_told():
    slices, _ = series()
    for one in slices:
        one.EchoTime, one.ContrastBolusAgent = 90, "10 ml"
    told = misfits(slices, CROP)
    assert len(told) == 4
    assert any("not T1" in reason for reason in told)
    assert any("voxels of 1.50 x 2.00 x 3.00 mm" in reason for reason in told)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"BodyPartExamined": "KNEE"}, "BodyPartExamined is not BRAIN"),
        ({"PatientAge": "017Y"}, "patient younger than 18"),
        ({"PatientAge": "011M"}, "patient younger than 18"),
        ({"PatientBirthDate": "20060302", "StudyDate": "20240301"}, "patient younger than 18"),
        ({"PatientBirthDate": "20060301", "StudyDate": "20240301"}, None),
        ({"PatientAge": "018Y", "BodyPartExamined": "brain"}, None),
        ({"PatientAge": "", "BodyPartExamined": ""}, None),
        ({"SamplesPerPixel": 3}, "not a grey picture"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_whom_and_what_it_was_trained_on(tags, told):
    slices, _ = series()
    for one in slices:
        for keyword, value in tags.items():
            setattr(one, keyword, value)
    spec = replace(CROP, body_part_examined=("BRAIN",), youngest_years=18)
    assert set(misfits(slices, spec)) - set(misfits(series()[0], CROP)) == ({told} if told else set())


def test_windows_weigh_to_one():
    volume = np.random.default_rng(0).random((20, 9, 31), dtype=np.float32)
    found = slide(volume, (8, 12, 16), lambda x: np.stack([x, 1 - x]))
    np.testing.assert_allclose(found[0], volume, atol=1e-5)
    np.testing.assert_allclose(found[1], 1 - volume, atol=1e-5)


@pytest.fixture(scope="module")
def network():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(PACKAGE / "weights.onnx", options)

    def run(x):
        padded = np.pad(x, [(0, -side % 4) for side in x.shape])
        found = session.run(None, {"image": padded[None, None]})[0][0]
        return found[:, : x.shape[0], : x.shape[1], : x.shape[2]]

    return run


def test_the_shipped_network_gives_its_golden_case(network):
    golden = np.load(PACKAGE / "golden" / "drawn.npz")
    logits = network(normalise(golden["volume"].astype(np.float32)))
    np.testing.assert_allclose(logits[:, ::8, ::8, ::8], golden["corner_logits"], atol=0.02)
    assert (logits.argmax(0) == golden["labels"]).mean() > 0.999


@pytest.mark.skipif(not STUDY.is_dir(), reason="the MR study is not beside the checkout (HOICHAN_TEST_DATA)")
def test_of_a_whole_study_only_the_crop_fits(network):
    fits = {}
    for folder in sorted(STUDY.iterdir()):
        slices = [dcmread(path) for path in sorted(folder.iterdir())]
        fits[folder.name] = (misfits(slices, CROP), slices)
    taken = [name for name, (reasons, _) in fits.items() if not reasons]
    assert taken == ["11_HCropVolume"]
    volume = read_volume(fits["11_HCropVolume"][1])
    labels = network(normalise(volume.voxels)).argmax(0)
    front, back = (np.argwhere(labels == k) for k in (1, 2))
    assert front[:, 1].mean() > back[:, 1].mean() + 8  # y runs forward: the head lies before the tail
    assert 0.5 < len(front) * volume.voxel_ml < 4
    assert 0.5 < len(back) * volume.voxel_ml < 4
