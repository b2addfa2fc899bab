"""A made-up MR series in any direction, and a package that outlines two parts of it."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from hoichan.types import Code, Segment, Sha256, VolumeManifest, VolumeSpec

CORNER = (10.0, -20.0, 30.0)  # mm, LPS, centre of the first voxel


def a_volume_manifest() -> VolumeManifest:
    """Two parts, on the channels 1 and 4: numbers of segments and channels are not the same."""
    region = Code(code_value="5366008", coding_scheme_designator="SCT", code_meaning="Hippocampus")
    parts = {1: ("front", "Phần trước", "Front part"), 4: ("back", "Phần sau", "Back part")}
    return VolumeManifest(
        name="parts",
        algorithm_name="Parts",
        algorithm_version="1.0.0",
        algorithm_source="Hoi Chan",
        intended_use={"vi": "Kiểm thử", "en": "Tests"},
        disclaimer={"vi": "Bản minh họa", "en": "Demonstration"},
        weights=PurePosixPath("weights.onnx"),
        weights_sha256=Sha256("0" * 64),
        accepts=VolumeSpec(
            modality="MR",
            spacing_mm=(1, 1, 1),
            spacing_tolerance_mm=0.05,
            smallest=(4, 4, 4),
            largest=(64, 64, 64),
        ),
        window=(16, 16, 16),
        multiple_of=1,
        segments=tuple(
            Segment(
                channel=channel,
                display={"vi": vi, "en": en},
                code=Code(code_value=value, coding_scheme_designator="99HOICHAN", code_meaning=en),
                region=region,
            )
            for channel, (value, vi, en) in parts.items()
        ),
        license="Apache-2.0",
        status="research",
        root=PurePosixPath("/"),
    )


def an_mr_series(
    row: tuple[float, float, float] = (1, 0, 0),
    column: tuple[float, float, float] = (0, 1, 0),
    shape: tuple[int, int, int] = (6, 5, 4),
    spacing: tuple[float, float] = (2.0, 1.5),
    step: float = 3.0,
    pixels: NDArray[np.uint16] | None = None,
) -> list[Dataset]:
    """Slices in order along their normal. `shape`: (slices, rows, columns); `spacing`: (rows, columns) mm.

    `pixels`: (slices, rows, columns), in the place of random ones; `shape` is then theirs.
    """
    if pixels is None:
        pixels = np.random.default_rng(1).integers(0, 1000, shape).astype(np.uint16)
    normal = np.cross(row, column)
    made = []
    for k in range(len(pixels)):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = MRImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = UID(f"1.2.826.1.{k + 1}")
        one.SpecificCharacterSet = "ISO_IR 192"
        one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.826.2", "1.2.826.3"
        one.FrameOfReferenceUID, one.PositionReferenceIndicator = "1.2.826.4", ""
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Lê^Thị Ổn", "P1", "", "F"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20240301", "081500", "1", "A1"
        one.ReferringPhysicianName = ""
        one.Modality, one.SeriesNumber, one.InstanceNumber = "MR", 3, k + 1
        one.Rows, one.Columns = pixels.shape[1:]
        one.PixelSpacing = list(spacing)
        one.ImageOrientationPatient = [*map(float, row), *map(float, column)]
        one.ImagePositionPatient = [float(v) for v in np.array(CORNER) + normal * step * k]
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 0, 1
        one.PhotometricInterpretation, one.PixelData = "MONOCHROME2", pixels[k].tobytes()
        made.append(one)
    return made
