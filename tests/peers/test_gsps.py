"""Our presentation states before dcmtk: checked, read for what is to be drawn, and rendered over the film.

dcmtk renders the grey values of a state and draws no graphics, so the boxes are compared as it read them.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from hoichan import codes
from hoichan.encoding.gsps import encode_gsps
from hoichan.encoding.source import document_context
from hoichan.encoding.sr import drawable
from hoichan.settings import Site
from hoichan.testing import a_film, a_report, a_study, as_bytes

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="dcmp2pgm is not installed (dcmtk)"),
]
GREYS = ("MONOCHROME1", "MONOCHROME2")


def run(*command):
    result = subprocess.run(command, capture_output=True, timeout=120, check=False)
    return result.returncode, (result.stdout + result.stderr).decode("utf-8")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Of each photometric interpretation the folder with film and state, and the report."""
    made = {}
    for photometric in GREYS:
        folder = tmp_path_factory.mktemp(photometric)
        film = a_film()
        film.PhotometricInterpretation = photometric
        study = a_study(film)
        report = a_report(study)
        context = document_context(study, report, source=film, site=Site(), software_version="1")
        (folder / "film.dcm").write_bytes(as_bytes(film))
        encode_gsps(context).save_as(folder / "state.dcm", enforce_file_format=True)
        made[photometric] = (folder, report)
    return made


def rendered(folder, *state):
    """The film as dcmtk shows it: (rows, columns) uint8, and what it says of the state."""
    code, said = run("dcmp2pgm", "-v", *state, folder / "film.dcm", folder / "film.pgm")
    assert code == 0, said
    with Image.open(folder / "film.pgm") as picture:
        return np.asarray(picture), said


@pytest.mark.parametrize("photometric", GREYS)
def test_nothing_is_wrong_but_letters_that_it_does_not_know(shown, photometric):
    """dcmpschk 3.6.7 calls every value with a letter beyond ASCII wrong, whatever the character set says."""
    folder, _ = shown[photometric]
    _, said = run("dcmpschk", folder / "state.dcm")
    assert said
    wrong = [one for one in re.split(r"(?m)^E: Error: ", said)[1:] if not _is_of_a_letter(one)]
    assert wrong == []


def _is_of_a_letter(fault):
    value = re.search(r"Attribute value   : \[(.*)\]", fault)
    return (
        fault.startswith("Attribute value does not conform")
        and value is not None
        and not value.group(1).isascii()
    )


@pytest.mark.parametrize("photometric", GREYS)
def test_boxes_and_words_are_read_where_the_findings_are(shown, photometric):
    folder, report = shown[photometric]
    _, said = rendered(folder, "-p", folder / "state.dcm")
    texts = re.findall(r'text \d+: "(.*)"', said)
    assert texts == [
        codes.BANNER["vi"],
        "AI 1: Tràn dịch màng phổi – điểm AI 0,91",
        "AI 3: Bóng tim to – điểm AI 0,73",
    ]
    read = [
        [float(number) for number in re.findall(r"[\d.]+", line)]
        for line in re.findall(r"coordinates: (.*)", said)
    ]
    wanted = [
        shape[1].ravel().tolist() for one in report.positives if (shape := drawable(one.evidence)) is not None
    ]
    assert len(wanted) == 2
    assert read == [pytest.approx(points, abs=0.01) for points in wanted]
    assert "BRHC=448\\512" in said  # the whole film is shown


def test_the_grey_values_are_those_of_the_film(shown):
    pictures = {}
    for photometric in GREYS:
        folder, _ = shown[photometric]
        plain, _ = rendered(folder)
        pictures[photometric], _ = rendered(folder, "-p", folder / "state.dcm")
        assert np.array_equal(plain, pictures[photometric])
    sums = pictures["MONOCHROME1"].astype(int) + pictures["MONOCHROME2"]
    assert (int(sums.min()), int(sums.max())) in ((254, 255), (255, 255))  # the one is the other's negative
    assert np.ptp(pictures["MONOCHROME2"]) > 0
