"""Tensors on the wire: both forms of KServe v2, and answers that are none."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hoichan.adapters.kserve_wire import HEAD_LENGTH, WireError, decode_answer, encode_request

FLOATS = st.floats(-1e6, 1e6, width=32)


def answer_of(body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """What a server that echoes its input would say."""
    length = headers.get(HEAD_LENGTH)
    head = json.loads(body if length is None else body[: int(length)])
    written = json.dumps({"outputs": head["inputs"]}).encode()
    if length is None:
        return written, {}
    return written + body[int(length) :], {HEAD_LENGTH: str(len(written))}


@pytest.mark.parametrize("binary", [True, False])
@given(tensor=arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=5), elements=FLOATS))
def test_what_is_sent_comes_back(binary, tensor):
    body, headers = encode_request("film", tensor, binary=binary)
    found = decode_answer(*answer_of(body, headers))
    np.testing.assert_array_equal(found["film"], tensor)


def test_the_binary_form_says_how_long_head_and_tensor_are():
    body, headers = encode_request("film", np.ones((1, 1, 2, 2), np.float32), binary=True)
    head = json.loads(body[: int(headers[HEAD_LENGTH])])
    assert head["inputs"] == [
        {"name": "film", "shape": [1, 1, 2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    ]
    assert head["parameters"] == {"binary_data_output": True}
    assert body[int(headers[HEAD_LENGTH]) :] == np.ones(4, "<f4").tobytes()


def test_several_binary_outputs_follow_each_other_and_a_listed_one_may_stand_between():
    a, b = np.arange(3, dtype="<f4"), np.arange(4, dtype="<f2")
    outputs = [
        {"name": "a", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}},
        {"name": "x", "datatype": "FP32", "shape": [2], "data": [[1.5], [2.5]]},
        {"name": "b", "datatype": "FP16", "shape": [2, 2], "parameters": {"binary_data_size": 8}},
    ]
    head = json.dumps({"outputs": outputs}).encode()
    found = decode_answer(head + a.tobytes() + b.tobytes(), {HEAD_LENGTH: str(len(head))})
    np.testing.assert_array_equal(found["a"], [[0, 1, 2]])
    np.testing.assert_array_equal(found["x"], [1.5, 2.5])
    np.testing.assert_array_equal(found["b"], [[0, 1], [2, 3]])


def output(**changes: object) -> bytes:
    row = {"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 2]}
    return json.dumps({"outputs": [{**row, **changes}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"\xff\xfe", b'{"outputs": 3}', b'{"outputs": [3]}',
        output(name=None), output(shape="2"), output(shape=[-2]), output(shape=[True, 2]), output(shape=[3]),
        output(datatype="INT64"), output(datatype="BYTES"), output(data=["a", "b"]), output(data=None),
        output(data=[[1, 2], [3]]), output(shape=[1 << 40]),
        output(parameters={"binary_data_size": 8}), output(parameters={"binary_data_size": 4}),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_told_and_not_guessed(body):
    with pytest.raises(WireError):
        decode_answer(body, {})


@pytest.mark.parametrize("length", ["", "-1", "abc", "99999"])
def test_a_head_without_a_length_is_no_head(length):
    with pytest.raises(WireError):
        decode_answer(output(), {HEAD_LENGTH: length or " "})


@given(st.binary(max_size=200), st.none() | st.integers(0, 200))
def test_any_bytes_are_an_answer_or_a_wire_error(body, length):
    with contextlib.suppress(WireError):
        decode_answer(body, {} if length is None else {HEAD_LENGTH: str(length)})
