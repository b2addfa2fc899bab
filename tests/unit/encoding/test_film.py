import warnings
from datetime import date
from io import BytesIO
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread

from hoichan.analysis.imaging import read_film
from hoichan.analysis.selection import select
from hoichan.encoding.film import SECONDARY_CAPTURE, FilmEntry, digitised_film, person_name
from hoichan.errors import IncompleteObject, PictureRefused
from hoichan.intake.dataset import read_spooled
from hoichan.intake.files import take_in
from hoichan.privacy import Phi
from hoichan.testing import FakeSpool, a_manifest
from hoichan.testing.datasets import MARKER

GREY = np.linspace(0, 255, 80 * 100).reshape(80, 100).astype(np.uint8)


def picture(pixels=GREY, kind="PNG", **options):
    place = BytesIO()
    Image.fromarray(pixels).save(place, kind, **options)
    return place.getvalue()


def entry(**changes):
    values = {
        "patient_id": Phi("BN0001"),
        "patient_name": Phi("Nguyễn Văn An"),
        "patient_birth_date": Phi(date(1970, 1, 31)),
        "patient_sex": "M",
        "study_date": date(2026, 11, 20),
        "view_position": "PA",
    }
    return FilmEntry(**{**values, **changes})


def made(content=None, **changes):
    return dcmread(BytesIO(digitised_film(content or picture(), entry(**changes))))


def test_it_says_what_it_is():
    film = made()
    assert film.SOPClassUID == SECONDARY_CAPTURE and film.ConversionType == "DF"
    assert film.ImageType == ["DERIVED", "PRIMARY"] and film.BurnedInAnnotation == "YES"
    assert (film.Modality, film.BodyPartExamined, film.ViewPosition) == ("CR", "CHEST", "PA")
    assert film.PatientName == "Nguyễn^An^Văn" and film.PatientBirthDate == "19700131"
    assert not [keyword for keyword in film.dir() if keyword.startswith("Lossy")]  # a PNG file cannot know


def test_the_pixels_are_those_of_the_picture():
    film = made()
    assert np.array_equal(film.pixel_array, GREY)
    assert np.abs(read_film(film).pixels - GREY / 255).max() < 0.02
    deep = (np.arange(80 * 100).reshape(80, 100) * 8).astype(np.uint16)
    assert np.array_equal(made(picture(deep)).pixel_array, deep)


def test_an_odd_number_of_pixels_is_padded():
    odd = np.zeros((65, 67), np.uint8)
    assert made(picture(odd)).pixel_array.shape == (65, 67)


def test_a_jpeg_says_that_it_lost_something():
    film = made(picture(kind="JPEG", quality=60))
    assert film.LossyImageCompression == "01" and film.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(film.LossyImageCompressionRatio) > 1
    assert np.abs(film.pixel_array.astype(int) - GREY).max() < 20


def test_colours_become_grey_and_a_turned_picture_stands_upright():
    colour = np.dstack([GREY, GREY, GREY])
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: how a phone stores it
    film = made(picture(colour, "JPEG", exif=exif))
    assert film.pixel_array.shape == (100, 80) and film.SamplesPerPixel == 1


def test_a_negative_is_said_to_be_one():
    film = made(inverted=True)
    assert film.PhotometricInterpretation == "MONOCHROME1"
    assert np.abs(read_film(film).pixels - (1 - GREY / 255)).max() < 0.02


def test_the_same_film_entered_twice_is_one_object():
    assert digitised_film(picture(), entry()) == digitised_film(picture(), entry())
    other = made(patient_id=Phi("BN0002"))
    assert other.SOPInstanceUID != made().SOPInstanceUID
    assert other.StudyInstanceUID != made().StudyInstanceUID


def test_a_second_film_joins_the_study():
    first = made()
    second = made(picture(GREY[::-1]), study_instance_uid=first.StudyInstanceUID, view_position="LL")
    assert second.StudyInstanceUID == first.StudyInstanceUID
    assert second.SeriesInstanceUID != first.SeriesInstanceUID


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({}, True),
        ({"view_position": None}, True),
        ({"view_position": "LL"}, False),
        ({"body_part_examined": "HAND"}, False),
        ({"modality": "RG"}, False),
        ({"patient_birth_date": Phi(date(2020, 1, 1))}, False),
    ],
)
def test_selection_judges_it_by_its_own_rules(changes, accepted):
    spool = FakeSpool()
    stored = take_in(spool, digitised_film(picture(), entry(**changes)), calling_ae_title="FILM")
    (spooled,) = spool.listing(stored.study_instance_uid)
    study = read_spooled(spool, spooled, ZoneInfo("Asia/Ho_Chi_Minh"))
    (selection,) = select([a_manifest()], study)
    assert selection.accepted is accepted
    spool.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nguyễn Văn An", "Nguyễn^An^Văn"),
        ("Đặng Như Quỳnh Anh", "Đặng^Anh^Như Quỳnh"),
        ("Trần Bình", "Trần^Bình"),
        ("An", "An"),
        ("Smith^John", "Smith^John"),
        ("  ", ""),
    ],
)
def test_names_in_vietnamese_order(text, expected):
    assert person_name(text) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"patient_id": Phi("")},
        {"patient_id": Phi(MARKER * 11)},
        {"patient_id": Phi(f"{MARKER}\\1")},
        {"patient_name": Phi(" ")},
        {"patient_name": Phi(f"{MARKER}\n")},
        {"patient_name": Phi(f"{MARKER}=x")},
        {"accession_number": Phi(MARKER * 3)},
        {"body_part_examined": ""},
    ],
)
def test_what_dicom_cannot_hold_is_refused_without_quoting_it(changes):
    if changes.get("patient_name") == Phi(f"{MARKER}\n"):
        changes = {"patient_name": Phi(f"{MARKER}^\x07")}
    with pytest.raises(IncompleteObject) as caught:
        digitised_film(picture(), entry(**changes))
    assert MARKER not in str(caught.value)


def tiff():
    return picture(kind="TIFF")


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", picture()[:-300], picture(np.zeros((63, 200), np.uint8)), tiff()],
    ids=["empty", "text", "cut off", "thumbnail", "tiff"],
)
def test_what_is_no_film_is_refused(content):
    with pytest.raises(PictureRefused):
        digitised_film(content, entry())


def test_a_picture_that_would_fill_the_memory_is_refused():
    header = bytearray(picture())
    header[16:24] = (60000).to_bytes(4, "big") * 2  # width and height of IHDR
    with pytest.raises(PictureRefused):
        digitised_film(bytes(header), entry())


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_is_a_fault_of_ours(data):
    whole = bytearray(picture(kind=data.draw(st.sampled_from(["PNG", "JPEG"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
        whole = whole or bytearray(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            film = digitised_film(bytes(whole), entry())
        except PictureRefused:
            return
    assert dcmread(BytesIO(film)).pixel_array.size
