"""A film is decoded once for those who need it at the same time, and never taken for another one."""

from __future__ import annotations

import threading
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.film_runner import _film
from hoichan.adapters.films_read import FilmsRead
from hoichan.analysis.films import Film
from hoichan.errors import InputOutOfDomain
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.types import DocumentKind, RefusalCode


class Decoder:
    """Gives a film whose only grey level is the file's first byte, and counts."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, path) -> Film:
        self.calls.append(path.name)
        grey = path.read_bytes()[0] / 255
        return Film(grey=np.full((10, 10), grey, dtype=np.float32), spacing_mm=None)


@pytest.fixture
def decode():
    return Decoder()


def a_file(folder, name, content=b"\x10"):
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_film_is_decoded_once_until_it_is_taken(tmp_path, decode):
    films, path = FilmsRead(), a_file(tmp_path, "a")
    first = films.read(path, decode)
    assert films.read(path, decode) is first
    assert films.take(path) is first
    assert films.take(path) is None
    assert films.read(path, decode) is not first
    assert decode.calls == ["a", "a"]


def test_other_bytes_under_the_same_name_are_another_film(tmp_path, decode):
    films, path = FilmsRead(), a_file(tmp_path, "a", b"\x10")
    films.read(path, decode)
    a_file(tmp_path, "b", b"\x20").replace(path)
    assert films.take(path) is None
    assert films.read(path, decode).pixels[0, 0] == np.float32(0x20 / 255)


def test_the_oldest_go_when_there_are_too_many_pixels(tmp_path, decode):
    films = FilmsRead(pixels=250)  # two films of a hundred
    paths = [a_file(tmp_path, name) for name in "abc"]
    for path in paths[:2]:
        films.read(path, decode)
    films.read(paths[0], decode)
    films.read(paths[2], decode)
    assert films.take(paths[1]) is None
    assert films.take(paths[0]) is not None and films.take(paths[2]) is not None


def test_what_no_picture_showed_goes_with_its_study(tmp_path, decode):
    films = FilmsRead()
    other, *mine = (a_file(tmp_path, name) for name in "abc")
    films.read(other, decode)  # of another study
    with films.of_one_study():
        for path in mine:
            films.read(path, decode)
        assert films.read(mine[0], decode) is films.take(mine[0])  # it was at hand until then
    assert films.take(mine[1]) is None
    assert films.take(other) is not None


def test_a_study_that_fails_leaves_nothing_behind(tmp_path, decode):
    films, path = FilmsRead(), a_file(tmp_path, "a")
    with pytest.raises(KeyError), films.of_one_study():
        films.read(path, decode)
        raise KeyError
    assert films.take(path) is None
    films.read(path, decode)
    assert films.take(path) is not None  # outside of a study they are kept as before


def test_studies_of_two_threads_do_not_know_each_other(tmp_path, decode):
    films, path, theirs = FilmsRead(), a_file(tmp_path, "a"), a_file(tmp_path, "b")
    with films.of_one_study():
        reader = threading.Thread(target=films.read, args=(theirs, decode))
        reader.start()
        reader.join(timeout=60)
        films.read(path, decode)
    assert films.take(path) is None and films.take(theirs) is not None


def test_without_room_nothing_is_kept(tmp_path, decode):
    films, path = FilmsRead(pixels=0), a_file(tmp_path, "a")
    assert films.read(path, decode).pixels.shape == (10, 10)
    assert films.take(path) is None


def test_nobody_may_write_on_a_film_that_others_read(tmp_path, decode):
    film = FilmsRead().read(a_file(tmp_path, "a"), decode)
    with pytest.raises(ValueError, match="read-only"):
        film.pixels[0, 0] = 1


def test_what_cannot_be_decoded_is_tried_again(tmp_path):
    def fail(path):
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS)

    films, path = FilmsRead(), a_file(tmp_path, "a")
    for _ in range(2):
        with pytest.raises(InputOutOfDomain):
            films.read(path, fail)
    with pytest.raises(InputOutOfDomain):
        films.read(tmp_path / "gone", fail)
    assert films.take(tmp_path / "gone") is None


def test_the_picture_is_the_same_whether_the_film_was_at_hand_or_not(tmp_path):
    film = a_film()
    path = tmp_path / "film.dcm"
    path.write_bytes(as_bytes(film))
    study = a_study(film)
    report = a_report(study)
    films = FilmsRead()
    plain = DocumentEncoder(FolderOfFilms(tmp_path), Settings()).encode(study, report)
    films.read(path, _film)
    sharing = DocumentEncoder(FolderOfFilms(tmp_path), Settings(), films=films)
    assert [one.content for one in sharing.encode(study, report)] == [one.content for one in plain]
    assert films.take(path) is None  # it took the film
    assert [one.content for one in sharing.encode(study, report)] == [one.content for one in plain]
    (picture,) = (one for one in plain if one.kind is DocumentKind.SC)
    assert dcmread(BytesIO(picture.content)).pixel_array.std() > 10
