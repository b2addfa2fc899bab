"""What an archive's answer means for each object: the table of the module, cell by cell."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.adapters.stow_client import judged


def item(uid, reason=None):
    found = {"00081155": {"vr": "UI", "Value": [uid]}}
    return found if reason is None else {**found, "00081197": {"vr": "US", "Value": [reason]}}


def answer(stored=(), failed=()):
    told = {"00081190": {"vr": "UR"}}
    if stored:
        told["00081199"] = {"vr": "SQ", "Value": [item(uid) for uid in stored]}
    if failed:
        told["00081198"] = {"vr": "SQ", "Value": [item(*one) for one in failed]}
    return json.dumps(told).encode()


STORED, AGAIN, REFUSED = "stored", "again", "refused"


def word(verdict):
    return STORED if verdict.stored else AGAIN if verdict.again else REFUSED


@pytest.mark.parametrize(
    ("status", "content", "said", "detail"),
    [
        (200, answer(stored=["1.2"]), STORED, "HTTP 200"),
        (200, b"", STORED, "HTTP 200"),
        (204, b"", STORED, "HTTP 204"),
        (200, b"<html/>", STORED, "HTTP 200"),
        (200, answer(failed=[("1.2", 0xC000)]), REFUSED, "HTTP 200 0xC000"),
        (202, answer(stored=["1.2"], failed=[("1.3", 0xC000)]), STORED, "HTTP 202"),
        (202, answer(stored=["1.3"], failed=[("1.2", 0xC122)]), REFUSED, "HTTP 202 0xC122"),
        (202, answer(stored=["1.3"], failed=[("1.2", 0xA700)]), AGAIN, "HTTP 202 0xA700"),
        (202, answer(stored=["1.3"]), AGAIN, "HTTP 202"),
        (202, b"", REFUSED, "HTTP 202"),
        (409, answer(failed=[("1.2", 0x0122)]), REFUSED, "HTTP 409 0x0122"),
        (409, answer(failed=[("1.2", 0xA7FF)]), AGAIN, "HTTP 409 0xA7FF"),
        (409, answer(failed=[("1.2", 0x0213)]), AGAIN, "HTTP 409 0x0213"),
        (409, answer(failed=[("1.2", 0x0111)]), STORED, "HTTP 409 0x0111"),
        (409, answer(failed=[("1.2", "x")]), REFUSED, "HTTP 409"),
        (409, b"", REFUSED, "HTTP 409"),
        (302, b"", REFUSED, "HTTP 302"),
        (400, b"", REFUSED, "HTTP 400"),
        (401, b"", REFUSED, "HTTP 401"),
        (403, b"", REFUSED, "HTTP 403"),
        (413, b"", REFUSED, "HTTP 413"),
        (415, b"", REFUSED, "HTTP 415"),
        (408, b"", AGAIN, "HTTP 408"),
        (425, b"", AGAIN, "HTTP 425"),
        (429, b"", AGAIN, "HTTP 429"),
        (500, b"", AGAIN, "HTTP 500"),
        (503, answer(failed=[("1.2", 0xC000)]), AGAIN, "HTTP 503"),
    ],
)
def test_each_answer(status, content, said, detail):
    verdict = judged(status, content, ["1.2"])["1.2"]
    assert (word(verdict), verdict.detail) == (said, detail)


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_is_a_fault_of_ours(status, content):
    assert set(judged(status, content, ["1.2"])) == {"1.2"}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["00081198", "00081199", "00081155", "Value"]), inner, max_size=3
            )
        ),
        max_leaves=12,
    )
)
def test_no_document_is_a_fault_of_ours(document):
    for status in (200, 202, 409):
        judged(status, json.dumps(document).encode(), ["1.2"])
