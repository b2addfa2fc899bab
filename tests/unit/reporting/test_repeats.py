"""Of a repetition without a result: what says nothing of the images, and what does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.reporting.repeats import OF_PIXELS, SILENT, unheard
from hoichan.testing.reports import a_manifest, a_report, a_study
from hoichan.types import Measurement, Refusal, RefusalCode
from hoichan.types.words import Code

STUDY = a_study()
MODEL = a_manifest().algorithm_name
OTHER = "Another model"
ANSWER = a_report(STUDY)
ABOUT_IMAGES = sorted(set(RefusalCode) - SILENT)


def no(code, model=MODEL, **of):
    """A refusal of the film that was read."""
    here = {
        "series_instance_uid": STUDY.series[0].series_instance_uid,
        "sop_instance_uid": STUDY.instances[0].sop_instance_uid,
    }
    return Refusal(code=code, algorithm_name=model, **{**here, **of})


def told(*refusals, answer=ANSWER, study=STUDY):
    return [(one.algorithm_name, one.code) for one in unheard(answer, study, refusals)]


@pytest.mark.parametrize("code", sorted(SILENT - {RefusalCode.NO_MODEL}))
def test_a_model_that_did_not_look_says_why(code):
    assert told(no(code)) == [(MODEL, code)]


def test_a_model_that_is_gone_is_named():
    nobody = no(RefusalCode.NO_MODEL, None, series_instance_uid=None, sop_instance_uid=None)
    assert told(nobody) == told() == [(MODEL, RefusalCode.NO_MODEL)]


@pytest.mark.parametrize("code", ABOUT_IMAGES)
def test_what_its_own_model_says_of_the_film_is_an_answer(code):
    assert told(no(code)) == []
    assert told(no(RefusalCode.MODEL_FAILED), no(code)) == []


@pytest.mark.parametrize("code", ABOUT_IMAGES)
def test_what_another_model_says_counts_where_it_looked_at_the_film(code):
    stands = code not in OF_PIXELS | {RefusalCode.NO_IMAGE}
    assert bool(told(no(code, OTHER))) is stands


def test_what_the_answer_had_told_already_is_no_news():
    known = no(RefusalCode.NOT_FRONTAL_CHEST, OTHER)
    assert told(known, answer=a_report(STUDY, refusals=(replace(known, detail="looks_like=lateral"),)))


def test_what_is_said_of_another_image_or_series_is_no_news():
    assert told(no(RefusalCode.WRONG_VIEW, series_instance_uid="1.2.9"))
    assert told(no(RefusalCode.NOT_FRONTAL_CHEST, sop_instance_uid="1.2.9"))


def test_a_failure_at_another_image_does_not_tell_why_this_one_was_not_read():
    elsewhere = no(RefusalCode.MODEL_FAILED, sop_instance_uid="1.2.9")
    assert told(elsewhere) == [(MODEL, RefusalCode.NO_MODEL)]


def test_an_image_that_was_taken_back_has_no_answer_that_could_stand():
    (series,) = STUDY.series
    rejected = tuple(replace(one, rejected=True) for one in series.instances)
    study = replace(STUDY, series=(replace(series, instances=rejected),))
    assert told(no(RefusalCode.MODEL_FAILED), study=study) == []


def test_an_answer_that_nobody_gave_does_not_stand():
    assert told(no(RefusalCode.MODEL_FAILED), answer=replace(ANSWER, results=())) == []


def test_a_network_is_heard_of_by_its_series():
    series = STUDY.series[0].series_instance_uid
    code = Code(code_value="118565006", coding_scheme_designator="SCT", code_meaning="Volume")
    measured = Measurement(
        code=code,
        region=None,
        display={"en": "x", "vi": "x"},
        value=1.0,
        unit="ml",
        segment_number=1,
        segmentations={},
        series_instance_uid=series,
        sop_instance_uid="1.2.3",
        algorithm_name="Network",
        algorithm_version="1",
    )
    answer = replace(ANSWER, results=(), measurements=(measured, measured))
    of = {"model": "Network", "sop_instance_uid": None}
    assert told(no(RefusalCode.MODEL_FAILED, **of), answer=answer) == [("Network", RefusalCode.MODEL_FAILED)]
    assert told(no(RefusalCode.WRONG_GEOMETRY, **of), answer=answer) == []
    assert told(answer=answer) == [("Network", RefusalCode.NO_MODEL)]
