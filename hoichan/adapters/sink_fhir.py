"""Posts the bundle to an EMR that takes FHIR R4 transactions (FHIR R4 http.html#transaction).

The patient is never created. Where the EMR knows none under the number, or several, or somebody else, the
report waits for a person's word (`Refused` with NO_MATCH). What takes back or changes a resource is an
update of the version that we read (`ifMatch`): what others added to it meanwhile stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

import httpx2
import structlog

from hoichan.adapters.fhir_client import NOT_TAKEN, RETRYABLE, FhirClient
from hoichan.adapters.matches_sql import NO_MATCH
from hoichan.adapters.reasons import NO_DOCUMENT
from hoichan.encoding.fhir import addressed_to, has_patient
from hoichan.encoding.fhir_checks import faults
from hoichan.encoding.fhir_parts import Json
from hoichan.encoding.fhir_subject import (
    compare,
    identifier_of,
    subject_digest,
    subject_of,
    with_subject,
)
from hoichan.encoding.fhir_task import NOT_BEGUN, TASK_STATUSES, begun_version
from hoichan.errors import Refused, Unreachable
from hoichan.settings import FhirDestination
from hoichan.types import Delivery, Document, DocumentKind, Patient, StudyInstanceUID

log = structlog.get_logger()

MOST_CODES = 5
MOST_READINGS = 3  # of a resource that others change at the same moment
UNRESOLVED = frozenset({400, 404, 412, 422})  # what servers say to a reference that finds none or several
FORMS = frozenset({DocumentKind.FHIR, DocumentKind.IMR, DocumentKind.FHIR_TASK})
OF_THE_MACHINE = frozenset({"AIAST", "ai-unverified"})  # labels that a signature takes away
SIGNED_KINDS = frozenset({"DiagnosticReport", "Observation"})
_THEIRS = ("id", "meta", "subject")  # of an update: what the EMR's resource keeps
_OF_THE_REPORT = frozenset({"presentedForm"})  # what goes when the report is taken back

# http://hl7.org/fhir/ValueSet/issue-type, R4. Anything else in that place is not repeated.
ISSUE_TYPES = frozenset(
    {
        *("invalid", "structure", "required", "value", "invariant"),
        *("security", "login", "unknown", "expired", "forbidden", "suppressed"),
        *("processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long"),
        *("code-invalid", "extension", "too-costly", "business-rule", "conflict"),
        *("transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"),
        "informational",
    }
)


class Matches(Protocol):
    """What a person said about patients, and whose a study is."""

    def reference(self, destination: str, study: StudyInstanceUID, subject_sha256: str) -> str | None:
        """The patient at a receiver that a person chose."""
        ...

    def patient(self, study: StudyInstanceUID) -> Patient | None:
        """Whose a study is now."""
        ...


class FhirSink:
    """One EMR. Conditional creates make the same bundle sent twice one report."""

    def __init__(
        self,
        destination: FhirDestination,
        matches: Matches | None = None,
        *,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Raises ConfigurationError for a key that cannot be used."""
        self._destination = destination
        self._matches = matches
        self._client = FhirClient(destination, transport=transport)

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Post the bundle; the acknowledgement is the HTTP status.

        Raises Unreachable (network, 408, 409, 425, 429, 5xx: try again) or Refused (other 4xx, or a report
        without a patient: never by itself). The text of an answer may quote a patient; its issue codes only
        are kept.
        """
        found = (one.content for one in documents if one.kind in FORMS and one.kind in delivery.documents)
        content = next(found, None)
        if content is None:
            raise Refused(self._destination.name, NO_DOCUMENT)
        if not has_patient(content):
            raise Refused(self._destination.name, "the study has no patient identifier")
        body = addressed_to(
            content,
            unread_status=self._destination.unread_status,
            patient_identifier_system=self._destination.patient_identifier_system,
            review_task=self._destination.review_task,
        )
        bundle = json.loads(body)
        wrong = faults(bundle)
        if wrong:  # a fault of this program: no EMR should have to find it
            raise Refused(self._destination.name, f"not sent: {wrong[0]}")
        subject = subject_of(bundle)
        chosen = self._chosen(delivery, bundle, subject)
        if chosen is not None:
            bundle = with_subject(bundle, chosen)
            body = _dump(bundle)
        headers = {"X-Request-Id": delivery.idempotency_key}
        if delivery.documents == (DocumentKind.FHIR_TASK,):
            return self._begun(bundle, headers)
        response = self._put(bundle, body, headers)
        if subject is not None and response.status_code in UNRESOLVED:
            if chosen is None:
                self._require_one(subject)
            elif self._client.read(*chosen.split("/", 1)) is None:
                raise Refused(self._destination.name, f"{NO_MATCH}: none")
        done = self._judge(response)
        self._take_labels_off(bundle)
        return done

    def _begun(self, bundle: Json, headers: dict[str, str]) -> str:
        """Somebody reads: the Task goes on, unless it has ended there meanwhile. It is never made here."""
        (entry,) = bundle["entry"]
        identifier = entry["request"]["url"].partition("?identifier=")[2]
        for _ in range(MOST_READINGS):
            found, now = self._client.search("Task", identifier), entry
            if found is not None:
                theirs = found[0] if len(found) == 1 else {}
                if not isinstance(theirs.get("id"), str):
                    raise Refused(self._destination.name, f"Task: {'several' if found[1:] else 'none'}")
                status = theirs.get("status")
                if status not in NOT_BEGUN:
                    return f"is {status}" if status in TASK_STATUSES else "is something else"
                now = begun_version(entry, theirs)
            response = self._client.post(_dump({**bundle, "entry": [now]}), headers)
            if found is None or response.status_code not in (409, 412):
                break
        return self._judge(response)

    def _take_labels_off(self, bundle: Json) -> None:
        """Some servers keep the labels of a resource over an update: then nobody may see AIAST as a doctor's.

        `$meta-delete` (FHIR R4 resource operations), where the server has it; the report itself is delivered.
        """
        for entry in bundle["entry"]:
            ours, request = entry["resource"], entry["request"]
            kind = ours["resourceType"]
            signed = kind in SIGNED_KINDS and "meta" not in ours and ours.get("status") != "entered-in-error"
            _, mark, identifier = request["url"].partition("?identifier=")
            if request["method"] != "PUT" or not signed or not mark:
                continue
            try:
                found = self._client.search(kind, identifier)
                for one in found or ():
                    labels = _labels(one.get("meta", {}))
                    if labels and isinstance(one.get("id"), str):
                        self._client.meta_delete(kind, one["id"], labels)
            except Unreachable as error:  # what it could not be asked, the next signature asks again
                log.warning("labels_not_taken_off", destination=self._destination.name, detail=error.detail)
                return

    def _chosen(self, delivery: Delivery, bundle: Json, subject: str | None) -> str | None:
        """The patient as a person said, or as the EMR has it where facts are to be compared; None: as is."""
        if subject is None or self._matches is None:
            return None
        study = delivery.study_instance_uid
        chosen = self._matches.reference(self._destination.name, study, subject_digest(subject))
        if chosen is not None or not self._destination.compare_patient:
            return chosen
        patient = self._matches.patient(study)
        found = self._require_one(subject)
        if patient is None or found is None or not isinstance(found.get("id"), str):
            raise Refused(self._destination.name, f"{NO_MATCH}: unreadable")
        if not compare(patient, found).is_one_person:
            raise Refused(self._destination.name, f"{NO_MATCH}: differs")
        return f"Patient/{found['id']}"

    def _require_one(self, subject: str) -> Json | None:
        """The EMR's patient; None where it does not let us look. Raises Refused with NO_MATCH."""
        found = self._client.search("Patient", identifier_of(subject))
        if found is None:
            return None
        if len(found) != 1:
            raise Refused(self._destination.name, f"{NO_MATCH}: {'several' if found else 'none'}")
        return found[0]

    def _put(self, bundle: Json, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        """Post; an update of a version that is no longer the newest is made again from the newest."""
        for _ in range(MOST_READINGS):
            versioned = self._versioned(bundle)
            response = self._client.post(body if versioned is None else _dump(versioned), headers)
            if versioned is None or response.status_code not in (409, 412):
                break
        return response

    def _versioned(self, bundle: Json) -> Json | None:
        """The bundle with each conditional update as one of the version that is there; None: as it is."""
        entries, changed = [], False
        for entry in bundle["entry"]:
            request, ours = entry["request"], entry["resource"]
            kind, mark, identifier = request["url"].partition("?identifier=")
            found = self._client.search(kind, identifier) if request["method"] == "PUT" and mark else None
            theirs = found[0] if found is not None and len(found) == 1 else None
            version = (theirs or {}).get("meta", {}).get("versionId")
            if theirs is None or not version or not isinstance(theirs.get("id"), str):
                entries.append(entry)
                continue
            changed = True
            url = f"{kind}/{theirs['id']}"
            request = {"method": "PUT", "url": url, "ifMatch": f'W/"{version}"'}
            entries.append({**entry, "resource": _merged(ours, theirs), "request": request})
        return {**bundle, "entry": entries} if changed else None

    def _judge(self, response: httpx2.Response) -> str:
        status = response.status_code
        if response.is_success:
            return str(status)
        if status in RETRYABLE or status >= 500:
            raise Unreachable(self._destination.name, f"HTTP {status}", not_taken=status in NOT_TAKEN)
        codes = ", ".join(issue_codes(response.content))
        raise Refused(self._destination.name, f"HTTP {status}" + (f" ({codes})" if codes else ""))


def _merged(ours: Json, theirs: Json) -> Json:
    """An update of theirs: ours, with their id and patient. What is taken back keeps all but its page."""
    stays = {name: theirs[name] for name in _THEIRS if name in theirs}
    stays["meta"] = {**theirs.get("meta", {}), **ours.get("meta", {})}
    if "meta" not in ours and ours.get("status") != "entered-in-error":  # a person has signed it
        stays["meta"] = _without_labels(stays["meta"])
    taken_back = ours.get("status") == "entered-in-error"
    before = {name: theirs[name] for name in theirs if name not in _OF_THE_REPORT} if taken_back else {}
    return {**before, **ours, **stays}


def _without_labels(meta: Json) -> Json:
    """Their meta without what the machine's bundle said of itself: AIAST, and that nobody had read it."""
    cleaned = dict(meta)
    for name in ("security", "tag"):
        kept = [one for one in meta.get(name, ()) if one.get("code") not in OF_THE_MACHINE]
        cleaned.pop(name, None)
        if kept:
            cleaned[name] = kept
    return cleaned


def _labels(meta: Json) -> Json:
    """Of a meta what the machine's bundle said of itself; {} where nothing of it is there."""
    found = {
        name: [one for one in meta.get(name, ()) if one.get("code") in OF_THE_MACHINE]
        for name in ("security", "tag")
    }
    return {name: labels for name, labels in found.items() if labels}


def issue_codes(content: bytes) -> tuple[str, ...]:
    """The issue type codes of an OperationOutcome, e.g. "not-found"; its texts may quote a patient."""
    try:
        outcome = json.loads(content)
    except (ValueError, RecursionError):
        return ()
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    if not isinstance(issues, list):
        return ()
    found = (issue.get("code") for issue in issues if isinstance(issue, dict))
    known = (code for code in found if isinstance(code, str) and code in ISSUE_TYPES)
    return tuple(dict.fromkeys(known))[:MOST_CODES]


def _dump(bundle: Json) -> bytes:
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
