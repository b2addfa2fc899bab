"""What we say, small enough to read in a diff: the tree of the SR and the bundle, a line a statement.

After a change that is meant: HOICHAN_WRITE_GOLDEN=1 pytest FILE, then read the diff.
"""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from hoichan import __version__
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.encoding.retraction import BY_A_READER, withdraw
from hoichan.reporting.signed import signed_report
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_refused_report, a_report, a_study, as_bytes
from hoichan.testing.reviews import SIGNED_AT, a_review
from hoichan.types import DocumentKind

GOLDEN = Path(__file__).parents[2] / "golden"
DESTINATIONS = [{"name": "imr", "kind": "fhir", "url": "http://127.0.0.1/fhir", "content": "imr"}]
LONG = 100  # characters of base64 that stand for what is in it


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    film = a_film()
    (folder / "film.dcm").write_bytes(as_bytes(film))
    study = a_study(film)
    report = a_report(study)
    signed = signed_report(report, a_review(report, study), study, time="08:32 20/11/2026")
    encoder = DocumentEncoder(FolderOfFilms(folder), Settings.model_validate({"destinations": DESTINATIONS}))
    found = {
        "unread": encoder.encode(study, report),
        "not_analysed": encoder.encode(study, a_refused_report(study)),
        "signed": encoder.encode(study, signed),
    }
    found["withdrawn"] = withdraw(found["signed"], language="vi", now=SIGNED_AT, words=BY_A_READER)
    return {(name, one.kind): one.content for name, documents in found.items() for one in documents}


def check(name, lines):
    """Compare with the kept file, or write it."""
    file = GOLDEN / name
    text = "\n".join(lines) + "\n"
    if os.environ.get("HOICHAN_WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def tree(item, depth=0):
    """The content items: relationship, type, concept = value."""
    for child in item.get("ContentSequence", ()):
        kind = child.ValueType
        concept = "".join(
            f"({one.CodeValue}, {one.CodingSchemeDesignator}, {one.CodeMeaning})"
            for one in child.get("ConceptNameCodeSequence", ())
        )
        yield f"{'  ' * depth}{child.RelationshipType} {kind} {concept} {value_of(child)}".rstrip()
        yield from tree(child, depth + 1)


def value_of(item):
    match item.ValueType:
        case "CODE":
            (one,) = item.ConceptCodeSequence
            return f"= ({one.CodeValue}, {one.CodingSchemeDesignator}, {one.CodeMeaning})"
        case "NUM":
            (one,) = item.MeasuredValueSequence
            return f"= {one.NumericValue} {one.MeasurementUnitsCodeSequence[0].CodeValue}"
        case "TEXT":
            return f"= {item.TextValue}".replace("\r", "").replace("\n", " / ")
        case "PNAME":
            return f"= {item.PersonName}"
        case "UIDREF":
            return "= (a UID)"
        case "SCOORD":
            return f"= {item.GraphicType} {[round(float(one), 1) for one in item.GraphicData]}"
        case _:
            return ""


@pytest.mark.parametrize("name", ["unread", "not_analysed", "signed"])
def test_the_tree_of_the_sr(made, name):
    document = dcmread(BytesIO(made[name, DocumentKind.SR]))
    flags = (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag)
    check(f"sr/{name}.txt", [" ".join(flags), *tree(document)])


def leaves(value, place=""):
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, f"{place}[{number}]")
    else:
        last = place.rpartition(".")[2]
        is_content = isinstance(value, str) and (last == "hash" or (last == "data" and len(value) > LONG))
        shown = "(content)" if is_content or last == "size" else json.dumps(value, ensure_ascii=False)
        yield f"  {place}: {'(version)' if value == __version__ else shown}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("unread", DocumentKind.FHIR),
        ("not_analysed", DocumentKind.FHIR),
        ("signed", DocumentKind.FHIR),
        ("signed", DocumentKind.IMR),
        ("withdrawn", DocumentKind.FHIR),
    ],
)
def test_the_bundle(made, name, kind):
    lines = []
    for entry in json.loads(made[name, kind])["entry"]:
        request = entry["request"]
        lines.append(f"{request['method']} {request['url']} {request.get('ifNoneExist', '')}".rstrip())
        lines += leaves(entry["resource"])
    check(f"{'imr' if kind is DocumentKind.IMR else 'fhir'}/{name}.txt", lines)
