"""Where a viewer that is not ours draws our segmentations: OHIF before Orthanc, looked at pixel by pixel.

Each voxel's place on the screen comes from the tags of its slice alone. There the screen must show the grey
value of the slice, and the colour of the segment that the voxel belongs to, or none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hoichan.analysis.volume_packages import load_volume_package
from hoichan.encoding.seg import COLOURS, encode_seg
from hoichan.encoding.source import shared_header
from hoichan.testing import a_film, a_study
from hoichan.testing.volumes import a_volume_manifest, an_mr_series, axial
from hoichan.types import VolumeManifest
from hoichan.uids import derived_uid
from tests.peers import ohif as ohif_module
from tests.peers import orthanc as orthanc_module
from tests.peers.browser import CHROMIUM
from tests.peers.ohif import FLAGS, LOOKS, THUMBNAIL, opened

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
    pytest.mark.skipif(not ohif_module.is_available(), reason="needs OHIF: make .node/.ohif"),
    pytest.mark.skipif(not orthanc_module.is_available(), reason="needs Orthanc with DICOMweb"),
]
PACKAGE = Path(__file__).parents[2] / "models" / "hippocampus"
VIEW = "window.cornerstone.getRenderingEngines()[0].getViewports()[0]"
SAME_COLOUR = 16  # levels (of 255) that a viewer's way from CIELab to its screen may differ from ours
EDGE = 4  # pixels of the viewport's frame
COLOURED = 24  # levels (of 255) that a channel lies off grey: the fill of a segment, not the picture
SEGMENTS = "window.cornerstoneTools.segmentation.state.getSegmentations()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlined:
    """A series, and which segment each of its voxels belongs to."""

    slices: list[Any]
    pixels: np.ndarray  # (slices, rows, columns)
    labels: np.ndarray  # (slices, rows, columns): Segment Number, 0 for none
    manifest: VolumeManifest

    @property
    def study(self) -> str:
        return str(self.slices[0].StudyInstanceUID)


def hippocampus() -> Outlined:
    """The drawn crop of the shipped package, axial, and what its network says of it."""
    with np.load(PACKAGE / "golden" / "drawn.npz") as stored:
        pixels, labels = axial(stored["volume"].astype(np.uint16)), axial(stored["labels"])
    slices = an_mr_series(spacing=(1.0, 1.0), step=1.0, pixels=pixels)
    return Outlined(slices=slices, pixels=pixels, labels=labels, manifest=load_volume_package(PACKAGE))


def oblique() -> Outlined:
    """Blocks in slices that lie across all axes, with voxels that are no squares; channels 1 and 4."""
    pixels = np.random.default_rng(3).integers(0, 1000, (7, 20, 14)).astype(np.uint16)
    labels = np.zeros(pixels.shape, dtype=np.uint8)
    labels[1:4, 3:9, 2:5], labels[2:6, 10:13, 7:13] = 1, 4
    turn, tilt = np.deg2rad(25), np.deg2rad(-35)
    row = np.array([np.cos(turn), np.sin(turn), 0.0])
    down = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)])
    slices = an_mr_series(tuple(row), tuple(down), spacing=(2.0, 1.5), step=3.0, pixels=pixels)
    return Outlined(slices=slices, pixels=pixels, labels=labels, manifest=a_volume_manifest())


def put(pacs, folder, name, outlined) -> Outlined:
    """Slices and segmentation into a PACS, each study with UIDs of its own."""
    for one in outlined.slices:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
            setattr(one, keyword, derived_uid(name, str(one[keyword].value)))
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.save_as(folder / "slice.dcm", enforce_file_format=True)
        pacs.upload(folder / "slice.dcm")
    film = a_film()
    film.StudyInstanceUID = outlined.study
    seg = encode_seg(
        shared_header(a_study(film), None, timezone(timedelta(0))),
        outlined.slices,
        outlined.labels,
        outlined.manifest,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        zone=timezone(timedelta(0)),
        software_version="1",
    )
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    pacs.upload(folder / "seg.dcm")
    return outlined


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ohif-volumes")
    with orthanc_module.Orthanc(folder / "orthanc") as pacs:
        studies = {make.__name__: put(pacs, folder, make.__name__, make()) for make in (hippocampus, oblique)}
        with ohif_module.Ohif(f"http://127.0.0.1:{pacs.http_port}/dicom-web/") as viewer:
            yield viewer, studies


@pytest.fixture(scope="module")
def browser(play):
    browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    yield browser
    browser.close()


def places(page, one):
    """Pixels of the page on which the voxel centres of a slice lie: (rows, columns, 2), x and y.

    Only the direction in which the viewer looks is its own; the point in space is worked out from the tags
    (PS3.3 C.7.6.2.1.1).
    """
    origin = np.array(one.ImagePositionPatient, dtype=float)
    along, down = np.array(one.ImageOrientationPatient, dtype=float).reshape(2, 3)
    height, width = (float(v) for v in one.PixelSpacing)
    points = [origin, origin + along * width, origin + down * height]
    seen = page.evaluate(
        f"points => {{ const at = {VIEW}.element.getBoundingClientRect();"
        f" return points.map(p => {VIEW}.worldToCanvas(p).map((v, i) => v + (i ? at.top : at.left))); }}",
        [point.tolist() for point in points],
    )
    corner, right, below = (np.array(point) for point in seen)
    rows, columns = np.mgrid[: one.Rows, : one.Columns]
    return corner + columns[..., None] * (right - corner) + rows[..., None] * (below - corner)


def look(page, one, colours):
    """What stands at each voxel's place: grey values, the Segment Number by its colour, and who is seen.

    A slice is fitted into the viewport by its one side; of the other a row may lie beyond the edge.
    """
    picture = np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB")).astype(float)
    left, top, width, height = page.evaluate(
        f"() => {{ const at = {VIEW}.element.getBoundingClientRect();"
        " return [at.left, at.top, at.width, at.height]; }"
    )
    at = np.rint(places(page, one)).astype(int)
    x, y = at[..., 0], at[..., 1]
    seen_at = (x > left + EDGE) & (x < left + width - EDGE) & (y > top + EDGE) & (y < top + height - EDGE)
    x, y = np.where(seen_at, x, 1), np.where(seen_at, y, 1)
    seen = np.mean([picture[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0)
    tint = seen - seen.mean(axis=2, keepdims=True)
    likeness = np.stack([tint @ colour for colour in colours], axis=2)
    strong = np.abs(tint).max(axis=2) > COLOURED
    return seen.mean(axis=2), np.where(strong, likeness.argmax(axis=2) + 1, 0), seen_at


def turn_to(page, one, brightest):
    """Show one slice, with all its grey values; False while the viewer does not have it.

    Once it has loaded the segments it puts the slices back, at the first that has one: a reader who was
    quicker turns again.
    """
    return page.evaluate(
        f"""async uid => {{
          const data = window.cornerstone.metaData, view = {VIEW};
          const shows = id => data.get('sopCommonModule', id)?.sopInstanceUID === uid;
          const at = view?.getImageIds().findIndex(shows) ?? -1;
          if (at < 0) return false;
          await view.setImageIdIndex(at);
          view.setProperties({{ voiRange: {{ lower: 0, upper: {brightest} }} }});
          view.render();
          return shows(view.getCurrentImageId());
        }}""",
        str(one.SOPInstanceUID),
    )


def load_segments(page):
    """Open the segmentation as a reader does; names of its segments, and their colours without grey.

    The colours are those that the object recommends, and no word of warning lies over the picture.
    """
    page.locator(THUMBNAIL).filter(has_text="SEG").first.dblclick()
    page.get_by_role("button", name="Yes", exact=True).click()
    page.wait_for_function(f"{SEGMENTS}.length > 0")
    named, colours = page.evaluate(
        f"""() => {{
          const one = {SEGMENTS}[0], number = Object.keys(one.segments).map(Number);
          const colour = n => window.cornerstoneTools.segmentation.config.color
            .getSegmentIndexColor({VIEW}.id, one.segmentationId, n);
          return [number.map(n => one.segments[n].label), number.map(colour)];
        }}"""
    )
    tints = np.array(colours, dtype=float)[:, :3]
    assert np.abs(tints - COLOURS[: len(tints)]).max() <= SAME_COLOUR, colours
    assert page.get_by_text("DICOM SEG import").count() == 0
    return named, tints - tints.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["hippocampus", "oblique"])
def test_each_segment_lies_where_the_slice_shows_it(shown, browser, name):
    viewer, studies = shown
    outlined = studies[name]
    numbers = {0: 0} | {part.channel: n for n, part in enumerate(outlined.manifest.segments, start=1)}
    wanted = np.vectorize(numbers.get)(outlined.labels)
    full = np.flatnonzero((wanted > 0).any(axis=(1, 2)))
    both = max(full, key=lambda k: min((wanted[k] == 1).sum(), (wanted[k] == 2).sum()))
    with opened(browser, viewer, outlined.study, series=2) as page:
        named, colours = load_segments(page)
        assert named == [f"{part.display['en']} (AI)" for part in outlined.manifest.segments]
        for k in sorted({full[0], both, full[-1], 0}):
            for _ in range(LOOKS):
                if turn_to(page, outlined.slices[k], int(outlined.pixels.max())):
                    grey, drawn, seen = look(page, outlined.slices[k], colours)
                    if (drawn == wanted[k])[seen].all():
                        break
                page.wait_for_timeout(500)
            if folder := os.environ.get("HOICHAN_TEST_PICTURES"):  # for a person to look at
                page.screenshot(path=Path(folder) / f"ohif-{name}-{k}.png")
            assert seen.mean() > 0.8 and seen[wanted[k] > 0].all(), k
            assert (drawn == wanted[k])[seen].all(), (k, np.argwhere((drawn != wanted[k]) & seen)[:9])
            bare = (wanted[k] == 0) & seen
            if (wanted[k] > 0).any():  # a slice that shows more than noise
                assert np.corrcoef(grey[bare], outlined.pixels[k][bare])[0, 1] > 0.8, k
        assert not page.faults
