"""OHIF, a viewer that runs in the browser, served from a folder, with the DICOMweb of a PACS beside it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / ".node" / "ohif" / "dist"
TIMEOUT_SECONDS = 60
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
FLAGS += ["--disable-dev-shm-usage", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader"]
FLAGS += ["--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
PATIENCE_MS = 120_000  # software rendering on a busy machine
LOOKS = 240  # of half a second
THUMBNAIL = '[data-cy^="study-browser-thumbnail"]'
SOURCE = {
    "friendlyName": "PACS",
    "name": "PACS",
    "wadoUriRoot": "/wado",
    "qidoRoot": "/dicom-web",
    "wadoRoot": "/dicom-web",
    "qidoSupportsIncludeField": False,
    "supportsReject": False,
    "imageRendering": "wadors",
    "thumbnailRendering": "wadors",
    "enableStudyLazyLoad": True,
    "omitQuotationForMultipartRequest": True,
    "bulkDataURI": {"enabled": True},
}
CONFIG = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 1,
    "showCPUFallbackMessage": False,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "dicomweb",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": SOURCE,
        }
    ],
}


def is_available() -> bool:
    """Whether `make .node/.ohif` put it here."""
    return (FOLDER / "index.html").exists()


@contextmanager
def opened(browser: Any, viewer: Ohif, study: str, *, series: int) -> Iterator[Any]:
    """A page (playwright) with a study in the viewer, once it lists so many series; `faults`: of scripts."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    context.add_init_script("localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.faults = []
    # its tour for beginners lies over everything, and comes when it likes
    page.add_locator_handler(page.get_by_text("Skip all"), lambda button: button.first.click())
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(f"{viewer.base}/viewer?StudyInstanceUIDs={study}")
    page.locator(THUMBNAIL).nth(series - 1).wait_for()
    try:
        yield page
    finally:
        context.close()


class Ohif:
    """The viewer on a free port of loopback, before one PACS."""

    def __init__(self, dicomweb: str) -> None:
        """`dicomweb`: base of the services, with a slash at its end."""
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(_Handler, directory=str(FOLDER), dicomweb=dicomweb)
        )
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="ohif", daemon=True)

    def __enter__(self) -> Ohif:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT_SECONDS)


class _Handler(SimpleHTTPRequestHandler):
    """Files, our configuration in place of the shipped one, and what is asked of the PACS."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, dicomweb: str, **kwargs: object) -> None:
        self._dicomweb = dicomweb
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/dicom-web/"):
            self._forward()
        elif path == "/app-config.js":
            self._answer(200, f"window.config = {json.dumps(CONFIG)};".encode(), "text/javascript")
        else:
            if not (FOLDER / path.lstrip("/")).is_file():
                self.path = "/index.html"  # the viewer's own addresses
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _forward(self) -> None:
        url = self._dicomweb + self.path.removeprefix("/dicom-web/")
        request = urllib.request.Request(
            url, headers={"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                self._answer(answer.status, answer.read(), answer.headers.get("Content-Type"))
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, error.read(), error.headers.get("Content-Type"))

    def _answer(self, status: int, content: bytes, kind: str | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
