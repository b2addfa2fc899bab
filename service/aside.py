"""What was set aside: of studies that kill who looks at them, and in the quarantine of each machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from hoichan.adapters.quarantine_sql import Lying, QuarantineSql, lying_in
from hoichan.adapters.set_aside_sql import SetAsideSql
from hoichan.adapters.spool_identity import identity_of
from hoichan.intake.priors import prior_note
from hoichan.types import StudyInstanceUID
from service import wiring
from service.recording import Recorder

QUARANTINE_SECONDS = 15.0  # how soon other machines hear of it; nothing so young is removed
TOLD_AGAIN = timedelta(minutes=5)  # by a machine that somebody took for lost


def set_aside(house: wiring.House) -> SetAsideSql:
    """Objects whose recording killed processes."""
    spool_dir = house.settings.storage.spool_dir
    return SetAsideSql(house.engine, house.clock, lambda: identity_of(spool_dir))


class Quarantine:
    """Tells the record what lies in this machine's quarantine, so that no machine removes its study."""

    def __init__(self, house: wiring.House) -> None:
        self._spool_dir = house.settings.storage.spool_dir
        self._sql = QuarantineSql(house.engine, house.clock)
        self._clock = house.clock
        self._told: Lying | None = None
        self._told_at: datetime | None = None

    def step(self) -> int:
        """How many rows changed. Raises RecordsUnavailable (try again)."""
        lying = lying_in(self._spool_dir, self._told)
        now = self._clock.now()
        is_young = self._told_at is not None and abs(now - self._told_at) < TOLD_AGAIN
        if self._told is not None and is_young and lying.keys() == self._told.keys():
            return 0
        changed = self._sql.tell(identity_of(self._spool_dir), lying)
        self._told, self._told_at = lying, now
        return changed


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
