import json
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.testing.datasets import MARKER
from service.cli import main

COMMAND = (sys.executable, "-P", "-m", "service", "import-film")
TYPED = ("--patient-id", MARKER, "--name", f"{MARKER} Văn An", "--date", "2026-11-20", "--view", "PA")


@pytest.fixture
def picture(tmp_path):
    place = tmp_path / "film.png"
    Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80)).save(place)
    return place


def run(folder, *arguments, typed=""):
    return subprocess.run(
        [*COMMAND, *map(str, arguments), "--data-dir", str(folder / "data")],
        capture_output=True,
        text=True,
        check=False,
        input=typed,
        env=os.environ | {"HOICHAN_STORAGE__RESERVE_BYTES": "0"},
    )


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """The command in this process, which it must not end well; its exit code and what it said."""
    monkeypatch.setenv("HOICHAN_STORAGE__RESERVE_BYTES", "0")

    def told(*arguments):
        command = ["hoichan", "import-film", *map(str, arguments), "--data-dir", str(tmp_path / "data")]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, "".join(capsys.readouterr())

    return told


def test_a_film_comes_in_once(tmp_path, picture):
    first = run(tmp_path, picture, *TYPED, "--birth-date", "1970-01-31", "--sex", "F", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["duplicate"] is False
    again = run(tmp_path, picture, *TYPED, "--birth-date", "1970-01-31", "--sex", "F")
    assert again.returncode == 0 and again.stdout == f"Already here: study {told['study']}\n"
    second = run(tmp_path, picture, *TYPED, "--study", told["study"], "--view", "LL", "--json")
    assert json.loads(second.stdout) == {"study": told["study"], "duplicate": False}
    spool = DiskSpool(tmp_path / "data" / "spool")
    listing = spool.listing(told["study"])
    assert [one.calling_ae_title for one in listing] == ["FILM", "FILM"]
    film = dcmread(BytesIO(spool.file(listing[0].path).read_bytes()))
    assert film.PatientName == f"{MARKER}^An^Văn" and film.StudyDate == "20261120"
    assert film.ConversionType == "DF"
    assert MARKER not in first.stdout + first.stderr + again.stderr + second.stderr


def test_what_is_not_given_is_asked_for(tmp_path, picture):
    asked = run(tmp_path, picture, typed="BN1\nNguyễn Văn An\n")
    assert asked.returncode == 0 and "Patient ID" in asked.stdout + asked.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--sex", "X"), 2),
        (("--birth-date", "31.1.1970"), 2),
        (("--study", "no uid"), 2),
        (("--accession", MARKER * 3), 1),
    ],
)
def test_what_cannot_be_taken_is_told(refused, picture, arguments, code):
    ended, said = refused(picture, *TYPED, *arguments)
    assert ended == code and said and MARKER not in said
    assert "Traceback" not in said


def test_a_file_that_is_no_picture_is_told(refused, tmp_path):
    (tmp_path / "film.png").write_bytes(b"no picture")
    ended, said = refused(tmp_path / "film.png", *TYPED)
    assert ended == 1 and "no PNG or JPEG" in said
