"""A made-up MR series in any direction, and a package that outlines two parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from hoichan.testing.reports import a_film, a_study
from hoichan.types import (
    Code,
    Instance,
    Measurement,
    Segment,
    Series,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    VolumeManifest,
    VolumeSpec,
)

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


def axial(volume: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """RAS (x, y, z) to (slices, rows, columns) of axial slices: rows run to the back, columns to the left."""
    return np.ascontiguousarray(volume[::-1, ::-1].transpose(2, 1, 0))


def a_volume_study(folder: Path, *series: Sequence[Dataset]) -> Study:
    """The slices of each series written into a folder, and the study that they make."""
    made = []
    for number, slices in enumerate(series, start=1):
        uid = f"1.2.826.3.{number}"
        instances = []
        for k, one in enumerate(slices):
            one.SeriesInstanceUID, one.SeriesNumber = uid, number
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = UID(f"{uid}.{k + 1}")
            path = PurePosixPath(f"{number}-{k + 1}.dcm")
            one.save_as(folder / path, enforce_file_format=True)
            instances.append(
                Instance(
                    sop_instance_uid=SOPInstanceUID(one.SOPInstanceUID),
                    sop_class_uid=str(one.SOPClassUID),
                    transfer_syntax_uid=str(one.file_meta.TransferSyntaxUID),
                    instance_number=k + 1,
                    rows=int(one.Rows),
                    columns=int(one.Columns),
                    path=path,
                    sha256=Sha256(f"{number:032}{k:032}"),
                    received_at=datetime(2026, 11, 20, 1, 0, tzinfo=UTC),
                )
            )
        made.append(
            Series(
                series_instance_uid=SeriesInstanceUID(uid),
                modality=str(slices[0].Modality),
                series_number=number,
                series_description=str(slices[0].get("SeriesDescription", "")) or None,
                body_part_examined=None,
                view_position=None,
                laterality=None,
                manufacturer=None,
                manufacturer_model_name=None,
                instances=tuple(instances),
            )
        )
    study = StudyInstanceUID(str(series[0][0].StudyInstanceUID))
    return replace(a_study(a_film()), study_instance_uid=study, series=tuple(made))


def measured(study: Study, *, algorithm: str = "Parts") -> tuple[Measurement, ...]:
    """Volumes of two parts, said to be of the first image of a study, and of a second series of it."""
    (series, *_), parts = study.series, a_volume_manifest().segments
    return tuple(
        Measurement(
            code=part.code,
            region=part.region,
            display=part.display,
            value=value,
            unit="ml",
            segment_number=number,
            segmentations={"binary": f"1.2.826.9.{crop}"},
            series_instance_uid=SeriesInstanceUID(crop),
            sop_instance_uid=series.instances[0].sop_instance_uid,
            algorithm_name=algorithm,
            algorithm_version="1.0.0",
        )
        for crop, values in ((series.series_instance_uid, (1.524, 1.25)), ("1.2.826.5", (1.75, 2.0)))
        for number, (part, value) in enumerate(zip(parts, values, strict=True), 1)
    )
