"""Odd headers never stop a report."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from pydicom import Dataset, config

from hoichan.encoding.source import (
    body_part,
    key_image,
    laterality,
    patient_orientation,
    person_name,
    shared_header,
)
from hoichan.testing import a_film, a_refused_report, a_report, a_study


def header(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nguyễn^Văn^An", "Nguyễn^Văn^An"),
        ("NGUYEN VAN AN", "NGUYEN VAN AN"),
        ("", ""),
        ("  Trần^Bình ", "Trần^Bình"),
        ("Nguye\u0302\u0303n", "Nguyễn"),  # composed
        ("A" * 100, "A" * 64),
        ("=".join(["Ổ" * 70] * 4), "=".join(["Ổ" * 64] * 3)),
        ("a\\b", "a b"),
    ],
)
def test_names_fit_their_value_representation(text, expected):
    assert person_name(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(["L", "F"], ("L", "F")), (["L"], None), ("", None), (["XX", "F"], None), (["LF", "FL"], ("LF", "FL"))],
)
def test_orientation_is_taken_only_when_usable(value, expected):
    assert patient_orientation(header(PatientOrientation=value)) == expected
    assert patient_orientation(None) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"StudyDate": "20261119", "StudyTime": "235959.5"}, ("20261119", "235959.5")),
        ({"StudyDate": "00000000", "StudyTime": "256161"}, ("20261120", "081500")),
        ({"StudyDate": "20260230", "StudyTime": "24"}, ("20261120", "081500")),
        ({"StudyDate": "20261340", "StudyTime": "081561"}, ("20261120", "081500")),
        ({"StudyDate": "", "StudyTime": "0815"}, ("20261120", "0815")),
    ],
)
def test_a_date_that_is_none_is_not_repeated(values, expected):
    """highdicom raises for one, and a PACS would refuse it."""
    study = a_study(a_film())
    with config.disable_value_validation():
        made = shared_header(study, header(**values), timezone(timedelta(hours=7)))
    assert (made.StudyDate, made.StudyTime) == expected


def test_body_part_and_laterality():
    assert body_part(header(BodyPartExamined="CHEST ")) == "CHEST"
    assert body_part(header()) == body_part(None) == ""
    assert laterality(header(ImageLaterality="R")) == "R"
    assert laterality(header(Laterality="B")) == laterality(None) == ""


def test_the_key_image_is_where_the_first_finding_is():
    study = a_study()
    assert key_image(study, a_report(study)).instance == study.instances[0]
    assert key_image(study, a_refused_report(study)).instance == study.instances[0]


def test_a_study_without_pixels_has_no_key_image():
    film = a_film()
    del film.Rows, film.Columns
    study = a_study(film)
    assert key_image(study, a_refused_report(study)) is None
