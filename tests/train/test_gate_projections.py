"""Projections of a drawn body: where things lie, what is left out, how they are counted."""

from pathlib import Path

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel", reason="the workshop is not installed: make test-train installs it")
pytest.importorskip("scipy", reason="the workshop is not installed: make test-train installs it")

from training.gate_projections import CROPS, count, films, project, read_body  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]
PACKAGE = Path(__file__).parents[2] / "models" / "cxr-demo"


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """An ellipse of water with a rod of bone in its left front, on a table; stored with x to the left."""
    x, y = np.meshgrid(np.arange(128) - 63.5, np.arange(128) - 63.5, indexing="ij")
    plane = np.where((x / 50) ** 2 + (y / 34) ** 2 < 1, 0.0, -1000.0)
    plane[np.hypot(x - 25, y - 18) < 5] = 2000.0  # x grows to the left, y to the front
    plane[:, 14:18] = 300.0  # the table, behind
    volume = np.repeat(plane[:, :, None], 40, axis=2)
    volume[:, :, :4] = -1000.0  # nothing below
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), np.diag([-3.0, 3.0, 6.0, 1.0])), path)
    return read_body(path)


def middle(seen):
    """(row, column) of the densest place, 0..1 of the body's extent."""
    rows, columns = np.flatnonzero(seen.max(axis=1) > 0.5), np.flatnonzero(seen.max(axis=0) > 0.5)
    line = seen[rows[len(rows) // 2], columns[0] : columns[-1] + 1]
    return rows[0] / len(seen), float(np.argmax(line)) / len(line)


def test_the_table_is_left_out_and_the_head_is_up(body):
    assert (body.row_mm, body.column_mm) == (6.0, 6.0)
    filled = np.flatnonzero(body.per_mm.any(axis=(0, 2)))
    assert filled[0] > 12  # of 64 in depth; the table lies at 7 and 8
    assert body.per_mm[0].any() and not body.per_mm[-1].any()


def test_the_left_of_the_patient_is_at_the_right_of_a_frontal_film(body):
    _, front = middle(project(body, 0))
    _, back = middle(project(body, 180)[:, ::-1])
    assert front > 0.6 and back > 0.6


def test_what_is_nearer_to_the_source_is_larger(body):
    def width(seen):
        line = seen[len(seen) // 2]
        return int((line > (np.median(line[line > 0.5]) + line.max()) / 2).sum())

    assert width(project(body, 180)) >= width(project(body, 0))  # the rod lies in front
    assert project(body, 90).max() > 0.5


def test_each_projection_is_rendered_nine_times(body):
    made = list(films(project(body, 0)))
    assert [name for name, _ in made] == [name for name in CROPS for _ in range(3)]
    for _, film in made:
        assert film.pixels.min() >= 0.0 and film.pixels.max() == 1.0


def test_a_rod_in_an_ellipse_is_no_chest_so_nothing_is_said(body):
    found = count(body, PACKAGE)
    assert not found["says_something"]
    assert found["views"]["PA"]["whole"]["n"] == 15
    assert sum(found["views"]["oblique 70"]["looks"].values()) == 18
