import json
import os
import stat

import pydicom
import pytest
import typer
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner

from hoichan.errors import ConfigurationError, StorageUnusable
from hoichan.testing.datasets import MARKER, marked_film
from service.cli_deidentify import deidentify, load_key

app = typer.Typer()
app.command()(deidentify)


def store(path, data_set):
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    data_set.save_as(path, enforce_file_format=True)


@pytest.fixture
def folder(tmp_path):
    """Two films of a marked patient, one of which may show its name, and a file that is no DICOM."""
    clean = marked_film()
    clean.BurnedInAnnotation = "NO"
    store(tmp_path / "in" / "a.dcm", clean)
    risky = marked_film()
    risky.SOPInstanceUID = "1.2.3"
    store(tmp_path / "in" / "b.dcm", risky)
    (tmp_path / "in" / "autorun.inf").write_text("x")
    return tmp_path


def run(folder, *options, source=None):
    key = str(folder / "k" / "key")
    arguments = [str(source or folder / "in"), "--out", str(folder / "out"), "--key-file", key]
    return CliRunner().invoke(app, [*arguments, *options])


def files(folder):
    return sorted((folder / "out").rglob("*.dcm"))


def test_only_the_film_without_risk_is_written(folder):
    result = run(folder)
    assert result.exit_code == 1
    assert "1 of 2 DICOM files written" in result.stdout
    assert "burned_in_risk" in result.stdout
    (written,) = files(folder)
    assert MARKER.encode() not in written.read_bytes()
    assert MARKER not in str(written)
    assert pydicom.dcmread(written).PatientIdentityRemoved == "YES"
    assert list((folder / "out").rglob("*.part")) == []


def test_the_risk_can_be_taken_on(folder):
    result = run(folder, "--accept-pixel-risk", "--json")
    assert result.exit_code == 0
    lines = json.loads(result.stdout)["files"]
    assert [line.get("skipped") for line in lines] == [None, "not_dicom", None]
    assert len(files(folder)) == 2
    assert {"burned_in_annotation_unknown"} <= {w for line in lines for w in line.get("warnings", [])}


def test_a_second_run_writes_the_same_files_and_leaves_its_own_alone(folder):
    run(folder, "--accept-pixel-risk")
    first = {file: file.read_bytes() for file in files(folder)}
    result = run(folder, "--accept-pixel-risk", source=folder)
    assert {file: file.read_bytes() for file in files(folder)} == first
    assert "2 of 2 DICOM files written" in result.stdout


def test_options_reach_the_profile(folder):
    run(folder, "--keep-dates", "--keep-characteristics", "--clean-descriptions", "--keep-device")
    (written,) = files(folder)
    codes = [item.CodeValue for item in pydicom.dcmread(written).DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113105", "113107", "113108", "113109"]


def test_times_move_only_with_dates(folder):
    assert run(folder, "--shift-times").exit_code == 2


def test_a_report_is_refused(tmp_path):
    result = run(tmp_path, source=get_testdata_file("reportsi.dcm", download=False))
    assert result.exit_code == 1
    assert "not_deidentifiable" in result.stdout
    assert not (tmp_path / "out").exists()


def test_the_key_is_made_once_readable_by_its_owner_only_and_never_printed(folder):
    result = run(folder)
    file = folder / "k" / "key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(load_key(file)) == 32
    assert file.read_text().strip() not in result.stdout + result.stderr
    assert load_key(file) == load_key(file)
    assert [path.name for path in file.parent.iterdir()] == ["key"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_key_that_others_can_read_is_refused(tmp_path):
    load_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ConfigurationError):
        load_key(tmp_path / "key")


@pytest.mark.parametrize("content", ["", "no key", "00" * 31])
def test_a_file_without_a_key_is_refused(tmp_path, content):
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError):
        load_key(file)


def test_a_key_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnusable):
        load_key(tmp_path / "file" / "key")
