"""The `Runner` port with ONNX Runtime in this process.

One session per weights file (by checksum), one thread less than the cores and no spinning: on a shared box
that is quicker than the defaults (docs/dependencies.md). What really ran stands in the result, since a
missing provider only falls back silently.
"""

from __future__ import annotations

import os
import threading
import warnings as python_warnings
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from hoichan.adapters.onnx_sessions import ORT_ERRORS, PROVIDER, Session, open_session
from hoichan.analysis.gate import check_gate, check_pixels
from hoichan.analysis.imaging import DECODING_ERRORS, Film, film_map, read_film, to_model_input
from hoichan.analysis.manifests import Scores
from hoichan.errors import InputOutOfDomain, RunnerFailed
from hoichan.ports import Clock
from hoichan.types import (
    InferenceResult,
    Instance,
    ModelManifest,
    RefusalCode,
    SeriesInstanceUID,
    Sha256,
    Study,
)

log = structlog.get_logger()

SMALLEST_PROBABILITY = 1e-6  # a model that gives probabilities instead of logits: keep its logit finite


class OnnxRunner:
    """Runs `onnx` packages on the processor. Safe to share between threads."""

    def __init__(
        self, locate: Callable[[PurePosixPath], Path], clock: Clock, *, threads: int | None = None
    ) -> None:
        """`locate` turns an instance's path inside the spool into a place on this machine."""
        self._locate = locate
        self._clock = clock
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._sessions: dict[Sha256, Session] = {}
        self._lock = threading.Lock()

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """Numbers and maps of one image: decode, look, run.

        Raises InputOutOfDomain (`undecodable_pixels`, `pixels_out_of_range`, `not_frontal_chest`; never worth
        a retry) or RunnerFailed (worth one).
        """
        started_at = self._clock.now()
        film = read_film(_read(self._locate(instance.path)))
        check_pixels(film)
        scores = self.score(manifest, film)
        gate, warnings = 1.0, film.warnings
        if scores.gate:
            gate = check_gate(scores.gate, manifest.accepts.gate_operating_point)
        else:
            warnings = (*warnings, "no_pixel_gate")
        result = InferenceResult(
            study_instance_uid=study.study_instance_uid,
            revision=study.revision,
            series_instance_uid=_series_of(study, instance),
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            algorithm_name=manifest.algorithm_name,
            algorithm_version=manifest.algorithm_version,
            weights_sha256=manifest.weights_sha256,
            logits=scores.logits,
            gate=gate,
            rows=film.rows,
            columns=film.columns,
            started_at=started_at,
            ended_at=self._clock.now(),
            provider=scores.provider,
            warnings=warnings,
            class_activation_maps=scores.maps,
        )
        log.info(
            "model_run",
            model=manifest.name,
            version=manifest.algorithm_version,
            study=study.study_instance_uid,
            revision=study.revision,
            provider=scores.provider,
            seconds=round((result.ended_at - started_at).total_seconds(), 3),
        )
        return result

    @property
    def wanted_provider(self) -> str:
        """The execution provider that sessions are asked for."""
        return PROVIDER

    def load(self, manifest: ModelManifest) -> str:
        """Open the session before an image needs it; the provider that it really has. Raises RunnerFailed."""
        provider: str = self._session(manifest).get_providers()[0]
        return provider

    def score(self, manifest: ModelManifest, film: Film) -> Scores:
        """Scores of one film with no gate applied. Raises RunnerFailed."""
        session = self._session(manifest)
        x = to_model_input(film, manifest.accepts.size)  # (1, 1, S, S)
        try:
            values = session.run(None, {session.get_inputs()[0].name: x})
        except ORT_ERRORS as error:
            raise RunnerFailed(f"{manifest.algorithm_name} failed: {type(error).__name__}") from error
        found = {out.name: np.asarray(v) for out, v in zip(session.get_outputs(), values, strict=True)}
        logits = _logits(found, manifest)
        maps = {}
        if "cam" in found:
            cams = found["cam"][0]  # (C, h, w)
            maps = {
                o.name: film_map(cams[o.index], film.rows, film.columns, manifest.accepts.size)
                for o in manifest.outputs
            }
        gate = tuple(float(p) for p in found["gate"][0]) if "gate" in found else ()
        if not all(np.isfinite([*logits.values(), *gate])):
            raise RunnerFailed(f"{manifest.algorithm_name} gave a number that is none")
        return Scores(logits=logits, gate=gate, maps=maps, provider=session.get_providers()[0])

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
        return open_session(manifest, self._threads)


def _read(path: Path) -> Dataset:
    """A stored object; header texts of a damaged file stay out of the error."""
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # their text may quote the data set
            return dcmread(path)
    except (InvalidDicomError, *DECODING_ERRORS):
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "The object cannot be read") from None


def _logits(found: Mapping[str, NDArray[np.float32]], manifest: ModelManifest) -> dict[str, float]:
    """Output.name -> logit, from the graph's `logits` or `probabilities` (1, C)."""
    if "logits" in found:
        row = found["logits"][0].astype(np.float64)
    elif "probabilities" in found:
        p = np.clip(
            found["probabilities"][0].astype(np.float64), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY
        )
        row = np.log(p / (1 - p))
    else:
        raise RunnerFailed(f"{manifest.algorithm_name} has neither an output 'logits' nor 'probabilities'")
    if max(o.index for o in manifest.outputs) >= len(row):
        raise RunnerFailed(f"{manifest.algorithm_name} has fewer outputs than its manifest")
    return {o.name: float(row[o.index]) for o in manifest.outputs}


def _series_of(study: Study, instance: Instance) -> SeriesInstanceUID:
    for series in study.series:
        if any(i.sop_instance_uid == instance.sop_instance_uid for i in series.instances):
            return series.series_instance_uid
    raise RunnerFailed(f"Instance {instance.sop_instance_uid} is not in study {study.study_instance_uid}")
