"""A study of MR through the pipeline: what fits is measured, and every receiver is told in its form."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from hoichan.adapters.database import open_database
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_read import ReadingSql
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.runner_series import SeriesRunner
from hoichan.adapters.runner_volumes import VolumeRunner
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.analysis.volume_packages import load_volume_package
from hoichan.errors import RunnerFailed
from hoichan.settings import DicomDestination, FolderDestination, Hl7Destination, Settings
from hoichan.testing import FolderOfFilms
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeRunner
from hoichan.testing.reports import a_film, a_manifest, a_study
from hoichan.testing.volumes import a_volume_study, an_mr_series, axial
from hoichan.types import DocumentKind, Outcome, RefusalCode
from service.pipeline import analyse

PACKAGE = Path(__file__).parents[3] / "models" / "hippocampus"
VOLUME = "118565006"
PACS = {"kind": "dicom", "host": "pacs", "port": 104, "ae_title": "PACS"}
DESTINATIONS = (
    DicomDestination(name="pacs", send=("sc", "seg", "sr"), **PACS),
    DicomDestination(name="fractions", send=("seg", "sr"), seg_form="fractional", **PACS),
    DicomDestination(name="plain", **PACS),
    Hl7Destination(name="ris", kind="hl7v2", host="ris", port=2575),
    FolderDestination(name="share", kind="folder", path="share"),
)


class Failing:
    """A network that always fails."""

    def outline(self, manifest, voxels, affine, *, fractions=False):
        raise RunnerFailed


class Bench:
    """The pipeline with the shipped network, in this process."""

    def __init__(self, folder, networks=None):
        self.folder, self.clock = folder, FakeClock()
        self.settings = Settings(destinations=DESTINATIONS)
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.studies = StudiesSql(self.database, ObjectsDisk(folder / "objects"), self.clock)
        self.manifest = load_volume_package(PACKAGE)
        self.runner = FakeRunner(self.clock)
        self.outliner = SeriesRunner(
            lambda path: folder / path, self.clock, networks or VolumeRunner(threads=1), fractions=True
        )

    def analyse(self, study):
        self.studies.add_arrivals(study, study.instances)
        current = self.studies.current(study.study_instance_uid)
        study = self.studies.assemble(replace(current, closed_by="quiet_time"))
        return study, self.score(study, networks=[self.manifest])

    def score(self, study, networks):
        return analyse(
            study,
            manifests=[a_manifest(["pleural_effusion"])],
            runner=self.runner,
            encoder=DocumentEncoder(FolderOfFilms(self.folder), self.settings),
            studies=self.studies,
            destinations=DESTINATIONS,
            clock=self.clock,
            networks=networks,
            outliner=self.outliner,
        )


@pytest.fixture(scope="module")
def golden():
    with np.load(PACKAGE / "golden" / "drawn.npz") as stored:
        return stored["volume"].astype(np.uint16), stored["labels"]


def crop(volume, description="Hippocampus crop"):
    slices = an_mr_series(spacing=(1.0, 1.0), step=1.0, pixels=axial(volume))
    for one in slices:
        one.SeriesDescription = description
    return slices


@pytest.fixture
def bench(tmp_path):
    opened = Bench(tmp_path)
    yield opened
    opened.database.dispose()


@pytest.fixture(scope="module")
def answered(tmp_path_factory, golden):
    """A whole head and two crops, analysed once for the tests that only look."""
    folder = tmp_path_factory.mktemp("volumes")
    opened = Bench(folder)
    head = an_mr_series(shape=(20, 64, 64), step=6.5)
    study, report = opened.analyse(a_volume_study(folder, head, crop(golden[0]), crop(golden[0][::-1])))
    yield opened, study, report
    opened.database.dispose()


def of(answered, destination, kind):
    opened, study, _ = answered
    (delivery,) = [
        d for d in opened.studies.deliveries(study.study_instance_uid) if d.destination == destination
    ]
    return [one for one in opened.studies.documents(delivery) if one.kind is kind]


def test_each_crop_is_measured_and_the_head_is_refused_by_name(answered, golden):
    _, _, report = answered
    wanted = [(golden[1] == 1).sum() / 1000, (golden[1] == 2).sum() / 1000]
    first = [one.value for one in report.measurements if one.series_instance_uid.endswith(".2")]
    assert first == pytest.approx(wanted, abs=0.02)
    assert [one.series_instance_uid for one in report.measurements][2:] == ["1.2.826.3.3"] * 2
    assert report.outcome is Outcome.WITHOUT_FINDINGS
    refused = {(no.series_instance_uid, no.code) for no in report.refusals}
    assert refused == {
        ("1.2.826.3.1", RefusalCode.WRONG_SEQUENCE),
        ("1.2.826.3.1", RefusalCode.WRONG_GEOMETRY),
    }
    assert any(no.detail == "20 slices, 22 at least" for no in report.refusals)


def test_the_words_say_what_was_not_done(answered):
    _, _, report = answered
    assert "Anterior part of hippocampus" in report.conclusion["en"]
    assert "No reference by age or sex" in report.conclusion["en"]
    assert "did not look for abnormalities" in report.conclusion["en"]
    assert "above its thresholds" not in report.conclusion["en"]
    assert "Phần trước hồi hải mã 1,"[:-2] in report.conclusion["vi"]
    assert "Không có giá trị tham chiếu" in report.conclusion["vi"]
    assert report.disclaimer["en"].startswith("Demonstration, not validated")


def test_only_who_asks_gets_segmentations_one_a_series(answered, golden):
    assert of(answered, "plain", DocumentKind.SEG) == []
    assert of(answered, "share", DocumentKind.SEG) == []
    first, second = of(answered, "pacs", DocumentKind.SEG)
    assert (first.part, second.part, first.uid != second.uid) == (1, 2, True)
    seg = hd.seg.segread(BytesIO(first.content))
    source = [f"1.2.826.3.2.{k + 1}" for k in range(len(axial(golden[0])))]
    drawn = seg.get_pixels_by_source_instance(
        source, combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert (drawn == axial(golden[1])).mean() > 0.999


def test_probabilities_go_where_they_are_wanted(answered, golden):
    first, _ = of(answered, "fractions", DocumentKind.SEG_FRACTIONAL)
    seg = dcmread(BytesIO(first.content))
    assert (seg.SegmentationType, seg.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    whole = seg.pixel_array.sum() / 255 / 1000  # ml, over both parts
    assert whole == pytest.approx((golden[1] > 0).sum() / 1000, abs=0.3)


def test_the_sr_measures_the_segment_it_names(answered):
    _, _, report = answered
    (document,) = of(answered, "pacs", DocumentKind.SR)
    sr = hd.sr.srread(BytesIO(document.content))
    groups = sr.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(report.measurements) == 4
    segments = {one.uid for one in of(answered, "pacs", DocumentKind.SEG)}
    for group, one in zip(groups, report.measurements, strict=True):
        (number,) = group.get_measurements()
        assert (number.name.value, number.value, number.unit.value) == (VOLUME, one.value, "ml")
        items = [item for item in group[0].ContentSequence if item.ValueType == "IMAGE"]
        named = items[0].ReferencedSOPSequence[0]
        assert named.ReferencedSOPInstanceUID in segments
        assert named.ReferencedSegmentNumber == one.segment_number
    listed = {
        item.ReferencedSOPInstanceUID
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert segments <= listed


def test_the_emr_gets_numbers_with_units(answered):
    _, _, report = answered
    (bundle,) = of(answered, "share", DocumentKind.FHIR)
    found = [
        entry["resource"]
        for entry in json.loads(bundle.content)["entry"]
        if entry["resource"].get("valueQuantity")
    ]
    assert [one["valueQuantity"]["value"] for one in found] == [one.value for one in report.measurements]
    assert {one["valueQuantity"]["code"] for one in found} == {"ml"}
    assert {one["code"]["coding"][0]["code"] for one in found} == {VOLUME}
    assert all(one["status"] == "preliminary" and "referenceRange" not in one for one in found)
    (message,) = of(answered, "ris", DocumentKind.HL7)
    lines = [line.split("|") for line in message.content.decode().split("\r") if line.startswith("OBX")]
    numbers = [line for line in lines if line[2] == "NM"]
    assert [float(line[5]) for line in numbers] == [one.value for one in report.measurements]
    assert {line[6] for line in numbers} == {"ml^Milliliter^UCUM"} and {line[7] for line in numbers} == {""}
    assert any("Phần trước hồi hải mã" in line[5] for line in lines if line[2] == "TX")


def test_the_record_gives_them_back(answered):
    opened, study, report = answered
    objects = ObjectsDisk(opened.folder / "objects")
    found = ReadingSql(opened.database, objects).study(study.study_instance_uid)
    assert found.entry.report.measurements == report.measurements


def test_a_network_that_fails_is_told_and_the_study_has_its_answer(tmp_path, golden):
    opened = Bench(tmp_path, Failing())
    _, report = opened.analyse(a_volume_study(tmp_path, crop(golden[0])))
    opened.database.dispose()
    assert report.outcome is Outcome.NOT_ANALYSED
    assert {no.code for no in report.refusals} == {RefusalCode.MODEL_FAILED}


@pytest.mark.parametrize("networks", [0, 1])
def test_volumes_stand_where_the_network_is_gone_or_fails_at_a_repetition(bench, golden, networks):
    study, measured = bench.analyse(a_volume_study(bench.folder, crop(golden[0])))
    assert measured.measurements
    SteeringSql(bench.database, ObjectsDisk(bench.folder / "objects"), bench.clock).analyse_again(
        study.study_instance_uid
    )
    bench.outliner = SeriesRunner(lambda path: bench.folder / path, bench.clock, Failing())
    assert bench.score(study, networks=[bench.manifest][:networks]) is None
    last = bench.studies.trail(study.study_instance_uid)[-1]
    code = (RefusalCode.NO_MODEL, RefusalCode.MODEL_FAILED)[networks]
    assert (last.event, last.details["refusals"]) == ("answer_kept", code)
    assert last.details["models"] == bench.manifest.algorithm_name


def test_a_film_hears_nothing_of_networks_for_volumes(bench):
    _, report = bench.analyse(a_study(a_film()))
    assert report.refusals == () and report.measurements == ()


def test_a_crop_that_does_not_say_so_is_not_measured(bench, golden):
    _, report = bench.analyse(a_volume_study(bench.folder, crop(golden[0], "T1 axial")))
    assert report.outcome is Outcome.NOT_ANALYSED
    assert [no.code for no in report.refusals] == [RefusalCode.WRONG_SEQUENCE]
