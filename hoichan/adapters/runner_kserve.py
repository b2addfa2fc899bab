"""The `Runner` port with a model server elsewhere that speaks KServe v2 (Triton, MLServer, OpenVINO, KServe).

Films are decoded, looked at and scaled here; only the scaled square travels, without any header of the image.
The package stays here too: what it accepts, its thresholds, its gate. Whether the server really holds this
version is proved, not believed: before the first film, and again every `check_seconds`, the package's golden
cases are asked and must come out within their tolerance. A server that is away, or gives other numbers,
fails the run (RunnerFailed); nothing is scored in its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from hoichan.adapters.film_runner import FilmRunner, Named
from hoichan.adapters.films_read import FilmsRead
from hoichan.adapters.kserve_wire import BINARY_EXTENSION, WireError, decode_answer, encode_request
from hoichan.adapters.tls import client_context
from hoichan.analysis.manifests import check_golden
from hoichan.errors import RunnerFailed
from hoichan.ports import Clock, Runner
from hoichan.settings import RemoteModel
from hoichan.types import InferenceResult, Instance, ModelManifest, Sha256, Study

PROVIDER = "KServeV2"
RETRYABLE = frozenset({408, 425, 429, 502, 503, 504})
LARGEST_ANSWER = 256 * 1024 * 1024  # bytes
FIRST_PAUSE_SECONDS = 0.5  # before the second try; doubled before each later one


class KserveRunner(FilmRunner):
    """Runs one package on one model server. Safe to share between threads."""

    def __init__(
        self,
        remote: RemoteModel,
        locate: Callable[[PurePosixPath], Path],
        clock: Clock,
        *,
        transport: httpx2.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        films: FilmsRead | None = None,
    ) -> None:
        """`locate` turns an instance's path inside the spool into a place on this machine."""
        super().__init__(locate, clock, films)
        self._remote = remote
        self._transport = transport
        self._pause = pause
        self._client: httpx2.Client | None = None
        self._binary: bool | None = None  # None: not asked yet
        self._inputs: dict[Sha256, str] = {}  # the name of the input of a version that was proved
        self._proved: dict[Sha256, float] = {}  # when, by the monotonic clock
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def wanted_provider(self, manifest: ModelManifest) -> str:
        """Always the server: there is no other way that a run falls back to."""
        return PROVIDER

    def load(self, manifest: ModelManifest) -> str:
        """Ask the server whether it is ready and holds this very version. Raises RunnerFailed."""
        self._prove(manifest)
        return PROVIDER

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """As `FilmRunner.run`, on a server that was proved to hold this version."""
        with self._lock:
            proved = self._proved.get(manifest.weights_sha256)
            if proved is None or time.monotonic() - proved > self._remote.check_seconds:
                self._prove(manifest)
        return super().run(manifest, study, instance)

    def _prove(self, manifest: ModelManifest) -> None:
        """Golden cases of the package, by the server. Raises RunnerFailed where one comes out otherwise."""
        with self._lock:
            self._proved.pop(manifest.weights_sha256, None)
            self._inputs.pop(manifest.weights_sha256, None)
            for check in check_golden(Path(manifest.root), manifest, self):
                if not check.passed:
                    raise RunnerFailed(
                        f"{manifest.algorithm_name} {manifest.algorithm_version}: the server's answer to "
                        f"{check.name} is not this version's ({check.detail})"
                    )
            self._proved[manifest.weights_sha256] = time.monotonic()

    def _infer(self, manifest: ModelManifest, square: NDArray[np.float32]) -> tuple[Named, str]:
        binary = self._speaks_binary()
        body, headers = encode_request(self._input_of(manifest), square, binary=binary)
        answer = self._ask("POST", f"{self._model}/infer", content=body, headers=headers)
        try:
            return decode_answer(answer.content, answer.headers), PROVIDER
        except WireError as error:
            raise RunnerFailed(f"The answer of the model server is not KServe v2: {error}") from None

    @property
    def _model(self) -> str:
        remote = self._remote
        version = f"/versions/{remote.version}" if remote.version else ""
        return f"v2/models/{remote.model or remote.package}{version}"

    def _speaks_binary(self) -> bool:
        """Whether the server lists the binary extension; MLServer answers 500 to what it does not list."""
        with self._lock:
            if self._binary is None:
                extensions = _object(self._ask("GET", "v2")).get("extensions")
                self._binary = isinstance(extensions, list) and BINARY_EXTENSION in extensions
            return self._binary

    def _input_of(self, manifest: ModelManifest) -> str:
        """The name of the one FP32 input. Raises RunnerFailed for a model that takes something else."""
        with self._lock:
            if manifest.weights_sha256 not in self._inputs:
                self._ask("GET", f"{self._model}/ready")
                inputs = _object(self._ask("GET", self._model)).get("inputs")
                if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
                    raise RunnerFailed("The model on the server does not take one input")
                name, kind, shape = (inputs[0].get(key) for key in ("name", "datatype", "shape"))
                if not isinstance(name, str) or kind != "FP32" or not _fits(shape, manifest.accepts.size):
                    side = manifest.accepts.size
                    raise RunnerFailed(f"The model on the server takes no FP32 films of {side} pixels")
                self._inputs[manifest.weights_sha256] = name
            return self._inputs[manifest.weights_sha256]

    def _ask(self, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 (of the library)
        """One answer of 200. Raises RunnerFailed, after the tries that the settings allow."""
        pause = FIRST_PAUSE_SECONDS
        for left in range(self._remote.tries - 1, -1, -1):
            try:
                return self._ask_once(method, path, **options)
            except _Later as later:
                if not left:
                    raise RunnerFailed(f"The model server gave no answer: {later}") from None
                self._pause(pause)
                pause *= 2
        raise RunnerFailed("The model server was not asked")  # tries is at least 1

    def _ask_once(self, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 (of the library)
        url = f"{str(self._remote.url).rstrip('/')}/{path}"
        try:
            with self._connection().stream(method, url, **options) as response:
                size = 0
                parts = []
                for part in response.iter_bytes():
                    size += len(part)
                    if size > LARGEST_ANSWER:
                        raise RunnerFailed("The model server's answer is too large")
                    parts.append(part)
        except httpx2.HTTPError as error:  # its text has the URL
            raise _Later(type(error).__name__) from None
        if response.status_code in RETRYABLE:
            raise _Later(f"HTTP {response.status_code}")
        if response.status_code != HTTPStatus.OK:
            raise RunnerFailed(f"The model server refused: HTTP {response.status_code}")
        headers = {k: v for k, v in response.headers.items() if k.lower() != "content-encoding"}
        return httpx2.Response(response.status_code, headers=headers, content=b"".join(parts))

    def _connection(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                remote, auth = self._remote, self._remote.auth
                basic = httpx2.BasicAuth(auth.username, auth.password.get_secret_value())
                bearer = {"Authorization": f"Bearer {auth.token.get_secret_value()}"}
                try:
                    verify: Any = client_context(remote.tls) if remote.tls is not None else True
                except OSError as error:
                    raise RunnerFailed("The certificates of models.remote.tls cannot be used") from error
                self._client = httpx2.Client(
                    timeout=httpx2.Timeout(remote.timeout_seconds),
                    transport=self._transport,
                    verify=verify,
                    auth=basic if auth.kind == "basic" else None,
                    headers=bearer if auth.kind == "bearer" else {},
                    follow_redirects=False,
                )
            return self._client


class RoutedRunner:
    """Each package where the settings say: on a model server, or in this process."""

    def __init__(self, local: FilmRunner, remote: Sequence[tuple[str, KserveRunner]]) -> None:
        """`remote`: (name of the package, its runner)."""
        self._local = local
        self._remote = dict(remote)

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """As the package's own runner."""
        return self._of(manifest).run(manifest, study, instance)

    def wanted_provider(self, manifest: ModelManifest) -> str:
        """As the package's own runner."""
        return self._of(manifest).wanted_provider(manifest)

    def load(self, manifest: ModelManifest) -> str:
        """As the package's own runner."""
        return self._of(manifest).load(manifest)

    def _of(self, manifest: ModelManifest) -> FilmRunner:
        return self._remote.get(manifest.name, self._local)


def routed(local: FilmRunner, remote: Sequence[tuple[str, KserveRunner]]) -> Runner:
    """The local runner alone where nothing runs elsewhere."""
    return RoutedRunner(local, remote) if remote else local


class _Later(Exception):
    """No answer, or one that says so; the text holds no address."""


def _object(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RunnerFailed("The answer of the model server is not KServe v2: it is no JSON object")
    return found


def _fits(shape: object, size: int) -> bool:
    """Whether (N, 1, S, S), or with -1 for any, takes one square of this size."""
    if not isinstance(shape, list) or len(shape) != 4:
        return False
    return all(side in {-1, wanted} for side, wanted in zip(shape[1:], (1, size, size), strict=True)) and (
        shape[0] in {-1, 1}
    )
