"""A signed report as IHE IMR Store Multimedia Report [RAD-141]: report and study only, and the words as HTML.

Made from the bundle of the signed report, so both say the same. IMR asks for an interpreter: what nobody has
signed is never written in this form. Each signature is a report of its own here; RAD-141 knows no updates.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape

from hoichan.encoding.fhir_parts import Json
from hoichan.encoding.source import DocumentContext
from hoichan.types import Review
from hoichan.uids import derived_uuid

PROFILE = "https://profiles.ihe.net/RAD/IMR/StructureDefinition/imr-store-multimedia-report-bundle"
_ENTRIES = ("DiagnosticReport", "ImagingStudy")
_NOT_IN_IT = ("result", "media", "extension")  # what they point to is not in the bundle
TITLES = {"vi": "KẾT QUẢ CHẨN ĐOÁN HÌNH ẢNH", "en": "DIAGNOSTIC IMAGING REPORT"}


def encode_imr(context: DocumentContext, review: Review, bundle: bytes) -> bytes:
    """The IMR bundle as UTF-8 JSON. `bundle`: of the same signed report, by `encode_fhir`."""
    entries = [
        entry for entry in json.loads(bundle)["entry"] if entry["resource"]["resourceType"] in _ENTRIES
    ]
    for entry in entries:
        resource: Json = entry["resource"]
        if resource["resourceType"] == "DiagnosticReport":
            _as_report_of_its_own(entry, review)
            forms = resource.get("presentedForm", [])
            resource["presentedForm"] = [_html(context, review, resource), *forms]
    made = {
        "resourceType": "Bundle",
        "meta": {"profile": [PROFILE]},
        "type": "transaction",
        "entry": entries,
    }
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _as_report_of_its_own(entry: Json, review: Review) -> None:
    resource: Json = entry["resource"]
    for name in _NOT_IN_IT:
        resource.pop(name, None)
    identity = str(derived_uuid(review.report_uid, "imr"))
    system = resource["identifier"][0]["system"]
    resource["identifier"][0] = {"system": system, "value": identity}
    entry["fullUrl"] = f"urn:uuid:{identity}"
    entry["request"] = {
        "method": "POST",
        "url": "DiagnosticReport",
        "ifNoneExist": f"identifier={system}|{identity}",
    }


def _html(context: DocumentContext, review: Review, resource: Json) -> Json:
    page = _page(context, review, resource).encode("utf-8")
    return {
        "contentType": "text/html",
        "language": review.language,
        "data": base64.b64encode(page).decode("ascii"),
        "size": len(page),
        "hash": base64.b64encode(hashlib.sha1(page, usedforsecurity=False).digest()).decode(),
        "title": TITLES[review.language],
        "creation": resource["issued"],
    }


def _page(context: DocumentContext, review: Review, resource: Json) -> str:
    """The signed words, without scripts, styles or pictures from elsewhere."""
    patient, language = context.study.patient, review.language
    name = " ".join(patient.patient_name.reveal().replace("^", " ").split())
    facts = [name, patient.patient_id.reveal(), context.study.accession_number, resource["code"].get("text")]
    words = "".join(f"<p>{escape(line)}</p>" for line in resource["conclusion"].splitlines() if line.strip())
    return (
        f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8">'
        f"<title>{TITLES[language]}</title></head><body><h1>{TITLES[language]}</h1>"
        f"<p>{escape(' · '.join(fact for fact in facts if fact))}</p>"
        f"{words}</body></html>"
    )
