"""Every yes and no that tags alone decide."""

from dataclasses import replace

import pytest

from hoichan.analysis.selection import refusals, select
from hoichan.testing.reports import a_manifest, a_study
from hoichan.types import RefusalCode, Study


def study_with(
    *, series: dict | None = None, instance: dict | None = None, patient: dict | None = None
) -> Study:
    study = a_study()
    film = replace(study.series[0].instances[0], **(instance or {}))
    one = replace(study.series[0], **{"modality": "DX", "body_part_examined": "CHEST", "view_position": "PA"})
    one = replace(one, instances=(film,), **(series or {}))
    return replace(study, series=(one,), patient=replace(study.patient, **(patient or {})))


def only(study: Study):
    (selection,) = select([a_manifest()], study)
    return selection


def test_an_adult_frontal_chest_film_is_taken_and_the_reason_is_said():
    selection = only(study_with())
    assert selection.accepted
    assert selection.reason == "Modality=DX BodyPartExamined=CHEST ViewPosition=PA"
    assert selection.warnings == ()


@pytest.mark.parametrize("part", ["CHEST", "chest", "THORAX", "LUNG", " Chest  PA ", "CHEST_AP"])
def test_ways_of_writing_chest(part):
    assert only(study_with(series={"body_part_examined": part})).accepted


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"instance": {"rejected": True}}, RefusalCode.REJECTED_IMAGE, ""),
        ({"instance": {"removed": True}}, RefusalCode.REMOVED_IMAGE, ""),
        ({"series": {"modality": "CT"}}, RefusalCode.WRONG_MODALITY, "Modality=CT"),
        (
            {"series": {"body_part_examined": "RIBCAGE"}},
            RefusalCode.WRONG_BODY_PART,
            "BodyPartExamined=RIBCAGE",
        ),
        ({"series": {"body_part_examined": "EXTREMITY"}}, RefusalCode.WRONG_BODY_PART, None),
        ({"series": {"body_part_examined": "CHESTABDOMEN"}}, RefusalCode.WRONG_BODY_PART, None),
        ({"series": {"view_position": "XX"}}, RefusalCode.WRONG_VIEW, "ViewPosition=XX"),
        ({"series": {"view_position": "LL"}}, RefusalCode.WRONG_VIEW, "ViewPosition=LL"),
        ({"patient": {"patient_age_years": 17}}, RefusalCode.AGE_UNDER_LIMIT, "below 18 years"),
        ({"patient": {"patient_age_years": 0}}, RefusalCode.AGE_UNDER_LIMIT, None),
        ({"patient": {"patient_age_years": 131}}, RefusalCode.AGE_OVER_LIMIT, None),
        ({"instance": {"image_type": ("DERIVED", "SECONDARY")}}, RefusalCode.DERIVED_IMAGE, None),
        ({"instance": {"presentation_intent_type": "FOR PROCESSING"}}, RefusalCode.FOR_PROCESSING, None),
        ({"instance": {"number_of_frames": 2}}, RefusalCode.MULTI_FRAME, "NumberOfFrames=2"),
    ],
)
def test_what_the_tags_rule_out(change, code, detail):
    selection = only(study_with(**change))
    assert not selection.accepted
    assert selection.refusal.code is code
    assert selection.refusal.sop_instance_uid == selection.instance.sop_instance_uid
    if detail is not None:
        assert selection.refusal.detail == detail


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"series": {"view_position": None}}, "view_unknown"),
        ({"series": {"view_position": " "}}, "view_unknown"),
        ({"series": {"body_part_examined": None}}, "body_part_unknown"),
        ({"patient": {"patient_age_years": None}}, "age_unknown"),
    ],
)
def test_an_absent_tag_is_a_warning_and_the_pixels_decide(change, warning):
    selection = only(study_with(**change))
    assert selection.accepted
    assert selection.warnings == (warning,)


@pytest.mark.parametrize("age", [18, 90, 130 - 10])
def test_the_age_limits_are_inclusive(age):
    assert only(study_with(patient={"patient_age_years": age})).accepted


def test_a_derived_primary_image_is_a_film():
    assert only(study_with(instance={"image_type": ("DERIVED", "PRIMARY")})).accepted


def test_free_text_in_a_coded_value_stays_out_of_reason_and_detail():
    selection = only(study_with(series={"body_part_examined": "Nguyễn Văn An, ngực thẳng, phòng 3"}))
    assert selection.refusal.detail == "BodyPartExamined=other"
    assert "Nguy" not in selection.reason


def test_documents_and_states_are_no_images():
    study = study_with()
    sr = replace(study.series[0], modality="SR")
    both = replace(study, series=(sr, *study.series))
    assert [s.series.modality for s in select([a_manifest()], both)] == ["DX"]
    nothing = replace(study, series=(sr,))
    assert select([a_manifest()], nothing) == ()
    assert [r.code for r in refusals((), nothing)] == [RefusalCode.NO_IMAGE]


def test_without_a_model_the_study_is_told_so():
    study = study_with()
    (refusal,) = refusals(select([], study), study)
    assert refusal.code is RefusalCode.NO_MODEL
    assert refusal.algorithm_name is None and refusal.series_instance_uid is None


def test_refusals_are_told_once_a_series_and_code():
    study = study_with(series={"modality": "CT"})
    series = replace(study.series[0], instances=study.series[0].instances * 30)
    selections = select([a_manifest()], replace(study, series=(series,)))
    assert len(selections) == 30
    assert len(refusals(selections, study)) == 1


def test_accepted_images_give_no_refusal():
    study = study_with()
    assert refusals(select([a_manifest()], study), study) == ()
