"""Hands AuditEvents to an audit record repository: one batch, and how many of it were taken [ITI-20]."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx2

from hoichan.adapters.fhir_client import RETRYABLE, FhirClient
from hoichan.encoding.fhir_parts import Json
from hoichan.errors import Refused, Unreachable
from hoichan.settings.audit import AuditRepository
from hoichan.uids import derived_uuid


class AuditRepositoryClient:
    """One repository. Raises ConfigurationError for a key that cannot be used."""

    def __init__(
        self, repository: AuditRepository, origin: str, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        """`origin`: what tells our records from those of other systems, where we choose their ids."""
        self._name = repository.name
        self._method = repository.method
        self._origin = origin
        self._client = FhirClient(repository.server, transport=transport)

    def send(self, events: Sequence[Json]) -> int:
        """How many were taken, from the first on without a gap; the rest has to be sent again.

        Raises Unreachable (network, 408, 409, 425, 429, 5xx: later) or Refused (other 4xx, or an answer that
        does not say of each record what became of it), and then none counts as taken.
        """
        body = json.dumps(self._bundle(events), ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        response = self._client.post(body, {})
        status = response.status_code
        if status in RETRYABLE or status >= 500:
            raise Unreachable(self._name, f"HTTP {status}")
        if not response.is_success:
            raise Refused(self._name, f"HTTP {status}")
        said = _statuses(response.content)
        if len(said) != len(events):
            raise Refused(self._name, "no batch-response")
        taken = next((at for at, one in enumerate(said) if not one.startswith("2")), len(said))
        if not taken:
            code = int(said[0][:3]) if said[0][:3].isdigit() else 0
            if code in RETRYABLE or code >= 500:
                raise Unreachable(self._name, f"HTTP {code}")
            raise Refused(self._name, f"HTTP {code}")
        return taken

    def _bundle(self, events: Sequence[Json]) -> Json:
        entries = []
        for event in events:
            identity = str(derived_uuid(self._origin, event["id"]))
            resource = {name: value for name, value in event.items() if name != "id"}
            request = {"method": "POST", "url": "AuditEvent"}
            if self._method == "put":
                resource = {**event, "id": identity}
                request = {"method": "PUT", "url": f"AuditEvent/{identity}"}
            entries.append({"fullUrl": f"urn:uuid:{identity}", "resource": resource, "request": request})
        return {"resourceType": "Bundle", "type": "batch", "entry": entries}


def _statuses(content: bytes) -> list[str]:
    """Of each entry of a batch-response; [] for anything else."""
    try:
        bundle = json.loads(content)
    except (ValueError, RecursionError):
        return []
    entries = bundle.get("entry") if isinstance(bundle, dict) else None
    found = []
    for entry in entries if isinstance(entries, list) else ():
        response = entry.get("response") if isinstance(entry, dict) else None
        status = response.get("status") if isinstance(response, dict) else None
        found.append(status if isinstance(status, str) else "")
    return found
