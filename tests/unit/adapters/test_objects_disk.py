"""Documents by digest."""

from __future__ import annotations

import hashlib
import resource

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


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(RecordsUnavailable):
            ObjectsDisk(tmp_path).put(b"x" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
