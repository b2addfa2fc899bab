"""`hoichan model segment`: the series that fits is outlined, the others are refused with their reasons."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.audit import Audited
from hoichan.testing.reading import a_record
from hoichan.testing.volumes import an_mr_series
from service.cli import app

PACKAGE = Path(__file__).parents[3] / "models" / "hippocampus"


@pytest.fixture(scope="module")
def golden():
    with np.load(PACKAGE / "golden" / "drawn.npz") as stored:
        return stored["volume"], stored["labels"]


def axial(volume):
    """RAS (x, y, z) to (slices, rows, columns) of axial slices: rows run to the back, columns to the left."""
    return np.ascontiguousarray(volume[::-1, ::-1].transpose(2, 1, 0))


def write(folder, slices, series="1.2.826.3"):
    folder.mkdir(parents=True)
    for k, one in enumerate(slices):
        one.SeriesInstanceUID = series
        one.SeriesDescription = "Hippocampus crop" if "crop" not in str(folder) else "HippoCrop"
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{series}.{k + 1}"
        one.save_as(folder / f"{len(slices) - k}.dcm", enforce_file_format=True)


def segment(study, out, *options):
    arguments = ["model", "segment", str(PACKAGE), str(study), "--out", str(out), *options]
    return CliRunner().invoke(app, [*arguments, "--data-dir", str(out)])


def test_the_crop_of_a_study_is_outlined_and_the_head_is_refused(tmp_path, golden):
    volume, labels = golden
    crop = an_mr_series(spacing=(1.0, 1.0), step=1.0, pixels=axial(volume).astype(np.uint16))
    write(tmp_path / "study" / "crop", crop)
    write(tmp_path / "study" / "head", an_mr_series(shape=(20, 64, 64), step=6.5), "1.2.826.5")
    (tmp_path / "study" / "notes.txt").write_text("not DICOM")
    result = segment(tmp_path / "study", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    by_series = {line["series_instance_uid"]: line for line in told["series"]}
    assert set(by_series) == {"1.2.826.3", "1.2.826.5"}
    assert any("not a crop" in reason for reason in by_series["1.2.826.5"]["refused"])
    assert by_series["1.2.826.3"]["volumes_ml"] == {
        "Anterior part of hippocampus": pytest.approx((labels == 1).sum() / 1000, abs=0.02),
        "Posterior part of hippocampus": pytest.approx((labels == 2).sum() / 1000, abs=0.02),
    }
    assert "age" in told["note"] and told["disclaimer"]["en"] == "Demonstration, not validated"

    seg = hd.seg.segread(by_series["1.2.826.3"]["seg"])
    drawn = seg.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in crop], combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert (drawn == axial(labels)).mean() > 0.999
    assert (seg.PatientName, seg.FrameOfReferenceUID) == ("Lê^Thị Ổn", "1.2.826.4")


def test_the_same_study_twice_gives_one_object(tmp_path, golden):
    crop = an_mr_series(spacing=(1.0, 1.0), step=1.0, pixels=axial(golden[0]).astype(np.uint16))
    write(tmp_path / "study", crop)
    for _ in range(2):
        result = segment(tmp_path / "study", tmp_path / "out")
        assert result.exit_code == 0, result.output
        assert "No reference by age" in result.stdout
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 1


def test_slices_of_two_frames_of_reference_are_refused(tmp_path, golden):
    crop = an_mr_series(spacing=(1.0, 1.0), step=1.0, pixels=axial(golden[0]).astype(np.uint16))
    crop[3].FrameOfReferenceUID = "1.2.826.9"
    write(tmp_path / "study", crop)
    result = segment(tmp_path / "study", tmp_path / "out")
    assert "refused: the slices have not one common Frame of Reference" in result.stdout
    assert list((tmp_path / "out").glob("*.dcm")) == []


def test_who_outlines_at_a_site_is_in_its_audit_log_before_anything_is_looked_at(tmp_path, golden):
    record = a_record(tmp_path / "out")
    crop = an_mr_series(spacing=(1.0, 1.0), step=1.0, pixels=axial(golden[0]).astype(np.uint16))
    for one in crop:
        one.StudyInstanceUID = "1.2.826.77"
    write(tmp_path / "study", crop)
    assert segment(tmp_path / "study", tmp_path / "out").exit_code == 0
    _, (line,) = record.audit.search(Wanted(what=Audited.EXPORTED), limit=9)
    assert (line.record.uids, line.record.role) == (("1.2.826.77",), "shell")
    assert line.record.detail.startswith("segment hippocampus ")
    record.engine.dispose()


def test_without_a_site_none_is_made(tmp_path):
    (tmp_path / "study").mkdir()
    assert segment(tmp_path / "study", tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out" / "hoichan.sqlite").exists()


def test_a_package_that_is_not_there_is_said(tmp_path):
    (tmp_path / "study").mkdir()
    arguments = ["model", "segment", "nowhere", str(tmp_path / "study"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "no package for volumes named 'nowhere'" in result.stderr


def test_verify_knows_a_package_for_volumes():
    result = CliRunner().invoke(app, ["model", "verify", str(PACKAGE), "--json"])
    assert result.exit_code == 0, result.output
    checks = json.loads(result.stdout)["hippocampus"]
    assert [one["check"] for one in checks] == ["schema_and_checksum", "card", "golden:drawn"]
