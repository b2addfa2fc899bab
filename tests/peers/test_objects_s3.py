"""The promises of the object store on a real S3 server, and the server away for a while."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from hoichan.adapters.objects_s3 import open_bucket
from hoichan.errors import RecordsUnavailable
from hoichan.testing.house import wait_until
from tests.contracts import test_objects as contract
from tests.peers import seaweedfs

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not seaweedfs.is_available(), reason="SeaweedFS (weed) is not installed"),
]


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="hoichan-weed-") as folder:
        started = seaweedfs.SeaweedFS(Path(folder))
        yield started
        started.stop()


@pytest.fixture
def objects(server):
    return open_bucket(seaweedfs.BUCKET, uuid.uuid4().hex, server.settings)


test_bytes_come_back_under_their_digest = contract.test_bytes_come_back_under_their_digest
test_the_same_bytes_are_kept_once = contract.test_the_same_bytes_are_kept_once
test_what_is_not_there_is_told = contract.test_what_is_not_there_is_told_and_not_worth_a_retry
test_what_is_removed_is_gone_and_may_be_removed_again = (
    contract.test_what_is_removed_is_gone_and_may_be_removed_again
)
test_every_object_is_listed = contract.test_every_object_is_listed


def test_a_large_object_comes_back_whole(objects):
    content = bytes(range(256)) * 4 * 40_000  # 41 MB
    assert objects.get(objects.put(content)) == content


def test_a_wrong_secret_is_told_without_it(server):
    settings = server.settings.model_copy(update={"access_key_id": "NOBODY"})
    with pytest.raises(RecordsUnavailable) as caught:
        open_bucket(seaweedfs.BUCKET, "x", settings).put(b"picture")
    assert seaweedfs.SECRET not in str(caught.value) and "127.0.0.1" not in str(caught.value)


def test_a_store_that_was_away_has_what_it_acknowledged(server, objects):
    digest = objects.put(b"before")
    server.stop()
    try:
        with pytest.raises(RecordsUnavailable):
            objects.put(b"meanwhile")
        with pytest.raises(RecordsUnavailable):
            objects.get(digest)
    finally:
        server.start()
    for content in (
        b"before",
        b"meanwhile",
    ):  # its volumes come up after its door: tried again, as workers do
        wait_until(partial(is_kept, objects, content), seconds=60, what="the store takes and gives again")


def is_kept(objects, content):
    with suppress(RecordsUnavailable):
        return objects.get(objects.put(content)) == content
