"""Tensors as the Open Inference Protocol (KServe v2, REST) carries them: JSON, or the binary data extension.

In the binary form the body is a JSON head, whose length stands in `Inference-Header-Content-Length`, and then
the tensors' bytes, little-endian and row-major, in the order of the head. Source: KServe
`open_inference_rest.yaml`; Triton `extension_binary_data.md`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD_LENGTH = "Inference-Header-Content-Length"
BINARY_EXTENSION = "binary_tensor_data"
KINDS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}  # of the tensors that film models give
MOST_VALUES = 64 * 1024 * 1024  # of one tensor

Tensors = dict[str, NDArray[np.float32]]


class WireError(ValueError):
    """The answer is not what the protocol says; the text names what is wrong, never a value."""


def encode_request(name: str, tensor: NDArray[np.float32], *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers that ask for every output of a model of one input."""
    one: dict[str, Any] = {"name": name, "shape": list(tensor.shape), "datatype": "FP32"}
    if not binary:
        one["data"] = tensor.reshape(-1).tolist()
        return json.dumps({"inputs": [one]}).encode(), {"Content-Type": "application/json"}
    raw = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
    one["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    return head + raw, {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(len(head))}


def decode_answer(body: bytes, headers: Mapping[str, str]) -> Tensors:
    """Output name -> its values as float32. Raises WireError."""
    length = headers.get(HEAD_LENGTH) or headers.get(HEAD_LENGTH.lower())
    if length is not None and not (length.isdecimal() and int(length) <= len(body)):
        raise WireError("the length of its head is none")
    end = len(body) if length is None else int(length)
    try:
        outputs = json.loads(body[:end])["outputs"]
    except (ValueError, KeyError, TypeError):
        raise WireError("its head is not JSON with outputs") from None
    if not isinstance(outputs, list):
        raise WireError("its outputs are no list")
    found: Tensors = {}
    for one in outputs:
        name, values, end = _tensor(one, body, end)
        found[name] = values
    return found


def _tensor(one: object, body: bytes, start: int) -> tuple[str, NDArray[np.float32], int]:
    """(name, values, where the next tensor's bytes begin)."""
    if not isinstance(one, dict):
        raise WireError("an output is no object")
    name, kind, shape = one.get("name"), one.get("datatype"), one.get("shape")
    if not isinstance(name, str) or not isinstance(shape, list):
        raise WireError("an output lacks name or shape")
    if not all(isinstance(side, int) and not isinstance(side, bool) and side >= 0 for side in shape):
        raise WireError("the shape of an output is none")
    count = math.prod(shape)
    if kind not in KINDS or count > MOST_VALUES:
        raise WireError("an output has a datatype that no film model gives, or is too large")
    parameters = one.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        values, end = _listed(one.get("data"), count), start
    else:
        end = start + count * np.dtype(KINDS[kind]).itemsize
        if size != end - start or end > len(body):
            raise WireError("the bytes of an output do not fit its shape")
        values = np.frombuffer(body[start:end], dtype=KINDS[kind]).astype(np.float32)
    return name, values.reshape(shape), end


def _listed(data: object, count: int) -> NDArray[np.float32]:
    """Numbers of a JSON list, flat or nested as the protocol allows."""
    try:
        values = np.asarray(data, dtype=np.float32).reshape(-1)
    except (ValueError, TypeError):
        raise WireError("the data of an output are no numbers") from None
    if values.size != count:
        raise WireError("the data of an output do not fit its shape")
    return values
