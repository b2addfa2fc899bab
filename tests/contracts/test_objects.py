"""What every object store promises: the fake, the disk, and the bucket through obstore's store in memory.

A real S3 server runs the same class in tests/peers/test_objects_s3.py.
"""

from __future__ import annotations

import hashlib

import pytest
from obstore.store import MemoryStore

from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.objects_s3 import ObjectsS3
from hoichan.errors import ObjectUnknown, RecordsUnavailable
from hoichan.testing.objects import FakeObjects
from hoichan.types import Sha256


@pytest.fixture(params=["fake", "disk", "bucket"])
def objects(request, tmp_path):
    if request.param == "fake":
        return FakeObjects()
    if request.param == "disk":
        return ObjectsDisk(tmp_path / "objects")
    return ObjectsS3(MemoryStore())


def digest_of(content):
    return Sha256(hashlib.sha256(content).hexdigest())


def test_bytes_come_back_under_their_digest(objects):
    for content in (b"", b"picture", bytes(range(256)) * 5000):
        digest = objects.put(content)
        assert digest == digest_of(content)
        assert objects.get(digest) == content
        assert objects.has(digest)


def test_the_same_bytes_are_kept_once(objects):
    assert objects.put(b"picture") == objects.put(b"picture")
    assert list(objects.every()) == [digest_of(b"picture")]


def test_what_is_not_there_is_told_and_not_worth_a_retry(objects):
    unknown = digest_of(b"never put")
    assert not objects.has(unknown)
    with pytest.raises(ObjectUnknown) as caught:
        objects.get(unknown)
    assert not caught.value.retryable and isinstance(caught.value, RecordsUnavailable)


def test_what_is_removed_is_gone_and_may_be_removed_again(objects):
    first, second = objects.put(b"first"), objects.put(b"second")
    objects.remove(first)
    objects.remove(first)
    assert not objects.has(first)
    assert list(objects.every()) == [second]
    assert objects.put(b"first") == first and objects.get(first) == b"first"


def test_every_object_is_listed(objects):
    assert list(objects.every()) == []
    assert {objects.put(str(number).encode()) for number in range(300)} == set(objects.every())
