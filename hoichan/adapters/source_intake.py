"""Files that a source gave over HTTP, into the spool by the way of all files."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from hoichan.errors import IntakeError, SpoolFull
from hoichan.intake.files import take_in
from hoichan.ports import Fetched, Spool
from hoichan.types import StudyInstanceUID


class SourceIntake:
    """What one fetch brings; the study stays open until its end."""

    def __init__(self, spool: Spool, study: StudyInstanceUID, *, sender: str) -> None:
        self._spool = spool
        self._study = study
        self._sender = sender
        self._batch = uuid.uuid4().hex[:12]
        self._stored = self._failed = 0
        self._code = ""

    def take(self, file: bytes) -> None:
        """One Part 10 file; one that is no object of this study is counted as failed. Raises SpoolFull."""
        try:
            stored = take_in(self._spool, file, calling_ae_title=self._sender, study_instance_uid=self._study)
        except SpoolFull:
            raise
        except IntakeError as error:
            self.fail(error.code)
            return
        self._stored += 1
        if not stored.duplicate and stored.quarantined is None:
            self._spool.opened(stored.study_instance_uid, self._batch)

    def fail(self, code: str) -> None:
        """One instance did not come."""
        self._failed += 1
        self._code = code

    @property
    def outcome(self) -> Fetched:
        """The counts so far."""
        return Fetched(stored=self._stored, failed=self._failed, code=self._code)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Around the whole fetch."""
        try:
            yield
        finally:
            self._spool.released(self._batch)
