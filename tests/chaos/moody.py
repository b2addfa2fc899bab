"""An EMR with moods: it stands before a real one, and refuses, stays silent, or loses the answer, by dice."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOODS = ("pass", "pass", 500, 503, 409, 429, "silent", "forgetful", "hang up")
SILENCE_SECONDS = 3.0  # longer than the caller's patience


class MoodyEmr:
    """Passes requests to 127.0.0.1:`port`, or does not; `moody` off: always passes."""

    def __init__(self, port: int, *, seed: int) -> None:
        self.moody = True
        self.seen: Counter[int | str] = Counter()
        self._target = port
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer._answer(self, body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        """No longer there."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> MoodyEmr:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            mood = self._dice.choice(MOODS) if self.moody else "pass"
            self.seen[mood] += 1
        handler.close_connection = True
        if isinstance(mood, int):
            self._say(handler, mood, b'{"resourceType": "OperationOutcome"}')
            return
        if mood == "silent":
            self._stopped.wait(SILENCE_SECONDS)
        if mood in ("silent", "hang up"):
            return
        status, text = self._pass_on(handler, body)
        if mood != "forgetful":  # else it did what it was asked for, and nobody hears of it
            self._say(handler, status, text)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=60)
        try:
            kept = {name: value for name, value in handler.headers.items() if name.lower() != "connection"}
            connection.request("POST", handler.path, body, kept)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @staticmethod
    def _say(handler: BaseHTTPRequestHandler, status: int, text: bytes) -> None:
        with suppress(ConnectionError):  # whoever asked was killed meanwhile
            handler.send_response(status)
            handler.send_header("Content-Type", "application/fhir+json")
            handler.send_header("Content-Length", str(len(text)))
            handler.end_headers()
            handler.wfile.write(text)
