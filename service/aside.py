"""What was set aside: of studies that nobody can record, and in the quarantine of each machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from hoichan.adapters.quarantine_disk import (
    Lying,
    content_of,
    forget_refusals,
    lying_in,
    newest,
    take_out,
)
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.set_aside_sql import SetAsideSql
from hoichan.adapters.spool_identity import identity_of
from hoichan.intake.files import Counted, take_in
from hoichan.intake.priors import prior_note
from hoichan.ports import Stored
from hoichan.types import StudyInstanceUID
from service import wiring
from service.recording import Recorder

log = structlog.get_logger()

QUARANTINE_SECONDS = 15.0  # how soon other machines hear of it; nothing so young is removed
TOLD_AGAIN = timedelta(minutes=5)  # by a machine that somebody took for lost


def set_aside(house: wiring.House) -> SetAsideSql:
    """Objects that nobody could record."""
    spool_dir = house.settings.storage.spool_dir
    return SetAsideSql(house.engine, house.clock, lambda: identity_of(spool_dir))


class Quarantine:
    """Tells the record what lies in this machine's quarantine, so that no machine removes its study.

    Of what was refused the newest only (`quarantine_disk.KEPT_REFUSED`): the files all stay where they are.
    """

    def __init__(self, house: wiring.House) -> None:
        self._spool_dir = house.settings.storage.spool_dir
        self._sql = QuarantineSql(house.engine, house.clock)
        self._clock = house.clock
        self._told: Mapping[str, Lying] | None = None
        self._told_at: datetime | None = None

    def step(self) -> int:
        """As `tell`, and what waits to be told on trails stays within its bound."""
        forgotten = forget_refusals(self._spool_dir)
        if forgotten:
            log.warning("refusals_forgotten", notes=forgotten)
        return self.tell()

    def tell(self) -> int:
        """How many rows of the record changed. Raises RecordsUnavailable (try again)."""
        lying = lying_in(self._spool_dir, self._told)
        now = self._clock.now()
        is_young = self._told_at is not None and abs(now - self._told_at) < TOLD_AGAIN
        if self._told is not None and is_young and lying.keys() == self._told.keys():
            return 0
        changed = self._sql.tell(identity_of(self._spool_dir), newest(lying))
        self._told, self._told_at = lying, now
        return changed


def again(house: wiring.House, name: str, counted: Counted | None = None) -> Stored:
    """Take a file of this machine's quarantine in once more, as files are that somebody hands in.

    It leaves its place there when it is filed, was filed before, or lies there for another reason now. Raises
    IntakeError where it is refused once more, SpoolFull or RecordsUnavailable (try again); then it stays.
    """
    spool_dir, note = house.settings.storage.spool_dir, f"{name}.json"
    sender, content = content_of(spool_dir, note)
    stored = take_in(house.spool, content, calling_ae_title=sender, counted=counted)
    if stored.quarantined is None or stored.path.stem != name:
        take_out(spool_dir, note)
    return stored


def record(house: wiring.House, uid: StudyInstanceUID, reading: Callable[[str], object]) -> None:
    """Read what came of a study, and compare what came again; `reading` is told each instance before.

    Raises what reading may raise. Whatever was recorded before is kept.
    """
    following = wiring.corrections(house)
    if prior_note(house.spool.notes, uid) is None:
        recorder = Recorder(house.spool, house.studies, house.settings, house.spool.originals, following)
        recorder.record(uid, set_aside(house).of(uid), reading)
    study = house.studies.current(uid)
    if study is not None:
        following.may_go_on(study)
