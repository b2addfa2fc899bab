"""Opens the object stores that the settings name: a folder, or a bucket."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.originals import Originals
from hoichan.adapters.spool_shared import SharedSpool
from hoichan.errors import ConfigurationError
from hoichan.ports import Objects
from hoichan.settings import Settings
from hoichan.settings.storage import Storage

INSTANCES = "instances"  # below the documents: what was received, apart from what we made


def open_objects(storage: Storage, below: str = "") -> Objects:
    """The object store, or the part of it below a name. Raises ConfigurationError; nothing is asked yet."""
    if storage.objects_dir is not None:
        return ObjectsDisk(storage.objects_dir / below if below else storage.objects_dir)
    try:
        from hoichan.adapters.objects_s3 import open_bucket  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "storage.objects names a bucket: install the extra for it, pip install 'hoichan[s3]'."
        ) from error
    bucket, prefix = storage.bucket
    return open_bucket(bucket, "/".join(filter(None, (prefix, below))), storage.s3)


def open_spool(settings: Settings, engine: sa.Engine) -> SharedSpool:
    """This machine's spool, and behind it what other machines received, where they share it."""
    storage = settings.storage
    originals = Originals(
        storage.spool_dir,
        engine=engine,
        objects=open_objects(storage, INSTANCES) if storage.shares_instances else None,
        cache_dir=storage.cache_dir,
        cache_bytes=storage.cache_bytes,
    )
    return SharedSpool(
        storage.spool_dir,
        originals,
        reserve_bytes=storage.reserve_bytes,
        open_mark_seconds=settings.assembly.cap_seconds,
    )
