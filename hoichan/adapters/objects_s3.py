"""Objects by digest in a bucket of an S3 store, through obstore. See `hoichan.ports.Objects`.

A PUT of S3 is whole or not at all, and answered when it is kept. Nothing is ever written over another's
bytes: the key is the digest, and what is read is held against it. Errors carry the kind of the fault only;
the library's own texts hold addresses and signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from hoichan.adapters.objects_disk import checked, is_digest
from hoichan.errors import ConfigurationError, ObjectUnknown, RecordsUnavailable
from hoichan.settings.storage import S3
from hoichan.types import Sha256

if TYPE_CHECKING:
    from obstore.store import ObjectStore, S3Config

_TRIES = 2  # after the first, quickly: longer outages are for the caller, which remembers its work
_TRY_FOR = timedelta(seconds=20)


class ObjectsS3:
    """The `Objects` port on a store of obstore: `<first two digits>/<digest>` below its prefix."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, content: bytes) -> Sha256:
        """Keep the bytes; on return the store has them. Raises RecordsUnavailable."""
        digest = Sha256(hashlib.sha256(content).hexdigest())
        if not self.has(digest):
            with _away_on_error():
                obstore.put(self._store, _key(digest), content)
        return digest

    def get(self, digest: Sha256) -> bytes:
        """The bytes. Raises ObjectUnknown, or RecordsUnavailable: it is away, or they are damaged."""
        with _away_on_error():
            try:
                content = bytes(obstore.get(self._store, _key(digest)).bytes())
            except FileNotFoundError as error:
                raise ObjectUnknown(f"Object {digest} is not in the object store.") from error
        return checked(digest, content)

    def has(self, digest: Sha256) -> bool:
        """Whether the bytes are there."""
        with _away_on_error():
            try:
                obstore.head(self._store, _key(digest))
            except FileNotFoundError:
                return False
        return True

    def remove(self, digest: Sha256) -> None:
        """Take the bytes away, if they are there. Raises RecordsUnavailable."""
        with _away_on_error():
            try:
                obstore.delete(self._store, _key(digest))
            except FileNotFoundError:
                return

    def every(self) -> Iterator[Sha256]:
        """All digests, in no order. Raises RecordsUnavailable."""
        with _away_on_error():
            for batch in obstore.list(self._store):
                for found in batch:
                    name = found["path"].rpartition("/")[2]
                    if is_digest(name) and found["path"].count("/") == 1:  # others lie in folders beside
                        yield Sha256(name)


def open_bucket(bucket: str, prefix: str, settings: S3) -> ObjectsS3:
    """The objects below a prefix of a bucket. Raises ConfigurationError; the store is not asked yet."""
    config: S3Config = {
        "region": settings.region,
        "virtual_hosted_style_request": settings.virtual_hosted_style,
        "checksum_algorithm": "SHA256",
    }
    if settings.endpoint:
        config["endpoint"] = str(settings.endpoint).rstrip("/")
    if settings.access_key_id:
        config["access_key_id"] = settings.access_key_id
        config["secret_access_key"] = settings.secret_access_key.get_secret_value()
    try:
        store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": str(settings.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=settings.connect_timeout_seconds),
                "timeout": timedelta(seconds=settings.timeout_seconds),
            },
            retry_config={"max_retries": _TRIES, "retry_timeout": _TRY_FOR},
        )
    except BaseError as error:
        raise ConfigurationError(
            f"storage.objects: the bucket cannot be opened ({type(error).__name__})."
        ) from error
    return ObjectsS3(store)


def _key(digest: Sha256) -> str:
    return f"{digest[:2]}/{digest}"


@contextmanager
def _away_on_error() -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        raise RecordsUnavailable(f"The object store did not answer ({type(error).__name__}).") from None
    except OSError as error:
        raise RecordsUnavailable(f"The object store did not answer ({type(error).__name__}).") from None
