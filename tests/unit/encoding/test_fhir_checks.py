"""What the libraries accept and we do not."""

from __future__ import annotations

import copy
import json

import pytest

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.encoding.fhir_checks import faults
from hoichan.encoding.retraction import withdrawn_bundle
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.types import DocumentKind


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    study = a_study()
    documents = DocumentEncoder(FolderOfFilms(folder), Settings()).encode(study, a_report(study))
    (bundle,) = [one.content for one in documents if one.kind is DocumentKind.FHIR]
    return json.loads(bundle)


def test_what_we_write_is_good_and_so_is_what_takes_it_back(good):
    assert faults(good) == []
    assert faults(json.loads(withdrawn_bundle(json.dumps(good).encode(), "vi"))) == []


def of(bundle, kind):
    return next(entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind)


CHANGES = {
    "Observation.status: no code of R4": lambda o, r: o["resource"].update(status="unverified"),
    "DiagnosticReport.status: no code of R4": lambda o, r: r["resource"].update(status="available"),
    "DiagnosticReport.code: missing": lambda o, r: r["resource"].pop("code"),
    "Provenance.status: does not exist": lambda o, r: o["resource"].update(resourceType="Provenance"),
    "Bundle.entry.resource: a type that we do not write": lambda o, r: o["resource"].update(
        resourceType="Patient"
    ),
    "Bundle.entry.request.url: of another type": lambda o, r: o["request"].update(url="Patient"),
    "Bundle.entry.request.method: neither POST nor PUT": lambda o, r: o["request"].update(method="DELETE"),
    "Bundle.entry.request.ifNoneExist: no identifier": lambda o, r: o["request"].pop("ifNoneExist"),
    "Bundle.entry.request.url: updates nothing in particular": lambda o, r: o["request"].update(method="PUT"),
    "Observation.value: more than one": lambda o, r: o["resource"].update(valueString="x"),
    "Observation.dataAbsentReason: beside a value": lambda o, r: o["resource"].update(
        dataAbsentReason={"text": "x"}
    ),
    "Observation.partOf: points nowhere": lambda o, r: o["resource"].update(
        partOf=[{"reference": "urn:uuid:00000000-0000-0000-0000-000000000000"}]
    ),
    "Observation.subject: no patient": lambda o, r: o["resource"].update(subject={"reference": "Group/1"}),
    "Observation.device: a patient in another place": lambda o, r: o["resource"].update(
        device={"reference": "Patient/1"}
    ),
    "Observation.code.coding.system: no URI": lambda o, r: o["resource"]["code"]["coding"][0].update(
        system="SCT"
    ),
    "Observation.code.coding.code: no code": lambda o, r: o["resource"]["code"]["coding"][0].update(code=" "),
    "Observation.identifier.value: empty, or with a bar": lambda o, r: o["resource"]["identifier"][0].update(
        value="a|b"
    ),
    "DiagnosticReport.identifier.value: no urn:oid": lambda o, r: r["resource"]["identifier"][1].update(
        value="1.2.3"
    ),
    "Observation.effectiveDateTime: no dateTime": lambda o, r: o["resource"].update(
        effectiveDateTime="2026-11-20T08:15"
    ),
    "Observation.issued: no instant": lambda o, r: o["resource"].update(issued="2026-11-20"),
    "Observation.component.valueQuantity: code without system": lambda o, r: o["resource"]["component"][0][
        "valueQuantity"
    ].pop("system"),
    "Observation.component.valueQuantity.value: no number": lambda o, r: o["resource"]["component"][0][
        "valueQuantity"
    ].update(value=float("nan")),
    "Observation.category: empty": lambda o, r: o["resource"].update(category=[]),
    "Observation.method.text: empty": lambda o, r: o["resource"]["method"].update(text=""),
    "Observation.bodySite: null": lambda o, r: o["resource"].update(bodySite=None),
    "Bundle.entry.fullUrl: twice": lambda o, r: o.update(fullUrl=r["fullUrl"]),
}


@pytest.mark.parametrize("fault", CHANGES)
def test_a_fault_is_named_by_place_and_rule(good, fault):
    bundle = copy.deepcopy(good)
    CHANGES[fault](of(bundle, "Observation"), of(bundle, "DiagnosticReport"))
    assert fault in faults(bundle)


def test_a_uid_of_an_imaging_study_stands_bare(good):
    bundle = copy.deepcopy(good)
    of(bundle, "ImagingStudy")["resource"]["series"][0]["uid"] = "urn:oid:1.2.3"
    assert faults(bundle) == ["ImagingStudy.series.uid: no UID"]


def test_values_are_never_repeated(good):
    bundle = json.loads(json.dumps(good).replace("preliminary", "MARKER").replace("urn:dicom:uid", "MARKER"))
    assert faults(bundle)
    assert "MARKER" not in str(faults(bundle))
