"""The picture: size, film in grey, colour only where there is evidence, words that fit."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from hoichan import codes
from hoichan.encoding import overlay
from hoichan.encoding.captions import caption
from hoichan.encoding.overlay import BANNER, HEIGHT, WIDTH, _font, _wrap, jpeg, render
from hoichan.testing import a_finding, a_refused_report, a_report, a_study
from hoichan.types import RefusalCode

STUDY = a_study()
UID = STUDY.instances[0].sop_instance_uid
FILM = np.linspace(0, 1, 512 * 448, dtype=np.float32).reshape(512, 448)


def words(report, uid=UID, language="vi"):
    return caption(report, sop_instance_uid=uid, rows=512, columns=448, language=language)


def coloured(picture) -> np.ndarray:
    """Where red and blue differ clearly; (rows, columns) bool."""
    return np.abs(picture[..., 0].astype(int) - picture[..., 2].astype(int)) > 24


@pytest.mark.parametrize("shape", [(512, 448), (448, 512), (2000, 200), (200, 2000), (64, 64), (1955, 1841)])
def test_it_never_exceeds_its_size(shape):
    picture = render(np.zeros(shape, np.float32), words(a_report(STUDY)))
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    assert picture.shape[0] <= HEIGHT


def test_a_film_that_cannot_be_shown_leaves_the_words():
    picture = render(None, words(a_refused_report(STUDY, RefusalCode.UNDECODABLE_PIXELS)))
    assert picture.shape[0] >= 600
    assert picture[BANNER + 10 :, WIDTH - 290 :].max() > 150


def test_the_film_stays_grey_without_positives():
    for report in (a_report(STUDY, findings=[a_finding(STUDY, "edema", 0.1)]), a_refused_report(STUDY)):
        picture = render(FILM, words(report))
        film = picture[BANNER + 20 : 700, 40 : WIDTH - 370]
        assert (film[..., 0] == film[..., 2]).all()
        assert film.std() > 10


def test_the_map_is_drawn_where_the_evidence_is():
    finding = a_finding(STUDY, "pleural_effusion", 0.9, box=(0.5, 0.5, 1.0, 1.0))
    plain = render(FILM, words(a_report(STUDY, findings=[a_finding(STUDY, "edema", 0.1)])))
    picture = render(FILM, words(a_report(STUDY, findings=[finding])))
    assert picture.shape == plain.shape
    height, right = picture.shape[0] - 80, WIDTH - 350
    film = coloured(picture)[BANNER:height, :right]
    rows, columns = np.nonzero(film)
    assert rows.min() > film.shape[0] * 0.4
    assert columns.min() > film.shape[1] * 0.4
    assert film.mean() < 0.3


def test_the_tint_keeps_the_films_detail():
    """Dark stays darker than bright under the map."""
    stripes = np.tile(np.repeat([0.2, 0.8], 8), (512, 28)).astype(np.float32)
    finding = a_finding(STUDY, "edema", 0.9, box=(0.1, 0.1, 0.9, 0.9))
    picture = render(stripes, words(a_report(STUDY, findings=[finding])))
    middle = picture[400:420, 300:420].mean(axis=2)
    assert middle.max() - middle.min() > 80


def test_many_findings_still_fit():
    findings = [a_finding(STUDY, key, 0.9, box=(0.2, 0.2, 0.4, 0.4)) for key in codes.FINDINGS]
    picture = render(FILM, words(a_report(STUDY, findings=findings)))
    assert picture.shape[0] <= HEIGHT


def test_same_input_same_pixels():
    assert (render(FILM, words(a_report(STUDY))) == render(FILM, words(a_report(STUDY)))).all()


@pytest.mark.parametrize("bold", [False, True])
def test_the_fonts_hold_every_letter_we_write(bold):
    font = _font(20, bold=bold)
    missing = bytes(font.getmask("\uffff"))
    vietnamese = "aàảãáạăằẳẵắặâầẩẫấậbcdđeèẻẽéẹêềểễếệghiìỉĩíịklmnoòỏõóọôồổỗốộơờởỡớợpqrstuùủũúụưừửữứựvxyỳỷỹýỵ"
    for letter in vietnamese + vietnamese.upper() + "0123456789–·,.%()<>=|+":
        assert bytes(font.getmask(letter)) != missing, letter
    assert isinstance(font, ImageFont.FreeTypeFont)


@settings(deadline=None, max_examples=30)
@given(st.text(alphabet="abc ớữ", max_size=200), st.integers(40, 300))
def test_wrapped_lines_keep_every_word(text, width):
    lines = _wrap(text, _font(16), width)
    assert " ".join(lines).split() == text.split()
    assert all(_font(16).getlength(line) <= width or " " not in line for line in lines)


def test_jpeg_is_a_picture_of_the_same_size():
    picture = render(FILM, words(a_report(STUDY)))
    with Image.open(BytesIO(jpeg(picture))) as image:
        assert image.size == (picture.shape[1], picture.shape[0])


@pytest.mark.parametrize("peaks", [(), (1.0,), (0.9, 0.55), (0.36,), (0.3,)])
def test_a_map_is_laid_where_it_is_and_as_if_it_were_laid_everywhere(peaks):
    """The film is only worked on under the map; the picture is that of the long way, to the last bit."""
    rng = np.random.default_rng(0)
    film = rng.random((900, 700), dtype=np.float32)
    rows, columns = np.mgrid[0:13, 0:10].astype(np.float32)
    blobs = [
        np.float32(peak) * np.exp(-((rows - 3 - 4 * at) ** 2 + (columns - 4) ** 2) / 9).astype(np.float32)
        for at, peak in enumerate(peaks)
    ]
    (some, *_) = words(a_report(STUDY)).marks
    marks = [replace(some, heatmap=blob) for blob in blobs]
    size = (350, 450)
    grey = np.asarray(Image.fromarray(film).resize(size, Image.Resampling.BICUBIC))
    colour = np.repeat(np.clip(grey, 0, 1)[..., None] * np.float32(255), 3, axis=2)
    if blobs:
        strength = np.maximum.reduce([overlay._enlarged(blob, size) for blob in blobs])
        weight = np.clip((strength - overlay.MAP_FLOOR) / (1 - overlay.MAP_FLOOR), 0, 1)
        edge = overlay._contour(strength >= overlay.CONTOUR_AT) * overlay.CONTOUR_OPACITY
        colour = overlay._blend(overlay._tinted(colour, weight), overlay.CONTOUR, edge)
    expected = np.rint(colour).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(overlay._film_with_map(film, size, marks)), expected)
    assert (expected[..., 0] != expected[..., 2]).any() == any(peak > overlay.MAP_FLOOR for peak in peaks)
