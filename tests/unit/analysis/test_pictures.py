"""What is a picture that a model may judge, and what only lies beside pictures."""

from dataclasses import replace

from hoichan.analysis.pictures import holds_picture, pictures_of, with_pictures
from hoichan.intake.headers import PIXEL_DATA
from hoichan.testing.datasets import PRIVATE_CLASS, film
from hoichan.testing.every_class import KNOWN, object_of
from hoichan.testing.reports import a_study

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def has_pixels(made):
    """Those of a segmentation are no picture of anybody."""
    return (PIXEL_DATA in made or "FloatPixelData" in made) and made.Modality != "SEG"


def test_every_class_is_a_picture_exactly_where_its_objects_have_pixels():
    assert {uid for uid in KNOWN if holds_picture(uid)} == {u for u in KNOWN if has_pixels(object_of(u))}


def test_nobody_knows_what_an_object_of_a_private_class_is():
    assert not holds_picture(PRIVATE_CLASS)
    assert holds_picture(film().SOPClassUID)


def test_a_page_among_films_is_passed_over_whatever_its_modality_says():
    study = a_study()
    (series,) = study.series
    page = replace(series.instances[0], sop_class_uid=ENCAPSULATED_PDF)
    mixed = replace(series, instances=(page, *series.instances))
    assert pictures_of(mixed) == series.instances
    only_pages = replace(series, instances=(page,))
    assert with_pictures(replace(study, series=(mixed, only_pages))) == [series]


def test_a_modality_that_makes_no_images_has_none():
    (series,) = a_study().series
    assert pictures_of(replace(series, modality="sr")) == ()
