"""Builders of a synthetic chest film, a study and a report. Nothing here is of a real person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from hoichan.codes import FILM_LABELS, FINDINGS
from hoichan.privacy import Phi
from hoichan.reporting.reports import compose
from hoichan.types import (
    Calibration,
    Evidence,
    Finding,
    GraphicType,
    InferenceResult,
    InputSpec,
    Instance,
    ModelManifest,
    Output,
    Patient,
    Presence,
    Refusal,
    RefusalCode,
    Report,
    Series,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    StudyState,
)
from hoichan.uids import derived_uid

CR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
PATIENT_NAME = "Nguyễn^Thị Hồng^Ổn"
PATIENT_ID = "BN-2026-000417"
NATIONAL_ID = "079185001234"
TAKEN_AT = datetime(2026, 11, 20, 1, 15, 0, tzinfo=UTC)  # 08:15 in Việt Nam
REPORTED_AT = datetime(2026, 11, 20, 1, 15, 9, 250000, tzinfo=UTC)


def a_film(seed: str = "film", *, rows: int = 512, columns: int = 448) -> Dataset:
    """A synthetic chest film (CR, 12 bits, MONOCHROME2) of a patient with a Vietnamese name."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(CR_IMAGE_STORAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(derived_uid(seed, "image"))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = CR_IMAGE_STORAGE
    dataset.SOPInstanceUID = derived_uid(seed, "image")
    dataset.StudyInstanceUID = derived_uid(seed, "study")
    dataset.SeriesInstanceUID = derived_uid(seed, "series")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20261120"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "081500"
    dataset.TimezoneOffsetFromUTC = "+0700"
    dataset.AccessionNumber = "XR2611200042"
    dataset.Modality = "CR"
    dataset.Manufacturer = "ACME"
    dataset.ReferringPhysicianName = "Trần^Thị^Bình"
    dataset.StudyDescription = "X-quang ngực thẳng"
    dataset.PatientName = PATIENT_NAME
    dataset.PatientID = PATIENT_ID
    dataset.PatientBirthDate = "19850315"
    dataset.PatientSex = "F"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.StudyID = "42"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImagerPixelSpacing = [0.2, 0.2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PixelData = _pixels(rows, columns)
    return dataset


@cache
def _pixels(rows: int, columns: int) -> bytes:
    return (_thorax(rows, columns) * 4095).astype("<u2").tobytes()


def _blob(
    rows: int, columns: int, centre: tuple[float, float], radius: tuple[float, float]
) -> NDArray[np.float32]:
    """A soft ellipse, 0..1; centre and radius as fractions (row, column)."""
    row, column = np.mgrid[0:rows, 0:columns].astype(np.float32)
    distance = ((row / rows - centre[0]) / radius[0]) ** 2 + ((column / columns - centre[1]) / radius[1]) ** 2
    return np.asarray(np.exp(-(distance**2)), dtype=np.float32)


def _thorax(rows: int, columns: int) -> NDArray[np.float32]:
    """Two dark lungs in a bright body, a heart, and a blunted angle on the left of the picture; 0..1."""
    body = 0.15 + 0.6 * _blob(rows, columns, (0.55, 0.5), (0.62, 0.48))
    lungs = _blob(rows, columns, (0.45, 0.3), (0.33, 0.17)) + _blob(rows, columns, (0.45, 0.7), (0.33, 0.17))
    heart = _blob(rows, columns, (0.62, 0.56), (0.17, 0.15))
    effusion = _blob(rows, columns, (0.76, 0.22), (0.1, 0.12))
    film: NDArray[np.float32] = np.clip(body - 0.5 * lungs + 0.35 * heart + 0.35 * effusion, 0, 1)
    return film


def as_bytes(dataset: Dataset) -> bytes:
    """The data set as a DICOM file."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def a_study(
    film: Dataset | None = None,
    *,
    path: str = "film.dcm",
    revision: int = 1,
    patient_name: str | None = None,
    patient_id: str | None = None,
) -> Study:
    """The study that holds one film, as intake would describe it."""
    film = film if film is not None else a_film()
    name = str(film.get("PatientName", "")) if patient_name is None else patient_name
    identifier = str(film.get("PatientID", "")) if patient_id is None else patient_id
    instance = Instance(
        sop_instance_uid=SOPInstanceUID(str(film.SOPInstanceUID)),
        sop_class_uid=str(film.SOPClassUID),
        transfer_syntax_uid=str(film.file_meta.TransferSyntaxUID),
        instance_number=1,
        rows=film.get("Rows"),
        columns=film.get("Columns"),
        path=PurePosixPath(path),
        sha256=Sha256(sha256(str(film.SOPInstanceUID).encode()).hexdigest()),
        received_at=TAKEN_AT,
    )
    series = Series(
        series_instance_uid=SeriesInstanceUID(str(film.SeriesInstanceUID)),
        modality=str(film.get("Modality", "CR")),
        series_number=1,
        series_description=None,
        body_part_examined=film.get("BodyPartExamined"),
        view_position=film.get("ViewPosition"),
        laterality=None,
        manufacturer=film.get("Manufacturer"),
        manufacturer_model_name=None,
        instances=(instance,),
    )
    return Study(
        study_instance_uid=StudyInstanceUID(str(film.StudyInstanceUID)),
        revision=revision,
        patient=Patient(
            patient_id=Phi(identifier),
            issuer_of_patient_id=None,
            national_id=Phi(NATIONAL_ID),
            patient_name=Phi(name),
            patient_birth_date=Phi(date(1985, 3, 15)),
            patient_sex="F",
            patient_age_years=41,
        ),
        accession_number=film.get("AccessionNumber"),
        study_id=film.get("StudyID"),
        study_datetime=TAKEN_AT,
        study_description=film.get("StudyDescription"),
        calling_ae_title="CR_ROOM1",
        closed_by="association_released",
        series=(series,),
        state=StudyState.ASSEMBLED,
    )


def a_manifest(keys: Sequence[str] = FILM_LABELS, **changes: object) -> ModelManifest:
    """The manifest of an invented chest-film model."""
    fields: dict[str, object] = {
        "name": "cxr-invented",
        "algorithm_name": "Invented chest film model",
        "algorithm_version": "1.2.0",
        "algorithm_source": "Hội Chẩn",
        "intended_use": {
            "en": "Second reader for adult frontal chest films.",
            "vi": "Hỗ trợ đọc phim ngực thẳng.",
        },
        "disclaimer": {
            "en": "Demonstration, not validated for clinical use",
            "vi": "Bản trình diễn, chưa được thẩm định lâm sàng",
        },
        "runtime": "onnx",
        "weights": PurePosixPath("weights.onnx"),
        "weights_sha256": Sha256(sha256(b"invented weights").hexdigest()),
        "accepts": InputSpec(
            modality=("CR", "DX"),
            body_part_examined=("CHEST",),
            view_position=("PA", "AP"),
            patient_age_years=(18, 120),
            size=256,
        ),
        "outputs": tuple(
            Output(
                name=key,
                index=index,
                finding_key=key,
                operating_point=0.5,
                calibration=Calibration(method="none"),
                tier=FINDINGS[key].tier,
            )
            for index, key in enumerate(keys)
        ),
        "license": "Apache-2.0",
        "status": "research",
        "root": PurePosixPath("/models/cxr-invented"),
    }
    return ModelManifest(**{**fields, **changes})  # type: ignore[arg-type]


def a_heatmap(centre: tuple[float, float], radius: tuple[float, float]) -> NDArray[np.float32]:
    """A (16, 16) map with one hill; centre and radius as fractions (row, column)."""
    return _blob(16, 16, centre, radius)


def a_finding(
    study: Study,
    key: str,
    probability: float,
    *,
    operating_point: float = 0.5,
    box: tuple[float, float, float, float] | None = None,
    calibration: str = "none",
    manifest: ModelManifest | None = None,
) -> Finding:
    """A finding on the first image. `box` is (left, top, right, bottom) as fractions of the film."""
    manifest = manifest or a_manifest()
    instance = study.instances[0]
    evidence: tuple[Evidence, ...] = ()
    if box is not None:
        columns, rows = instance.columns or 1, instance.rows or 1
        left, top, right, bottom = box[0] * columns, box[1] * rows, box[2] * columns, box[3] * rows
        middle = ((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)
        evidence = (
            Evidence(
                referenced_sop_instance_uid=instance.sop_instance_uid,
                graphic_type=GraphicType.POLYLINE,
                graphic_data=(left, top, right, top, right, bottom, left, bottom, left, top),
                method="class activation map",
                heatmap=a_heatmap(middle, ((box[3] - box[1]) / 2, (box[2] - box[0]) / 2)),
            ),
        )
    return Finding(
        key=key,
        presence=Presence.PRESENT if probability >= operating_point else Presence.ABSENT,
        probability=probability,
        operating_point=operating_point,
        calibration=calibration,
        tier=FINDINGS[key].tier,
        evidence=evidence,
        algorithm_name=manifest.algorithm_name,
        algorithm_version=manifest.algorithm_version,
        sop_instance_uid=instance.sop_instance_uid,
    )


def a_result(
    study: Study, logits: Mapping[str, float], manifest: ModelManifest | None = None
) -> InferenceResult:
    """Raw numbers on the first image."""
    manifest = manifest or a_manifest()
    instance = study.instances[0]
    return InferenceResult(
        study_instance_uid=study.study_instance_uid,
        revision=study.revision,
        series_instance_uid=study.series[0].series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        algorithm_name=manifest.algorithm_name,
        algorithm_version=manifest.algorithm_version,
        weights_sha256=manifest.weights_sha256,
        logits=logits,
        gate=0.99,
        rows=instance.rows or 0,
        columns=instance.columns or 0,
        started_at=TAKEN_AT,
        ended_at=REPORTED_AT,
        provider="CPUExecutionProvider",
    )


def a_report(
    study: Study | None = None,
    *,
    predecessor: SOPInstanceUID | None = None,
    findings: Sequence[Finding] | None = None,
    refusals: Sequence[Refusal] = (),
    manifest: ModelManifest | None = None,
) -> Report:
    """Two positives with geometry, one without, and negatives; `findings` replaces them."""
    study = study or a_study()
    manifest = manifest or a_manifest()
    if findings is None:
        findings = (
            a_finding(study, "pleural_effusion", 0.91, operating_point=0.52, box=(0.08, 0.62, 0.36, 0.9)),
            a_finding(study, "cardiomegaly", 0.73, operating_point=0.61, box=(0.38, 0.48, 0.74, 0.82)),
            a_finding(study, "consolidation", 0.58, operating_point=0.55),
            a_finding(study, "pneumothorax", 0.02, operating_point=0.4),
            a_finding(study, "nodule", 0.11, operating_point=0.45),
        )
    return compose(
        study,
        results=(a_result(study, {finding.key: 0.0 for finding in findings}, manifest),),
        findings=findings,
        refusals=refusals,
        manifests=(manifest,),
        predecessor=predecessor,
        now=REPORTED_AT,
    )


def a_refused_report(study: Study | None = None, code: RefusalCode = RefusalCode.WRONG_BODY_PART) -> Report:
    """A report of a study that no model took."""
    study = study or a_study()
    refusal = Refusal(
        code=code,
        algorithm_name="Invented chest film model",
        series_instance_uid=study.series[0].series_instance_uid,
    )
    return compose(
        study, results=(), findings=(), refusals=(refusal,), manifests=(), predecessor=None, now=REPORTED_AT
    )


class FolderOfFilms:
    """The one method of the Spool port that the encoder needs, over a plain folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, path: PurePosixPath) -> Path:
        """The place of a path inside the folder."""
        return self._folder / path
