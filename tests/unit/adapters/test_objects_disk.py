"""Documents by digest."""

from __future__ import annotations

import hashlib

import pytest

from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.errors import RecordsUnavailable


def test_the_same_bytes_are_kept_once(tmp_path):
    objects = ObjectsDisk(tmp_path)
    digest = objects.put(b"picture")
    assert digest == objects.put(b"picture") == hashlib.sha256(b"picture").hexdigest()
    assert objects.get(digest) == b"picture"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [objects.path(digest)]


def test_damaged_bytes_are_never_handed_out(tmp_path):
    objects = ObjectsDisk(tmp_path)
    digest = objects.put(b"picture")
    objects.path(digest).write_bytes(b"picturf")
    with pytest.raises(RecordsUnavailable, match="damaged"):
        objects.get(digest)


def test_a_store_that_cannot_be_written_is_worth_a_retry(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordsUnavailable):
        ObjectsDisk(tmp_path / "file").put(b"picture")
    with pytest.raises(RecordsUnavailable):
        ObjectsDisk(tmp_path).get(hashlib.sha256(b"").hexdigest())
