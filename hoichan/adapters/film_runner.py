"""What every runner of films does around its network: decode, look, scale, and read the numbers that came.

A runner says only how a square becomes named arrays (`_infer`): in this process (`runner_onnx`), or on
another machine (`runner_kserve`).
"""

from __future__ import annotations

import warnings as python_warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from hoichan.adapters.films_read import FilmsRead
from hoichan.analysis.films import Film
from hoichan.analysis.gate import check_gate, check_pixels
from hoichan.analysis.imaging import DECODING_ERRORS, film_map, read_film, to_model_input
from hoichan.analysis.manifests import Scores
from hoichan.errors import InputOutOfDomain, RunnerFailed
from hoichan.ports import Clock
from hoichan.types import (
    InferenceResult,
    Instance,
    ModelManifest,
    RefusalCode,
    SeriesInstanceUID,
    Study,
)

log = structlog.get_logger()

Named = Mapping[str, NDArray[np.float32]]  # output of the graph -> its values, first axis: films
SMALLEST_PROBABILITY = 1e-6  # a model that gives probabilities instead of logits: keep its logit finite


class FilmRunner(ABC):
    """The `Runner` port for films. Safe to share between threads."""

    def __init__(
        self, locate: Callable[[PurePosixPath], Path], clock: Clock, films: FilmsRead | None = None
    ) -> None:
        """`locate` turns an instance's path inside the spool into a place on this machine.

        `films`: shared with others that need the same films; None: none are kept.
        """
        self._locate = locate
        self._clock = clock
        self._films = films or FilmsRead(pixels=0)

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """Numbers and maps of one image: decode, look, run.

        Raises InputOutOfDomain (`undecodable_pixels`, `pixels_out_of_range`, `not_frontal_chest`; never worth
        a retry) or RunnerFailed (worth one).
        """
        started_at = self._clock.now()
        film = self._films.read(self._locate(instance.path), _film)
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

    def score(self, manifest: ModelManifest, film: Film) -> Scores:
        """Scores of one film with no gate applied. Raises RunnerFailed."""
        found, provider = self._infer(manifest, to_model_input(film, manifest.accepts.size))
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
        return Scores(logits=logits, gate=gate, maps=maps, provider=provider)

    @abstractmethod
    def wanted_provider(self, manifest: ModelManifest) -> str:
        """The execution provider that this model is asked for."""

    @abstractmethod
    def load(self, manifest: ModelManifest) -> str:
        """Make ready before an image needs it; the provider that it really has. Raises RunnerFailed."""

    @abstractmethod
    def _infer(self, manifest: ModelManifest, square: NDArray[np.float32]) -> tuple[Named, str]:
        """(1, 1, S, S) -> the graph's outputs by name, and what ran. Raises RunnerFailed."""


def _film(path: Path) -> Film:
    return read_film(_read(path))


def _read(path: Path) -> Dataset:
    """A stored object; header texts of a damaged file stay out of the error."""
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # their text may quote the data set
            return dcmread(path)
    except (InvalidDicomError, *DECODING_ERRORS):
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "The object cannot be read") from None


def _logits(found: Named, manifest: ModelManifest) -> dict[str, float]:
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
