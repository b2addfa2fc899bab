"""Which files the record knows, asked for many studies at once."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import PurePosixPath

import sqlalchemy as sa

from hoichan.adapters.schema import instances
from hoichan.adapters.transactions import transaction
from hoichan.types import StudyInstanceUID

_AT_ONCE = 500  # studies in one question


class RecordedSql:
    """Raises RecordsUnavailable while the database is away."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def paths(self, studies: Collection[StudyInstanceUID]) -> frozenset[PurePosixPath]:
        """The paths, inside the spool, of all instances of these studies."""
        left = iter(studies)
        found: set[PurePosixPath] = set()
        while some := list(islice(left, _AT_ONCE)):
            asked = sa.select(instances.c.path).where(instances.c.study_instance_uid.in_(some))
            with transaction(self._engine) as connection:
                found.update(PurePosixPath(path) for (path,) in connection.execute(asked))
        return frozenset(found)
