"""The web process as it is started in earnest: a real port, a real record, real signals."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.testing.certificates import Authority
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from hoichan.testing.reading import a_record, add_user, fill
from service.web_main import main

DEADLINE_SECONDS = 60
COMMAND = (sys.executable, "-P", "-m", "service", "web")
STOW = 'multipart/related; type="application/dicom"; boundary=edge'


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    record = a_record(folder)
    uids = fill(record)
    record.engine.dispose()
    return folder, uids


class Page:
    """A web process and how to ask it."""

    def __init__(self, folder, ready, **environment):
        self.ready = ready
        self.process = subprocess.Popen(
            [*COMMAND, "--data-dir", str(folder), "--ready-file", str(ready), "--stdin-lifeline"],
            env=os.environ | {"HOICHAN_WEB__PORT": "0", "HOICHAN_STORAGE__RESERVE_BYTES": "0"} | environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def port(self):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.ready.exists():
            assert self.process.poll() is None, self.process.stderr.read().decode()
            assert time.monotonic() < deadline, "the page was not ready in time"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
        return json.loads(self.ready.read_text(encoding="utf-8"))["port"]

    def get(self, path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stderr.close()


def stow(page, *films):
    """The status and the text that the page answers to a STOW-RS of these files."""
    body = b"".join(b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in films)
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    try:
        connection.request("POST", "/dicom-web/studies", body + b"--edge--\r\n", {"Content-Type": STOW})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def page(filled, tmp_path):
    page = Page(filled[0], tmp_path / "web.ready")
    yield page
    page.end()


def test_the_page_serves_a_real_record_until_sigterm(filled, page):
    uids = filled[1]
    status, headers, body = page.get("/")
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "server" not in headers
    assert "Tràn khí màng phổi" in body.decode()
    for path in (
        f"/studies/{uids['urgent']}",
        f"/api/v1/studies/{uids['urgent']}/trail",
        "/metrics",
    ):
        assert page.get(path)[0] == 200
    status, _, body = page.get("/readyz")
    assert (status, b"worker" in body) == (503, True)  # a page alone is not a house
    assert page.get("/static/live.js")[0] == 200
    assert page.get("/", Host="evil.example")[0] == 421
    assert stow(page, as_file(film()))[0] in (401, 403, 404, 405)  # off until it is asked for
    assert DiskSpool(filled[0] / "spool").every_study() == []
    page.process.send_signal(signal.SIGTERM)
    assert page.process.wait(DEADLINE_SECONDS) == 0
    told = page.process.stderr.read().decode()
    assert '"event": "http_request"' in told
    for text in ("Nguyễn", "BN-2026", uids["urgent"]):
        assert text not in told


def test_a_page_open_to_the_network_needs_an_account_first(filled, tmp_path):
    def told(page):
        try:
            assert page.process.wait(DEADLINE_SECONDS) == 2
            return page.process.stderr.read().decode().strip()
        finally:
            page.end()

    folder = tmp_path / "data"
    record = a_record(folder)
    page = Page(folder, tmp_path / "first.ready", HOICHAN_WEB__HOST="0.0.0.0")
    assert told(page) == (
        "web.host is open to the network, but there is no account yet: "
        "add the first with `hoichan user add`, or stay on loopback."
    )
    add_user(record, "bs.an")
    record.engine.dispose()
    page = Page(folder, tmp_path / "second.ready", HOICHAN_WEB__HOST="0.0.0.0")
    try:
        assert page.get("/healthz")[0] == 200
        assert page.get("/api/v1/studies")[0] == 401
        forwarded = {"X-Forwarded-For": "10.0.0.7", "X-Forwarded-Proto": "https"}
        cookies = page.get("/login", **forwarded)[1]["Set-Cookie"]  # a proxy on this machine is believed
        assert cookies.startswith("__Host-hoichan_visit=")
        assert page.get("/metrics")[0] == 200
        assert page.get("/metrics", **forwarded)[0] == 401
    finally:
        page.end()


def test_the_page_speaks_tls_and_ends_with_whoever_started_it(filled, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("page")
    files = {"HOICHAN_WEB__TLS__CERT": str(certificate), "HOICHAN_WEB__TLS__KEY": str(key)}
    page = Page(filled[0], tmp_path / "web.ready", **files)
    try:
        trusting = ssl.create_default_context(cafile=authority.certificate)
        connection = http.client.HTTPSConnection("localhost", page.port, timeout=60, context=trusting)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Set-Cookie"].startswith("__Host-hoichan_visit=")
        assert "Secure" in answer.headers["Set-Cookie"]
        connection.close()
        with pytest.raises((http.client.HTTPException, OSError)):
            page.get("/healthz")
        page.process.stdin.close()
        assert page.process.wait(DEADLINE_SECONDS) == 0
    finally:
        page.end()


def test_a_certificate_that_cannot_be_used_is_one_sentence(filled, tmp_path):
    page = Page(filled[0], tmp_path / "web.ready", HOICHAN_WEB__TLS__CERT=str(tmp_path / "none.pem"))
    try:
        assert page.process.wait(DEADLINE_SECONDS) == 2
        assert page.process.stderr.read().decode().startswith("web.tls: ")
    finally:
        page.end()


def test_a_taken_port_is_one_sentence_and_exit_code_2(filled, tmp_path, monkeypatch, capsys):
    """Nothing was started by then; processes of their own say it in tests/acceptance/test_bad_start.py."""
    ready = tmp_path / "web.ready"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("HOICHAN_WEB__PORT", str(port))
        assert main(["--data-dir", str(filled[0]), "--ready-file", str(ready)]) == 2
    assert capsys.readouterr().err.strip() == (
        f"Port {port} on 127.0.0.1 (web) is already in use: stop the other program or set another port."
    )
    assert not ready.exists()
