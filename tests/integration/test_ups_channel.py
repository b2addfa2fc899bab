"""The event channel over a real socket, by the WebSocket library that a program would use."""

from __future__ import annotations

import json
import threading

import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from hoichan.adapters.ups_sql import GLOBAL, UpsSql
from hoichan.guard.scopes import Scope
from hoichan.testing.house import wait_until
from hoichan.testing.reading import a_record, arrive, assemble
from tests.unit.service.api.asking import an_app

PATIENCE = 60


@pytest.fixture
def served(tmp_path):
    """A record with one job, served on a free port; the token of a program."""
    record = a_record(tmp_path)
    assemble(record, arrive(record, "film"))
    token = record.tokens.add("ai2", (Scope.WORKLIST,), lifetime=None)
    server = uvicorn.Server(uvicorn.Config(an_app(record), host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run, name="web")
    thread.start()
    try:
        wait_until(lambda: server.started, seconds=PATIENCE, what="the page")
        port = server.servers[0].sockets[0].getsockname()[1]
        UpsSql(record.engine, record.clock).subscribe("AI2", GLOBAL, who="token:ai2", lock=False, wanted={})
        yield f"ws://127.0.0.1:{port}/dicom-web/subscribers/AI2", token
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        record.engine.dispose()


def test_events_come_and_a_second_channel_takes_the_place_of_the_first(served):
    url, token = served
    headers = {"Authorization": f"Bearer {token}"}
    with connect(url, additional_headers=headers, open_timeout=PATIENCE) as first:
        event = json.loads(first.recv(timeout=PATIENCE))
        assert event["00741000"]["Value"] == ["SCHEDULED"]
        first.send("nobody reads this")
        with connect(url, additional_headers=headers, open_timeout=PATIENCE):
            with pytest.raises(ConnectionClosed) as caught:
                first.recv(timeout=PATIENCE)
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 4000


def test_without_a_token_nothing_opens(served):
    url, _ = served
    with pytest.raises(InvalidStatus) as caught, connect(url, open_timeout=PATIENCE):
        pass
    assert caught.value.response.status_code == 403
