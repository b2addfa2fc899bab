"""`/healthz` and `/readyz`: for whoever keeps the service running. No person in any of them."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from service.api.desk import AtDesk
from service.readiness import Finding, examine

router = APIRouter(tags=["operation"])


class Check(BaseModel):
    """One thing the service needs."""

    name: str
    ok: bool
    reason: str = ""  # stable, e.g. "database_unavailable"
    detail: str = ""  # what was found
    to_do: str = ""
    blocks: bool = True  # whether the service is not ready without it

    @classmethod
    def of(cls, finding: Finding) -> Check:
        """From a finding."""
        return cls(
            name=finding.name,
            ok=finding.ok,
            reason=finding.reason,
            detail=finding.detail,
            to_do=finding.to_do,
            blocks=finding.blocks,
        )


class Readiness(BaseModel):
    """Whether studies can be taken in, read and shown now."""

    ready: bool
    checks: list[Check]


@router.get("/healthz", response_class=PlainTextResponse)
def is_alive() -> str:
    """The process is up."""
    return "ok\n"


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def is_ready(desk: AtDesk) -> Response:
    """Database, disk, listener, workers with their models and providers, what waits; 503 where one blocks."""
    checks = [Check.of(finding) for finding in examine(desk.premises)]
    answer = Readiness(ready=all(check.ok for check in checks if check.blocks), checks=checks)
    return Response(
        answer.model_dump_json(),
        status_code=HTTPStatus.OK if answer.ready else HTTPStatus.SERVICE_UNAVAILABLE,
        media_type="application/json",
    )
