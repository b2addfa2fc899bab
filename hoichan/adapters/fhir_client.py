"""Talking to one FHIR R4 server: a transaction, a search whose words stand in the body, and reading by id."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx2

from hoichan.adapters.reasons import reason_of
from hoichan.adapters.smart_auth import auth_of
from hoichan.adapters.tls import client_context
from hoichan.encoding.fhir_parts import Json
from hoichan.errors import Unreachable
from hoichan.intake.json_bodies import loaded
from hoichan.settings import FhirDestination

# "Later": the same body may succeed then. 409 is what a server says when two transactions met (R4 3.1.0.7.1).
RETRYABLE = frozenset({408, 409, 425, 429})
# Of a transaction: nothing of it was kept. Not 502 and 504: the server behind a gateway may still be at it.
NOT_TAKEN = frozenset({409, 425, 429, 500, 503})
REDIRECTS = frozenset({307, 308})  # those that keep method and body
MOST_REDIRECTS = 3
MOST_FOUND = 5  # more than one is already too many
HEADERS = {"Accept": "application/fhir+json"}
CONTENT = {"Content-Type": "application/fhir+json; charset=utf-8"}


class FhirClient:
    """One server, as the settings describe it. Raises ConfigurationError for a key that cannot be used."""

    def __init__(
        self, destination: FhirDestination, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._destination = destination
        self._transport = transport
        self._auth = auth_of(destination.name, destination.auth, str(destination.url))
        self._base = str(destination.url).rstrip("/")

    def post(self, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        """The answer to a bundle. Raises Unreachable (network)."""
        url = httpx2.URL(self._base)
        try:
            with self._client() as client:
                sent = {**CONTENT, **headers}
                response = client.post(url, content=body, headers=sent)
                for _ in range(MOST_REDIRECTS):
                    target = _same_host_redirect(response, url)
                    if target is None:
                        break
                    response = client.post(target, content=body, headers=sent)
                return response
        except httpx2.TransportError as error:
            raise Unreachable(self._destination.name, reason_of(error)) from error

    def search(self, kind: str, identifier: str) -> list[Json] | None:
        """The resources with an identifier (`system|value`); None where the server does not let us look.

        The identifier goes in the body: addresses are logged on the way. Raises Unreachable.
        """
        fields = {"identifier": identifier, "_count": str(MOST_FOUND)}
        response = self._ask("POST", f"{self._base}/{kind}/_search", data=fields)
        bundle = _json(response)
        if not response.is_success or bundle.get("resourceType") != "Bundle":
            return None
        entries = bundle.get("entry") or []
        found = [entry.get("resource") for entry in entries if isinstance(entry, dict)]
        return [one for one in found if isinstance(one, dict) and one.get("resourceType") == kind]

    def read(self, kind: str, identity: str) -> Json | None:
        """One resource; None when there is none, or it may not be seen. Raises Unreachable."""
        response = self._ask("GET", f"{self._base}/{kind}/{identity}")
        resource = _json(response)
        return resource if response.is_success and resource.get("resourceType") == kind else None

    def meta_delete(self, kind: str, identity: str, labels: Json) -> bool:
        """Take labels off a resource; False where the server knows no such operation. Raises Unreachable."""
        parameters = {
            "resourceType": "Parameters",
            "parameter": [{"name": "meta", "valueMeta": labels}],
        }
        url = f"{self._base}/{kind}/{identity}/$meta-delete"
        return self._ask("POST", url, content=json.dumps(parameters).encode("utf-8")).is_success

    def _ask(
        self, method: str, url: str, *, data: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> httpx2.Response:
        headers = CONTENT if content is not None else None
        try:
            with self._client() as client:
                response = client.request(method, url, data=data, content=content, headers=headers)
        except httpx2.TransportError as error:
            raise Unreachable(self._destination.name, reason_of(error)) from error
        if response.status_code in RETRYABLE or response.status_code >= 500:
            raise Unreachable(self._destination.name, f"HTTP {response.status_code}")
        return response

    def _client(self) -> httpx2.Client:
        destination = self._destination
        try:
            verify = client_context(destination.tls) if destination.tls is not None else True
        except OSError as error:
            raise Unreachable(destination.name, "certificate") from error
        return httpx2.Client(
            timeout=destination.timeout_seconds,
            transport=self._transport,
            auth=self._auth,
            verify=verify,
            headers=HEADERS,
            follow_redirects=False,
        )


def _json(response: httpx2.Response) -> Json:
    try:
        content = loaded(response.content)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _same_host_redirect(response: httpx2.Response, base: httpx2.URL) -> httpx2.URL | None:
    """Where to post again; None for no redirect, or for one that would carry the report to another host."""
    if response.status_code not in REDIRECTS or "location" not in response.headers:
        return None
    target = response.url.join(response.headers["location"])
    same = (target.scheme, target.host, target.port) == (base.scheme, base.host, base.port)
    return target if same else None
