"""Posts the bundle to an EMR that takes FHIR R4 transactions (FHIR R4 http.html#transaction)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx2

from hoichan.adapters.reasons import reason_of
from hoichan.adapters.smart_auth import auth_of
from hoichan.adapters.tls import client_context
from hoichan.encoding.fhir import addressed_to, has_patient
from hoichan.errors import Refused, Unreachable
from hoichan.settings import FhirDestination
from hoichan.types import Delivery, Document, DocumentKind

# "Later": the same body may succeed then. 409 is what a server says when two transactions met (R4 3.1.0.7.1).
RETRYABLE = frozenset({408, 409, 425, 429})
REDIRECTS = frozenset({307, 308})  # those that keep method and body
MOST_REDIRECTS = 3
MOST_CODES = 5
HEADERS = {
    "Content-Type": "application/fhir+json; charset=utf-8",
    "Accept": "application/fhir+json",
}


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


class FhirSink:
    """One EMR. Conditional creates make the same bundle sent twice one report."""

    def __init__(
        self, destination: FhirDestination, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._destination = destination
        self._transport = transport
        self._auth = auth_of(destination.name, destination.auth, str(destination.url))

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Post the bundle; the acknowledgement is the HTTP status.

        Raises Unreachable (network, 408, 409, 425, 429, 5xx: try again) or Refused (other 4xx, or a report
        without a patient: never by itself). The text of an answer may quote a patient; its issue codes only
        are kept.
        """
        content = next(document.content for document in documents if document.kind is DocumentKind.FHIR)
        if not has_patient(content):
            raise Refused(self._destination.name, "the study has no patient identifier")
        body = addressed_to(
            content,
            unread_status=self._destination.unread_status,
            patient_identifier_system=self._destination.patient_identifier_system,
        )
        response = self._post(body, {"X-Request-Id": delivery.idempotency_key})
        return self._judge(response)

    def _post(self, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        url = httpx2.URL(str(self._destination.url).rstrip("/"))
        tls = self._destination.tls
        try:
            verify = client_context(tls) if tls is not None else True
        except OSError as error:
            raise Unreachable(self._destination.name, "certificate") from error
        try:
            with httpx2.Client(
                timeout=self._destination.timeout_seconds,
                transport=self._transport,
                auth=self._auth,
                verify=verify,
                headers={**HEADERS, **headers},
                follow_redirects=False,
            ) as client:
                response = client.post(url, content=body)
                for _ in range(MOST_REDIRECTS):
                    target = _same_host_redirect(response, url)
                    if target is None:
                        break
                    response = client.post(target, content=body)
                return response
        except httpx2.TransportError as error:
            raise Unreachable(self._destination.name, reason_of(error)) from error

    def _judge(self, response: httpx2.Response) -> str:
        status = response.status_code
        if response.is_success:
            return str(status)
        if status in RETRYABLE or status >= 500:
            raise Unreachable(self._destination.name, f"HTTP {status}")
        codes = ", ".join(issue_codes(response.content))
        raise Refused(self._destination.name, f"HTTP {status}" + (f" ({codes})" if codes else ""))


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


def _same_host_redirect(response: httpx2.Response, base: httpx2.URL) -> httpx2.URL | None:
    """Where to post again; None for no redirect, or for one that would carry the report to another host."""
    if response.status_code not in REDIRECTS or "location" not in response.headers:
        return None
    target = response.url.join(response.headers["location"])
    same = (target.scheme, target.host, target.port) == (base.scheme, base.host, base.port)
    return target if same else None
