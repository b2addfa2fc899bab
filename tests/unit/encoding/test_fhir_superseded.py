"""An amendment ends the Observations of the signature before that it does not say any more."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hoichan.encoding.fhir import encode_fhir
from hoichan.encoding.fhir_checks import faults
from hoichan.encoding.fhir_superseded import ended, with_former_ended
from hoichan.encoding.source import document_context
from hoichan.reporting.signed import signed_report
from hoichan.reporting.volume_verdicts import measurement_id
from hoichan.settings import Site
from hoichan.testing import a_film, a_report, a_study
from hoichan.testing.reviews import a_draft, a_review
from hoichan.testing.volumes import measured
from hoichan.types import (
    Document,
    DocumentKind,
    Judgement,
    ReviewKind,
    SOPInstanceUID,
    Verdict,
    VolumeJudgement,
)

STUDY = a_study()
FIRST = a_report(STUDY)
SECOND = replace(FIRST, report_uid=SOPInstanceUID("2.25.77"))  # the machine's answer of a later revision


def bundle(report):
    review = a_review(report, STUDY)
    signed = signed_report(report, review, STUDY, time="08:32 20/11/2026")
    context = document_context(STUDY, signed, source=a_film(), site=Site(), software_version="1")
    return encode_fhir(context, Site(), b"")


def observations(content):
    return {
        one["resource"]["identifier"][0]["value"]: one["resource"]
        for one in json.loads(content)["entry"]
        if one["resource"]["resourceType"] == "Observation"
    }


def without_the_first(content):
    whole = json.loads(content)
    at = next(
        place for place, one in enumerate(whole["entry"]) if one["resource"]["resourceType"] == "Observation"
    )
    del whole["entry"][at]
    return json.dumps(whole).encode()


@pytest.mark.parametrize("kind", [ReviewKind.AMENDMENT, ReviewKind.ADDENDUM])
def test_judging_a_newer_answer_ends_what_was_final_of_the_older(kind):
    former, new = bundle(FIRST), bundle(SECOND)
    made = ended(new, former, kind)
    old = set(observations(former)) - set(observations(new))
    assert old
    assert {observations(made)[one]["status"] for one in old} == {"entered-in-error"}
    assert {observations(made)[one]["status"] for one in observations(new)} == {
        one["status"] for one in observations(new).values()
    }
    assert faults(json.loads(made)) == []
    results = next(
        one["resource"]["result"]
        for one in json.loads(made)["entry"]
        if one["resource"]["resourceType"] == "DiagnosticReport"
    )
    assert len(results) == len(observations(new))  # the report lists what stands


def test_findings_that_share_a_code_are_two():
    """RadLex has one code for fractures of ribs and of a clavicle; the words tell them apart."""

    def added(*keys):
        draft = a_draft(FIRST)
        verdicts = [one for one in draft.judgements if one.finding_id is not None]
        verdicts += [Judgement(finding_id=None, key=key, verdict=Verdict.ADDED) for key in keys]
        review = a_review(FIRST, STUDY, draft=replace(draft, judgements=tuple(verdicts)))
        signed = signed_report(FIRST, review, STUDY, time="08:32 20/11/2026")
        context = document_context(STUDY, signed, source=a_film(), site=Site(), software_version="1")
        return encode_fhir(context, Site(), b"")

    made = ended(added("rib_fracture"), added("rib_fracture", "clavicle_fracture"), ReviewKind.ADDENDUM)
    said = {one["code"]["text"]: one["status"] for one in observations(made).values()}
    assert said["Gãy xương sườn"] == "final" and "Gãy xương đòn" not in said


def test_what_an_amendment_leaves_out_ends_and_what_an_addendum_leaves_out_stays():
    former = bundle(FIRST)
    new = without_the_first(former)
    (gone,) = set(observations(former)) - set(observations(new))
    assert observations(ended(new, former, ReviewKind.AMENDMENT))[gone]["status"] == "entered-in-error"
    assert gone not in observations(ended(new, former, ReviewKind.ADDENDUM))


def test_the_same_findings_again_change_nothing():
    former = bundle(FIRST)
    assert observations(ended(former, former, ReviewKind.AMENDMENT)) == observations(former)


def test_only_the_bundle_is_touched_and_nothing_at_the_first_signature():
    fhir = Document(
        kind=DocumentKind.FHIR, uid="a", sop_class_uid=None, media_type="x", content=bundle(SECOND)
    )
    message = Document(kind=DocumentKind.HL7, uid="b", sop_class_uid=None, media_type="x", content=b"MSH|")
    former = replace(fhir, content=bundle(FIRST))
    assert with_former_ended((fhir, message), former, ReviewKind.FINAL) == (fhir, message)
    assert with_former_ended((fhir, message), None, ReviewKind.AMENDMENT) == (fhir, message)
    changed, same = with_former_ended((fhir, message), former, ReviewKind.AMENDMENT)
    assert same is message and changed.content != fhir.content


def with_volumes(report, *places):
    """The bundle of a signature that confirms these volumes of a report."""
    given = tuple(
        VolumeJudgement(
            measurement_id=measurement_id(report.report_uid, report.measurements[place]),
            verdict=Verdict.ACCEPTED,
            value_ml=report.measurements[place].value,
        )
        for place in places
    )
    review = a_review(report, STUDY, draft=replace(a_draft(report), volumes=given))
    signed = signed_report(report, review, STUDY, time="08:32 20/11/2026")
    context = document_context(STUDY, signed, source=a_film(), site=Site(), software_version="1")
    return encode_fhir(context, Site(), b"")


def test_an_addendum_ends_the_volume_that_it_says_anew_and_no_other():
    first, second = (replace(one, measurements=measured(STUDY)) for one in (FIRST, SECOND))
    made = observations(ended(with_volumes(second, 0), with_volumes(first, 0, 1, 2), ReviewKind.ADDENDUM))
    then = [made.get(measurement_id(first.report_uid, one)) for one in first.measurements]
    assert then[0]["status"] == "entered-in-error"
    assert then[1:] == [None, None, None]  # they stay as they are: the bundle does not name them
    assert made[measurement_id(second.report_uid, second.measurements[0])]["status"] == "final"


def test_an_amendment_ends_a_volume_that_lost_its_verdict():
    first = replace(FIRST, measurements=measured(STUDY))
    made = observations(ended(with_volumes(first, 0), with_volumes(first, 0, 1), ReviewKind.AMENDMENT))
    states = [made[measurement_id(first.report_uid, one)]["status"] for one in first.measurements[:2]]
    assert states == ["final", "entered-in-error"]
