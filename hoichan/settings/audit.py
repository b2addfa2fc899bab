"""Where the site keeps the audit records of all its systems (IHE ATNA): a repository that takes FHIR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from hoichan.settings.base import ClosedUrl, Section
from hoichan.settings.destinations import Auth, FhirDestination
from hoichan.settings.tls import ClientTls


class AuditRepository(Section):
    """An audit record repository with a RESTful feed [ITI-20]: AuditEvents in batches, oldest first."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    url: ClosedUrl  # base URL of the FHIR server
    auth: Auth = Auth()
    tls: ClientTls | None = None  # None: https is checked against the system's authorities
    timeout_seconds: float = Field(30, gt=0)
    machine: bool = True  # also what the machine received, analysed and sent; False: what people did
    # post: as ITI-20 has it; a batch whose answer was lost is there twice. put: under ids of ours, once; the
    # repository must let a client choose ids.
    method: Literal["post", "put"] = "post"
    batch: int = Field(100, ge=1, le=1000)  # records at a time

    @property
    def server(self) -> FhirDestination:
        """The same as a FHIR server to talk to."""
        return FhirDestination(
            name=self.name,
            kind="fhir",
            url=self.url,
            auth=self.auth,
            tls=self.tls,
            timeout_seconds=self.timeout_seconds,
        )


def check_repositories(repositories: Sequence[AuditRepository]) -> None:
    """Raises ValueError where two have the same name."""
    names = [one.name for one in repositories]
    if len(names) != len(set(names)):
        raise ValueError("audit_repositories: two have the same name")
