"""Messages that the order door did not take: `/messages` and `/api/v1/messages`.

Who sent what kind when, and the code of what is wrong; never what stands in them. The bytes stay in the
record for whoever keeps the service (docs/hl7.md), and can be read again after an update of it.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from hoichan.adapters.orders_sql import OrdersSql, RefusedMessage
from hoichan.guard.audit import Audited
from service.api import problems
from service.api.desk import AtDesk, Desk
from service.api.show import show
from service.orders import OrderDesk

router = APIRouter(prefix="/api/v1", tags=["messages"], responses=problems.RESPONSES)
MessageKey = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
page_router = APIRouter(default_response_class=HTMLResponse)


class MessageOut(BaseModel):
    """A message that was not taken."""

    message_key: str  # SHA-256, its name in the record and the log
    received_at: datetime
    source: str
    kind: str  # e.g. "ORM^O01"; "" when it could not be read
    answer: str  # AE | AR
    code: str | None
    repeated: int  # it came again so often


class RepeatedOut(BaseModel):
    """What became of a message that was read again."""

    answer: str  # AA | AE | AR


class MessagesOut(BaseModel):
    """Refused messages, newest first."""

    items: list[MessageOut]
    counts: dict[str, int]  # of all messages, by answer


@router.get("/messages", response_model=MessagesOut)
def list_messages(request: Request, desk: AtDesk) -> MessagesOut:
    """What the order door did not take, newest first."""
    found, counts = _look(request, desk)
    return MessagesOut(
        items=[
            MessageOut(
                message_key=one.message_key,
                received_at=one.received_at,
                source=one.source,
                kind=one.kind,
                answer=one.answer,
                code=one.code,
                repeated=one.repeated,
            )
            for one in found
        ],
        counts=counts,
    )


@page_router.get("/messages")
def show_messages(request: Request, desk: AtDesk) -> HTMLResponse:
    """The same as a page."""
    found, counts = _look(request, desk)
    return show(request, desk, "messages.html", messages=found, counts=counts)


@router.post("/messages/{message_key}/repeat", response_model=RepeatedOut)
def repeat_message(request: Request, desk: AtDesk, message_key: MessageKey) -> Response:
    """Read a refused message again, as if it came now; what it says counts from its own time on."""
    desk.witness.record(request, Audited.PATIENT_CORRECTED, detail=f"message {message_key[:16]} again")
    answer = OrderDesk(desk.settings, OrdersSql(desk.reading.engine, desk.clock), desk.clock).repeat(
        message_key
    )
    if answer is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/messages", status_code=HTTPStatus.SEE_OTHER)
    return JSONResponse(RepeatedOut(answer=answer).model_dump())


def _look(request: Request, desk: Desk) -> tuple[list[RefusedMessage], dict[str, int]]:
    orders = OrdersSql(desk.reading.engine, desk.clock)
    desk.witness.record(request, Audited.QUERIED, detail="messages")
    return list(orders.refused()), dict(orders.counts())
