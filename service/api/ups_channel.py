"""UPS-RS event channel: N-EVENT-REPORTs as DICOM JSON over a WebSocket (PS3.18 11.13, 8.10.4).

A program opens it with its token, under an AE title that it subscribed. What it was not told yet comes first;
then the record is looked at every second. What it sends is not read.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from hoichan.adapters.ups_sql import Event, UpsSql
from hoichan.errors import AccessError, RecordsUnavailable
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Action
from service.api import ups_json as dicom
from service.api.caller import Caller
from service.api.desk import Desk
from service.api.doorkeeper import is_ours
from service.api.programs import bearer, program_of

log = structlog.get_logger()

LOOK_SECONDS = 1.0
TOKEN_SECONDS = 60.0  # until the token is looked at again
POLICY, TRY_AGAIN, GONE_ELSEWHERE = (
    1008,
    1013,
    4000,
)  # codes of a close; the last: opened again by the same program
AE_TITLE = re.compile(r"[A-Za-z0-9_.-]{1,16}")


class Channels:
    """All channels of this process: one an AE title, the last that was opened."""

    def __init__(self) -> None:
        self._open: dict[str, object] = {}

    async def serve(self, websocket: WebSocket) -> None:
        """One channel, until either side ends it."""
        desk: Desk = websocket.app.state.desk
        ae_title = str(websocket.path_params["ae_title"])
        if not await run_in_threadpool(_may, websocket, desk, ae_title, True):
            await websocket.close(POLICY)  # before it was accepted: HTTP 403
            return
        await websocket.accept()
        me = object()
        self._open[ae_title] = me
        log.info("ups_channel_opened", ae_title=ae_title)
        gone = asyncio.create_task(_until_gone(websocket))
        try:
            await self._tell(websocket, desk, ae_title, me, gone)
        except (WebSocketDisconnect, RuntimeError):  # it went away while it was told: told again next time
            pass
        except RecordsUnavailable as error:
            log.warning("ups_channel_failed", code=error.code)
            await websocket.close(TRY_AGAIN)
        finally:
            gone.cancel()
            if self._open.get(ae_title) is me:
                del self._open[ae_title]
            log.info("ups_channel_closed", ae_title=ae_title)

    async def _tell(
        self, websocket: WebSocket, desk: Desk, ae_title: str, me: object, gone: asyncio.Task[None]
    ) -> None:
        record = UpsSql(desk.reading.engine, desk.clock)
        loop = asyncio.get_running_loop()
        look_at_token = loop.time() + TOKEN_SECONDS
        while not gone.done():
            if self._open.get(ae_title) is not me:
                await websocket.close(GONE_ELSEWHERE)
                return
            if loop.time() >= look_at_token:
                if not await run_in_threadpool(_may, websocket, desk, ae_title, False):
                    await websocket.close(POLICY)
                    return
                look_at_token = loop.time() + TOKEN_SECONDS
            for event in await run_in_threadpool(_due, record, ae_title):
                for report in dicom.reports(event):
                    await websocket.send_text(json.dumps(report, ensure_ascii=False))
                await run_in_threadpool(record.told, ae_title, event)
            await asyncio.wait({gone}, timeout=LOOK_SECONDS)


def route() -> WebSocketRoute:
    """The channel's route. It stands outside the gate, which knows requests only, and asks for itself."""
    return WebSocketRoute("/dicom-web/subscribers/{ae_title}", Channels().serve)


async def _until_gone(websocket: WebSocket) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def _due(record: UpsSql, ae_title: str) -> Sequence[Event]:
    try:
        return record.due(ae_title)
    except RecordsUnavailable as error:
        log.warning("ups_channel_waits", code=error.code)
        return ()


def _may(websocket: WebSocket, desk: Desk, ae_title: str, opening: bool) -> bool:
    """Whether a program with a token for the worklist asks, under an AE title of its own."""
    headers = Headers(scope=websocket.scope)
    scheme = {"wss": "https", "ws": "http"}.get(websocket.scope["scheme"], "http")
    request = Request({**websocket.scope, "type": "http", "method": "GET", "scheme": scheme, "state": {}})
    if bearer(headers) is None or not is_ours(headers.get("host", ""), desk.settings.web.public_names):
        return False
    try:
        caller: Caller = program_of(request, desk.tokens, desk.people, desk.witness)
    except AccessError:
        return False
    request.state.caller = caller
    if not caller.may(Action.WORKLIST_USE) or AE_TITLE.fullmatch(ae_title) is None:
        return False
    if not UpsSql(desk.reading.engine, desk.clock).may_listen(ae_title, caller.user_name):
        return False
    if opening:
        desk.witness.record(request, Audited.QUERIED, detail="workitems channel")
    return True
