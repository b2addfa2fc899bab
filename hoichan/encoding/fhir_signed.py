"""The bundle of a signed report: the machine's resources brought to what a person says (FHIR R4 statuses).

A receiver has one report of a study: Observations and the DiagnosticReport are conditional updates under the
identifiers that the machine's bundle gave them, so that preliminary becomes final in place, and what the
machine said stays as the version before. The label AIAST goes from what a person has signed.
"""

from __future__ import annotations

import base64
import hashlib

from hoichan import codes
from hoichan.encoding.fhir_parts import Json, concept, dicom_identifier, v2
from hoichan.encoding.signer import rejection
from hoichan.reporting.begun import is_begun
from hoichan.reporting.review_words import SIDE_CODES, SIDES, SITES
from hoichan.reporting.reviews import finding_id
from hoichan.reporting.signed import is_added, judgement_of
from hoichan.types import Code, Finding, Judgement, Review, ReviewKind, Verdict, VolumeJudgement
from hoichan.uids import derived_uuid

REPORT_STATUS = {
    ReviewKind.FINAL: "final",
    ReviewKind.AMENDMENT: "amended",
    ReviewKind.ADDENDUM: "appended",
}
SIZE = Code(code_value="103339001", coding_scheme_designator="SCT", code_meaning="Long Axis")
LATERALITY = Code(code_value="272741003", coding_scheme_designator="SCT", code_meaning="Laterality")


def report_identity(review: Review) -> str:
    """Of the DiagnosticReport that a signature brings forward."""
    return str(derived_uuid(review.known_as, "report"))


def observation_identity(review: Review, finding: Finding) -> str:
    """Of the Observation that says a finding: the machine's own, or a new one for what was added."""
    if is_added(finding):
        return str(derived_uuid(review.known_as, "added", finding.key, finding.algorithm_version))
    return finding_id(review.judged, finding)


def sign_observation(entry: Json, finding: Finding, review: Review, *, system: str, doctor: Json) -> Json:
    """The entry of one finding as the person said it. `system`: of observation identifiers."""
    identity = observation_identity(review, finding)
    judgement = judgement_of(review, finding)
    resource: Json = entry["resource"]
    del resource["meta"]
    resource["identifier"] = [{"system": system, "value": identity}]
    rejected = judgement is not None and judgement.verdict is Verdict.REJECTED
    final = "final" if review.kind is ReviewKind.FINAL else "amended"
    resource["status"] = "cancelled" if rejected else final
    resource["performer"] = [doctor]
    if is_added(finding):
        for name in ("method", "device"):
            del resource[name]
        resource["component"] = resource["component"][-1:]  # only the image it was seen on
    if judgement is not None:
        _say(resource, finding, judgement, review.language)
    return _update(entry, identity, f"Observation?identifier={system}|{identity}")


def sign_volume(entry: Json, said: VolumeJudgement, review: Review, *, system: str, doctor: Json) -> Json:
    """The entry of one volume as the person said it: the number he stands for, or that it is none."""
    resource: Json = entry["resource"]
    del resource["meta"]
    resource["identifier"] = [{"system": system, "value": said.measurement_id}]
    resource["status"] = "final" if review.kind is ReviewKind.FINAL else "amended"
    resource["performer"] = [doctor]
    if said.verdict is Verdict.EDITED:
        for name in ("method", "device"):
            del resource[name]
    if said.verdict is Verdict.REJECTED:
        resource["status"] = "cancelled"
        resource["note"] = [{"text": rejection(said, review.language)}]
    return _update(entry, said.measurement_id, f"Observation?identifier={system}|{said.measurement_id}")


def _say(resource: Json, finding: Finding, judgement: Judgement, language: str) -> None:
    term = codes.FINDINGS[finding.key]
    site = SITES[judgement.site].code if judgement.site else term.site
    side = judgement.laterality
    words = [SITES[judgement.site].display[language]] if judgement.site else []
    words += [SIDES[side][language]] if side is not None else []
    if site is not None:
        resource["bodySite"] = concept(site, ", ".join(words) or None)
    if side is not None:  # as in the SR; a second coding of the site would be another name of it
        said = {"code": concept(LATERALITY), "valueCodeableConcept": concept(SIDE_CODES[side])}
        resource["component"].append(said)
    if judgement.size_mm is not None:
        quantity = {
            "value": round(judgement.size_mm, 1),
            "unit": "mm",
            "system": "http://unitsofmeasure.org",
            "code": "mm",
        }
        resource["component"].append({"code": concept(SIZE), "valueQuantity": quantity})
    note = judgement.text.reveal().strip()
    if judgement.verdict is Verdict.REJECTED:
        note = rejection(judgement, language)
        resource.pop("interpretation", None)
    if note:
        resource["note"] = [{"text": note}]


def sign_report(entry: Json, review: Review, *, system: str, doctor: Json, text: str, page: bytes) -> Json:
    """The entry of the report as it was signed. `text`: its words; `page`: the PDF, where one is made."""
    identity = report_identity(review)
    resource: Json = entry["resource"]
    for name in ("meta", "extension", "media"):
        resource.pop(name, None)
    resource["identifier"] = [
        {"system": system, "value": identity},
        dicom_identifier(review.report_uid),
    ]
    resource["status"] = REPORT_STATUS[review.kind]
    resource["resultsInterpreter"] = [doctor]
    resource["conclusion"] = text
    if page:
        resource["presentedForm"] = [
            {
                "contentType": "application/pdf",
                "language": review.language,
                "data": base64.b64encode(page).decode("ascii"),
                "size": len(page),
                "hash": base64.b64encode(hashlib.sha1(page, usedforsecurity=False).digest()).decode(),
                "creation": resource["issued"],
            }
        ]
    return _update(entry, identity, f"DiagnosticReport?identifier={system}|{identity}")


def sign_provenance(entry: Json, review: Review, *, system: str, doctor: Json) -> Json:
    """Who signed, what it replaces, and the hash of exactly what was signed."""
    resource: Json = entry["resource"]
    resource["activity"] = v2("v3-DataOperation", "UPDATE", "revise")
    role = "provenance-participant-type"
    resource["agent"] = [
        {"type": v2(role, "author", "Author"), "who": doctor},
        {"type": v2(role, "verifier", "Verifier"), "who": doctor},
        *resource["agent"],
    ]
    sources: list[Json] = resource["entity"]
    begun = is_begun(review.judged, review.study_instance_uid, review.revision)
    if review.judged != review.predecessor and not begun:
        sources.append({"role": "derivation", "what": {"identifier": dicom_identifier(review.judged)}})
    digest = {"system": system, "value": review.content_sha256}
    sources.append(
        {"role": "source", "what": {"identifier": digest, "display": "SHA-256 of the signed content"}}
    )
    return entry


def _update(entry: Json, identity: str, url: str) -> Json:
    entry["fullUrl"] = f"urn:uuid:{identity}"
    entry["request"] = {"method": "PUT", "url": url}
    return entry
