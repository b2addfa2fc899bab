"""A small model server that really speaks KServe v2 over HTTP, with ONNX Runtime behind it. On loopback only.

It takes JSON and, where `binary` says so, the binary data extension; like MLServer it answers 500 to a binary
body otherwise. Faults can be ordered: the next requests for inference are answered with a status, or cut off.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HEAD_LENGTH = "Inference-Header-Content-Length"
CUT = 0  # instead of a status: the connection ends without an answer


class ModelServer:
    """Models by name, each of one version, and what is asked of them."""

    def __init__(self, models: Mapping[str, Path], *, binary: bool, version: str = "1") -> None:
        self.sessions = {
            name: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            for name, path in models.items()
        }
        self.binary = binary
        self.version = version
        self.faults: list[int] = []  # statuses of the next answers to `infer`; CUT: none at all
        self.asked: list[str] = []  # "METHOD path", in order
        self.forms: list[str] = []  # content types of the requests for inference
        self.heads: list[dict[str, str]] = []  # headers of all requests
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"models": self}))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def told(self, path: str) -> object | None:
        """The JSON of a GET; None for a path that there is not."""
        if path == "/v2":
            extensions = ["binary_tensor_data"] if self.binary else []
            return {"name": "tests", "version": "1", "extensions": extensions}
        name = (
            path.removeprefix("/v2/models/").removesuffix("/ready").removesuffix(f"/versions/{self.version}")
        )
        session = self.sessions.get(name)
        if session is None:
            return None
        if path.endswith("/ready"):
            return {"name": name, "ready": True}
        return {
            "name": name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": [_told(one) for one in session.get_inputs()],
            "outputs": [_told(one) for one in session.get_outputs()],
        }

    def infer(self, name: str, body: bytes, head_length: int | None) -> tuple[bytes, int | None]:
        """Body of the answer, and the length of its head in the binary form."""
        head = json.loads(body if head_length is None else body[:head_length])
        (one,) = head["inputs"]
        if head_length is None:
            values = np.asarray(one["data"], dtype=np.float32)
        else:
            size = one["parameters"]["binary_data_size"]
            values = np.frombuffer(body[head_length : head_length + size], dtype="<f4")
        session = self.sessions[name]
        found = session.run(None, {one["name"]: values.reshape(one["shape"])})
        named = list(zip([out.name for out in session.get_outputs()], found, strict=True))
        wants_binary = head.get("parameters", {}).get("binary_data_output", False)
        outputs: list[dict[str, Any]] = []
        raw = b""
        for output, array in named:
            row: dict[str, Any] = {"name": output, "datatype": "FP32", "shape": list(array.shape)}
            if wants_binary:
                part = array.astype("<f4").tobytes()
                row["parameters"] = {"binary_data_size": len(part)}
                raw += part
            else:
                row["data"] = array.reshape(-1).tolist()
            outputs.append(row)
        answer = {"model_name": name, "model_version": self.version, "outputs": outputs}
        written = json.dumps(answer).encode()
        return written + raw, len(written) if wants_binary else None


class _Handler(BaseHTTPRequestHandler):
    models: ModelServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Server, model and readiness."""
        self._note()
        found = self.models.told(self.path)
        self._answer(404 if found is None else 200, json.dumps(found or {"error": "not found"}).encode())

    def do_POST(self) -> None:
        """Inference."""
        self._note()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.models.forms.append(self.headers["Content-Type"])
        if self.models.faults:
            status = self.models.faults.pop(0)
            if status == CUT:
                self.close_connection = True
                return
            self._answer(status, b'{"error": "ordered"}')
            return
        length = self.headers.get(HEAD_LENGTH)
        name = (
            self.path.removeprefix("/v2/models/")
            .removesuffix("/infer")
            .removesuffix(f"/versions/{self.models.version}")
        )
        if name not in self.models.sessions:
            self._answer(404, b'{"error": "unknown model"}')
            return
        if length is not None and not self.models.binary:
            self._answer(500, b'{"error": "no binary tensors"}')
            return
        answer, head_length = self.models.infer(name, body, None if length is None else int(length))
        self._answer(200, answer, {} if head_length is None else {HEAD_LENGTH: str(head_length)})

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def _note(self) -> None:
        self.models.asked.append(f"{self.command} {self.path}")
        self.models.heads.append(dict(self.headers.items()))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _told(one: Any) -> dict[str, Any]:  # noqa: ANN401 (the library has no types)
    shape = [side if isinstance(side, int) else -1 for side in one.shape]
    return {"name": one.name, "datatype": "FP32", "shape": shape}


@contextmanager
def model_server(
    models: Mapping[str, Path], *, binary: bool = True, version: str = "1"
) -> Iterator[ModelServer]:
    """A server that is up inside the block, and gone with all its connections behind it."""
    server = ModelServer(models, binary=binary, version=version)
    server.http.daemon_threads = True
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join(timeout=60)
