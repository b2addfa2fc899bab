"""Routing rules: the first that fits decides, and no result is lost by one."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from hoichan.reporting.routing import Route, Rule, check, route
from hoichan.settings import FolderDestination
from hoichan.testing.reports import a_film, a_manifest, a_study

PACS, EMR = (FolderDestination(name=name, kind="folder", path=f"/{name}") for name in ("pacs", "emr"))
STUDY = replace(a_study(a_film("routing")), calling_ae_title="XQ_TRAM1")
CHEST = {series.body_part_examined for series in STUDY.series}.pop()
MODALITY = STUDY.series[0].modality


@pytest.mark.parametrize(
    ("conditions", "misfits"),
    [
        ({}, ()),
        ({"senders": ("xq_*",)}, ()),
        ({"senders": ("XQ_TRAM?",), "modalities": (MODALITY.lower(), "CT")}, ()),
        ({"body_parts": (CHEST,)}, ()),
        ({"senders": ("CR1",)}, ("senders",)),
        ({"senders": ("CR1", "XQ_TRAM1"), "modalities": ("MR",)}, ("modalities",)),
        ({"senders": ("XQ_TRAM1?",), "body_parts": ("HAND",)}, ("senders", "body_parts")),
    ],
)
def test_whatever_a_rule_names_must_fit(conditions, misfits):
    assert Rule(name="r", **conditions).misfits(STUDY) == misfits


def test_the_first_that_fits_decides():
    rules = [Rule(name="ct", modalities=("CT",)), Rule(name="here"), Rule(name="later")]
    made = route(STUDY, rules, version=4, had=["pacs"])
    assert (made.rule, made.version, made.had) == (rules[1], 4, {"pacs"})
    assert route(STUDY, rules[:1], version=4).rule is None


@pytest.mark.parametrize(
    ("models", "destinations", "had", "asked", "get"),
    [
        (None, None, (), ["chest"], ["pacs", "emr"]),
        ((), (), (), [], []),
        (("chest",), ("emr",), (), ["chest"], ["emr"]),
        (("other",), ("emr",), ("pacs",), [], ["pacs", "emr"]),  # who had a result gets the later ones
        (None, ("gone",), (), ["chest"], ["pacs", "emr"]),  # none of the named is known any more
        (None, ("gone", "pacs"), (), ["chest"], ["pacs"]),
    ],
)
def test_what_a_rule_lets_through(models, destinations, had, asked, get):
    rule = Rule(name="r", models=models, destinations=destinations)
    made = Route(version=1, rule=rule, had=frozenset(had))
    manifest = replace(a_manifest(), name="chest")
    assert [one.name for one in made.models([manifest])] == asked
    assert [one.name for one in made.destinations([PACS, EMR])] == get


def test_without_a_rule_all_are_asked_and_all_get_it():
    manifest = a_manifest()
    assert Route().models([manifest]) == (manifest,)
    assert Route().destinations([PACS, EMR]) == (PACS, EMR)


@pytest.mark.parametrize(
    ("named", "had", "get"),
    [
        (None, (), ["emr"]),
        (None, ("pacs",), ["pacs", "emr"]),  # corrections of what it has
        (("pacs",), (), ["emr"]),  # a result that goes nowhere by mistake is worse
        (("pacs", "emr"), (), ["emr"]),
        (("emr",), ("pacs",), ["pacs", "emr"]),
    ],
)
def test_who_is_switched_off_gets_corrections_alone(named, had, get):
    off = PACS.model_copy(update={"active": False})
    rule = None if named is None else Rule(name="r", destinations=named)
    assert [one.name for one in Route(rule=rule, had=frozenset(had)).destinations([off, EMR])] == get


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([Rule(name="a"), Rule(name="a")], "same_name"),
        ([Rule(name=f"r{n}") for n in range(51)], "too_many"),
        ([Rule(name="a", models=("nothing",))], "unknown_model"),
        ([Rule(name="a", destinations=("nobody",))], "unknown_destination"),
    ],
)
def test_rules_that_cannot_be_followed(rules, code):
    with pytest.raises(ValueError, match=code):
        check(rules, models=["chest"], destinations=["pacs"])


@pytest.mark.parametrize(
    "wrong", [{"name": "a b"}, {"name": ""}, {"name": "a", "senders": (" ",)}, {"name": "a", "x": 1}]
)
def test_a_rule_is_valid_from_birth(wrong):
    with pytest.raises(ValidationError):
        Rule(**wrong)
