"""A knock finds out who is there, and says why nobody is."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pynetdicom import AE

from hoichan.adapters.probes import VERIFICATION, probe_of
from hoichan.adapters.reasons import reason_of
from hoichan.errors import Unreachable
from hoichan.settings import DicomDestination, FhirDestination, FolderDestination, Hl7Destination
from hoichan.testing.house import free_ports


def pacs(port):
    return probe_of(
        DicomDestination(name="pacs", kind="dicom", host="127.0.0.1", port=port, ae_title="PACS"), "HOICHAN"
    )


def emr(port):
    return probe_of(FhirDestination(name="emr", kind="fhir", url=f"http://127.0.0.1:{port}/fhir"), "HOICHAN")


def ris(port, host="127.0.0.1"):
    return probe_of(Hl7Destination(name="ris", kind="hl7v2", host=host, port=port), "HOICHAN")


@contextmanager
def archive(*, called="PACS", contexts=(VERIFICATION,)):
    entity = AE(ae_title=called)
    entity.require_called_aet = True
    for context in contexts:
        entity.add_supported_context(context)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@contextmanager
def answering(status):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


@pytest.mark.parametrize(
    "options",
    [{}, {"called": "OTHER"}, {"contexts": ("1.2.840.10008.5.1.4.1.1.7",)}],
    ids=["echoes", "rejects our call", "knows no echo"],
)
def test_a_pacs_that_says_anything_is_there(options):
    with archive(**options) as port:
        pacs(port)()


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_an_emr_that_says_anything_is_there(status):
    with answering(status) as port:
        emr(port)()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_before_an_emr_that_is_down_is_not_the_emr(status):
    with answering(status) as port, pytest.raises(Unreachable, match=f"HTTP {status}"):
        emr(port)()


def test_a_ris_that_takes_connections_is_there():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        ris(door.getsockname()[1])()


@pytest.mark.parametrize("knock", [pacs, emr, ris])
def test_where_nobody_listens_that_is_the_reason(knock):
    (port,) = free_ports(1)
    with pytest.raises(Unreachable) as caught:
        knock(port)()
    assert caught.value.detail == "connection_refused"


def test_a_name_that_dns_does_not_know_is_the_reason():
    with pytest.raises(Unreachable) as caught:
        ris(2575, host="no-such-host.invalid")()
    assert caught.value.detail == "dns"


def test_a_folder_is_there_when_it_can_be_made(tmp_path):
    probe_of(FolderDestination(name="share", kind="folder", path=tmp_path / "a" / "b"), "HOICHAN")()


def test_the_reason_is_found_behind_a_library_s_own_error():
    try:
        try:
            raise ConnectionRefusedError(111, "refused")
        except OSError as inner:
            raise RuntimeError("library") from inner
    except RuntimeError as outer:
        assert reason_of(outer) == "connection_refused"
    assert reason_of(OSError(28, "No space left")) == "disk_full"
    assert reason_of(ValueError("x")) == "ValueError"
