"""Which instances a rule sends where."""

from dataclasses import replace

import pytest

from hoichan.reporting.forwarding import Answer, errands_of
from hoichan.settings import DicomDestination, FolderDestination, Forward
from hoichan.testing import a_study

STUDY = a_study()
(SERIES,) = STUDY.series
(INSTANCE,) = SERIES.instances
DESTINATIONS = {
    "pacs": DicomDestination(name="pacs", kind="dicom", host="127.0.0.1", port=104, ae_title="PACS"),
    "share": FolderDestination(name="share", kind="folder", path="/srv/share"),
}


def errands(answer=None, sender="CR1", study=STUDY, **rule):
    made = Forward(**{"name": "all", "to": ("pacs",), **rule})
    return errands_of(made, study, answer, DESTINATIONS, lambda _: sender)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({}, True),
        ({"senders": ("CR1",)}, True),
        ({"senders": ("cr*",)}, True),
        ({"senders": ("CT", "CR?")}, True),
        ({"senders": ("CT",)}, False),
        ({"except_senders": ("CR1",)}, False),
        ({"except_senders": ("CT",)}, True),
        ({"modalities": (SERIES.modality,)}, True),
        ({"modalities": ("MR",)}, False),
        ({"body_parts": (SERIES.body_part_examined.lower(),)}, True),
        ({"body_parts": ("HEAD",)}, False),
        ({"sop_classes": (INSTANCE.sop_class_uid,)}, True),
        ({"sop_classes": ("1.2.840.10008.5.1.4.1.1.*",)}, True),
        ({"sop_classes": ("1.2.3",)}, False),
        ({"modalities": (SERIES.modality,), "senders": ("CT",)}, False),  # all of it must fit
    ],
)
def test_whatever_a_rule_names_must_fit(rule, fits):
    assert bool(errands(**rule)) is fits


def test_a_series_without_a_body_part_fits_no_rule_that_names_one():
    study = replace(STUDY, series=(replace(SERIES, body_part_examined=None),))
    assert not errands(study=study, body_parts=("CHEST",))
    assert errands(study=study)


@pytest.mark.parametrize(
    ("rule", "answer", "fits"),
    [
        ({"states": ("not_analysed",)}, None, False),
        ({"states": ("not_analysed",)}, Answer(state="not_analysed", tier=None), True),
        ({"states": ("not_analysed",)}, Answer(state="reported", tier="urgent"), False),
        ({"states": ("failed", "not_analysed")}, Answer(state="failed", tier=None), True),
        ({"tiers": ("critical", "urgent")}, Answer(state="reported", tier="urgent"), True),
        ({"tiers": ("critical",)}, Answer(state="reported", tier=None), False),
    ],
)
def test_a_rule_may_ask_for_the_answer(rule, answer, fits):
    assert bool(errands(answer=answer, **rule)) is fits


def test_nothing_goes_back_to_where_it_came_from():
    assert not errands(sender="PACS")
    assert [one.destination for one in errands(sender="PACS", to=("pacs", "share"))] == ["share"]


def test_an_errand_names_the_object_and_its_place():
    (one,) = errands()
    assert (one.rule, one.destination, one.sop_instance_uid) == ("all", "pacs", INSTANCE.sop_instance_uid)
    assert (one.path, one.transfer_syntax_uid) == (str(INSTANCE.path), INSTANCE.transfer_syntax_uid)
