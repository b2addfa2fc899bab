"""`/healthz`, `/readyz` and `/metrics`: for whoever keeps the service running. No person in any of them."""

from __future__ import annotations

import os
import shutil
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from hoichan.adapters import database
from hoichan.adapters.views import Counts
from hoichan.errors import RecordsUnavailable
from hoichan.types import DeliveryState, StudyState
from service.api import problems
from service.api.desk import AtDesk, Desk

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["operation"])


class Check(BaseModel):
    """One thing the service needs."""

    name: str
    ok: bool
    reason: str = ""  # stable, e.g. "database_unavailable"


class Readiness(BaseModel):
    """Whether studies can be taken in and shown now."""

    ready: bool
    checks: list[Check]


@router.get("/healthz", response_class=PlainTextResponse)
def is_alive() -> str:
    """The process is up."""
    return "ok\n"


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def is_ready(desk: AtDesk) -> Response:
    """Database answers, its schema is the one of this program, the spool can be written."""
    checks = [_database(desk), _spool(desk.spool_root, desk.settings.storage.reserve_bytes)]
    answer = Readiness(ready=all(check.ok for check in checks), checks=checks)
    return Response(
        answer.model_dump_json(),
        status_code=HTTPStatus.OK if answer.ready else HTTPStatus.SERVICE_UNAVAILABLE,
        media_type="application/json",
    )


@router.get("/metrics", response_class=PlainTextResponse, responses={503: problems.RESPONSES[503]})
def show_metrics(desk: AtDesk) -> Response:
    """Counts in Prometheus text format 0.0.4."""
    text = exposition(desk.reading.counts(), now=desk.clock.now().timestamp())
    return Response(text, media_type=METRICS_TYPE)


def exposition(counts: Counts, *, now: float) -> str:
    """The metrics as text; `now` is in seconds since the epoch."""
    waiting = now - counts.oldest_undelivered_at.timestamp() if counts.oldest_undelivered_at else 0.0
    by_state = {DeliveryState.PENDING: counts.pending_deliveries, DeliveryState.DEAD: counts.dead_deliveries}
    lines = ["# HELP hoichan_studies Studies by state.", "# TYPE hoichan_studies gauge"]
    lines += [f'hoichan_studies{{state="{state}"}} {counts.studies.get(state, 0)}' for state in StudyState]
    lines += ["# HELP hoichan_instances Instances on record.", "# TYPE hoichan_instances gauge"]
    lines += [f"hoichan_instances {counts.instances}"]
    lines += [
        "# HELP hoichan_deliveries Deliveries that are not acknowledged.",
        "# TYPE hoichan_deliveries gauge",
    ]
    lines += [f'hoichan_deliveries{{state="{state}"}} {count}' for state, count in by_state.items()]
    lines += [
        "# HELP hoichan_oldest_undelivered_seconds Since when the oldest pending delivery waits.",
        "# TYPE hoichan_oldest_undelivered_seconds gauge",
        f"hoichan_oldest_undelivered_seconds {max(0.0, waiting):.1f}",
    ]
    return "\n".join(lines) + "\n"


def _database(desk: Desk) -> Check:
    try:
        version = desk.reading.schema_version()
    except RecordsUnavailable:
        return Check(name="database", ok=False, reason="database_unavailable")
    if version != database.HEAD:
        return Check(name="database", ok=False, reason="schema_version_wrong")
    return Check(name="database", ok=True)


def _spool(root: Path, reserve_bytes: int) -> Check:
    if not root.is_dir():
        return Check(name="spool", ok=False, reason="spool_missing")
    if not os.access(root, os.W_OK | os.X_OK):
        return Check(name="spool", ok=False, reason="spool_not_writable")
    if shutil.disk_usage(root).free < reserve_bytes:
        return Check(name="spool", ok=False, reason="spool_full")
    return Check(name="spool", ok=True)
