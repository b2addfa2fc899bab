"""Opening the weights of a package with ONNX Runtime, for films and for volumes alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from hoichan.errors import RunnerFailed
from hoichan.types import ModelManifest, VolumeManifest

PROVIDER = "CPUExecutionProvider"
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


def open_session(manifest: ModelManifest | VolumeManifest, threads: int) -> Session:
    """The session of these weights: the bytes that are loaded are those whose checksum was checked.

    Raises RunnerFailed.
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
        return onnxruntime.InferenceSession(weights, options, providers=[PROVIDER])
    except ORT_ERRORS as error:
        raise RunnerFailed(f"The weights of {manifest.algorithm_name} cannot be loaded") from error
