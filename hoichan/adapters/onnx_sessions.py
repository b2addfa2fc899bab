"""Opening the weights of a package with ONNX Runtime, for films and for volumes alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

import onnxruntime
import structlog
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from hoichan.errors import RunnerFailed
from hoichan.types import ModelManifest, VolumeManifest

log = structlog.get_logger()

PROVIDER = "CPUExecutionProvider"
PROVIDERS = {"cpu": PROVIDER, "cuda": "CUDAExecutionProvider"}  # settings.models.provider -> its name
ORT_ERRORS = tuple(
    getattr(ort_errors, name)
    for name in (
        "EPFail",
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoModel",
        "NoSuchFile",
        "NotImplemented",
        "RuntimeException",
    )
)

Session: TypeAlias = Any  # onnxruntime.InferenceSession; the library has no types


def open_session(
    manifest: ModelManifest | VolumeManifest, threads: int, *, provider: str = PROVIDER
) -> Session:
    """The session of these weights: the bytes that are loaded are those whose checksum was checked.

    `provider`: what is tried first. Where this machine has it not, the processor does the work: ask the
    session which it is (`get_providers`). Raises RunnerFailed.
    """
    try:
        weights = Path(manifest.root, manifest.weights).read_bytes()
    except OSError as error:
        raise RunnerFailed(f"The weights of {manifest.algorithm_name} cannot be read") from error
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise RunnerFailed(
            f"The weights of {manifest.algorithm_name} changed on disk: their checksum is another"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(weights, options, providers=_chosen(provider))
    except ORT_ERRORS as error:
        raise RunnerFailed(f"The weights of {manifest.algorithm_name} cannot be loaded") from error


def _chosen(provider: str) -> list[str]:
    """In the order in which they are tried; the processor is always the last."""
    there = onnxruntime.get_available_providers()
    if provider not in there:
        log.warning("provider_not_here", wanted=provider, here=there)
    elif provider != PROVIDER:
        onnxruntime.preload_dlls()  # the libraries of the extra `gpu`, where the system has none
    return [one for one in dict.fromkeys((provider, PROVIDER)) if one in there]
