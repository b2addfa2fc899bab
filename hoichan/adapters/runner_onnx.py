"""The `Runner` port with ONNX Runtime in this process.

One session per weights file (by checksum), one thread less than the cores and no spinning: on a shared box
that is quicker than the defaults (docs/dependencies.md). What really ran stands in the result, since a
missing provider only falls back silently.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from hoichan.adapters.film_runner import FilmRunner, Named
from hoichan.adapters.films_read import FilmsRead
from hoichan.adapters.onnx_sessions import ORT_ERRORS, PROVIDERS, Session, open_session
from hoichan.errors import RunnerFailed
from hoichan.ports import Clock
from hoichan.types import ModelManifest, Sha256


class OnnxRunner(FilmRunner):
    """Runs `onnx` packages on the processor, or on a graphics card. Safe to share between threads."""

    def __init__(
        self,
        locate: Callable[[PurePosixPath], Path],
        clock: Clock,
        *,
        threads: int | None = None,
        films: FilmsRead | None = None,
        provider: str = "cpu",
    ) -> None:
        """`locate` turns an instance's path inside the spool into a place on this machine.

        `provider`: cpu | cuda; where there is no card the processor runs it, and the result says so.
        """
        super().__init__(locate, clock, films)
        self._provider = PROVIDERS[provider]
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._sessions: dict[Sha256, Session] = {}
        self._lock = threading.Lock()

    def wanted_provider(self, manifest: ModelManifest) -> str:
        """The execution provider that sessions are asked for."""
        return self._provider

    def load(self, manifest: ModelManifest) -> str:
        """Open the session before an image needs it; the provider that it really has. Raises RunnerFailed."""
        provider: str = self._session(manifest).get_providers()[0]
        return provider

    def _infer(self, manifest: ModelManifest, square: NDArray[np.float32]) -> tuple[Named, str]:
        session = self._session(manifest)
        try:
            values = session.run(None, {session.get_inputs()[0].name: square})
        except ORT_ERRORS as error:
            raise RunnerFailed(f"{manifest.algorithm_name} failed: {type(error).__name__}") from error
        found = {out.name: np.asarray(v) for out, v in zip(session.get_outputs(), values, strict=True)}
        return found, session.get_providers()[0]

    def _session(self, manifest: ModelManifest) -> Session:
        """The session of these weights: the bytes that are loaded are those whose checksum was checked."""
        with self._lock:
            session = self._sessions.get(manifest.weights_sha256)
            if session is None:
                session = self._sessions[manifest.weights_sha256] = self._open(manifest)
            return session

    def _open(self, manifest: ModelManifest) -> Session:
        if manifest.runtime != "onnx":
            raise RunnerFailed(f"{manifest.algorithm_name} needs the runtime {manifest.runtime}, not onnx")
        return open_session(manifest, self._threads, provider=self._provider)
