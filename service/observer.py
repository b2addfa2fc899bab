"""What is done after the live answer: versions in shadow are asked, and films are measured for drift.

Both run in a process of their own, with the lowest priority, one study at a time, while no study waits for
its live answer. Whatever a shadow does there, a crash included, the live study was reported before; what it
said is a row of `shadow_results` and goes nowhere else: it is in no report and no document.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from hoichan.adapters import logs
from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.adapters.shadow_sql import FAILED, Due, ShadowSql
from hoichan.analysis.drift import film_figures
from hoichan.analysis.films import Film
from hoichan.analysis.imaging import DECODING_ERRORS, read_film
from hoichan.analysis.selection import refusals, select
from hoichan.analysis.versions import Version
from hoichan.analysis.volume_selection import choose
from hoichan.errors import HoichanError, InputOutOfDomain, RecordsUnavailable
from hoichan.ports import Clock, Outliner, Runner
from hoichan.types import (
    InferenceResult,
    Instance,
    RefusalCode,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    VolumeManifest,
    VolumeResult,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from hoichan.settings import Settings
    from service.roster import Roster

log = structlog.get_logger()

STEP_SECONDS = 30.0  # between two looks of the worker for something to do: no hurry
HANGS = timedelta(minutes=30)  # with one study: its process is ended
PAUSE_SECONDS = 1.0  # of the process, while others wait
IDLE_SECONDS = 60.0  # with nothing to do: the process ends and gives its memory back
MOST_KILLED = 3  # a version that never ended so often is asked no more
MEASURED_BACK = timedelta(days=7)
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """One round after another of what comes after the live answer."""

    roster: Roster
    governance: GovernanceSql
    rows: ShadowSql
    runner: Runner
    outliner: Outliner
    load: Callable[[StudyInstanceUID, int], Study]  # a revision as it is known now
    film: Callable[[Instance], Film]
    clock: Clock
    watch_inputs: bool = True
    _given_up: set[str] = field(default_factory=set)

    def has_work(self) -> bool:
        """Whether there is something to do and nobody waits."""
        return self.rows.is_idle() and (self._next_shadow() is not None or bool(self._unmeasured()))

    def step(self) -> bool:
        """Do one thing; False where there was nothing to do, or somebody waits. Raises RecordsUnavailable."""
        if not self.rows.is_idle():
            return False
        found = self._next_shadow()
        if found is not None:
            self._ask(*found)
            return True
        for due, sop_instance_uid in self._unmeasured():
            self._measure(due, sop_instance_uid)
            return True
        return False

    # ------------------------------------------------------------------ shadows
    def _next_shadow(self) -> tuple[Version, Due] | None:
        for version in self.roster.standing().shadow:
            if self._is_given_up(version):
                continue
            since = self.governance.enter_shadow(version, at=self.clock.now())
            for due in self.rows.due(version.digest, since, limit=1):
                return version, due
        return None

    def _is_given_up(self, version: Version) -> bool:
        if version.digest in self._given_up:
            return True
        if self.rows.killed(version.digest) < MOST_KILLED:
            return False
        log.error("shadow_given_up", model=version.name, version=version.version)
        self._given_up.add(version.digest)
        return True

    def _ask(self, version: Version, due: Due) -> None:
        self.rows.begin(due, version, at=self.clock.now())
        answers: list[InferenceResult | VolumeResult] = []
        outcome = FAILED
        try:
            study = self.load(due.study_instance_uid, due.revision)
            if isinstance(version.manifest, VolumeManifest):
                outcome = self._measure_volumes(version.manifest, study, answers)
            else:
                selections = select([version.manifest], study)
                refused = refusals(selections, study)
                outcome = str(refused[0].code) if refused else FAILED
                for one in selections:
                    if one.accepted:
                        answers.append(self.runner.run(version.manifest, study, one.instance))
        except InputOutOfDomain as error:
            outcome = str(error.reason)
        except RecordsUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  whatever a shadow does is its own affair
            outcome = FAILED
            code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
            log.warning("shadow_failed", model=version.name, study=due.study_instance_uid, code=code)
        self.rows.end(due, version, answers=answers, outcome=outcome, at=self.clock.now())

    def _measure_volumes(
        self, manifest: VolumeManifest, study: Study, answers: list[InferenceResult | VolumeResult]
    ) -> str:
        """Ask a network in shadow for every series that fits; why not, where none does."""
        selections = choose([manifest], study, self.outliner.headers)
        for one in selections:
            if one.accepted:
                answers.append(self.outliner.run(manifest, study, one.series))
        noes = [no for one in selections for no in one.refusals]
        return str(noes[0].code) if noes else str(RefusalCode.NO_IMAGE)

    # ------------------------------------------------------------------ films
    def _unmeasured(self) -> list[tuple[Due, SOPInstanceUID]]:
        if not self.watch_inputs:
            return []
        return self.rows.unmeasured(self.clock.now() - MEASURED_BACK, limit=1)

    def _measure(self, due: Due, sop_instance_uid: SOPInstanceUID) -> None:
        self.rows.begin_figures(due, sop_instance_uid)
        try:
            study = self.load(due.study_instance_uid, due.revision)
            (instance,) = (one for one in study.instances if one.sop_instance_uid == sop_instance_uid)
            figures = film_figures(self.film(instance))
        except RecordsUnavailable:
            raise
        except (HoichanError, ValueError, OSError, *DECODING_ERRORS) as error:
            code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
            log.info("film_not_measured", study=due.study_instance_uid, code=code)
            return
        self.rows.keep_figures(due, sop_instance_uid, figures)


def read_stored(path: Path) -> Film:
    """The first frame of a stored object. Raises InputOutOfDomain (`undecodable_pixels`)."""
    import warnings  # noqa: PLC0415

    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their text may quote the data set
            return read_film(dcmread(path))
    except (InvalidDicomError, *DECODING_ERRORS):
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS) from None


# --------------------------------------------------------------------------------------- a process of its own
class ObserverProcess:
    """Starts the process when there is something to do; it ends by itself when there is nothing."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer  # only asked whether there is work
        self._child: multiprocessing.process.BaseProcess | None = None
        self._lifeline: Connection | None = None
        self._started = observer.clock.now()

    def step(self) -> None:
        """Look whether a process is needed. Raises RecordsUnavailable."""
        if self._child is not None and self._child.is_alive():
            now = self._observer.clock.now()
            if not self._observer.rows.hangs(self._started, now - HANGS):
                return
            log.error("observer_hangs")
        self.close()
        if not self._observer.has_work():
            return
        context = multiprocessing.get_context("spawn")
        far, self._lifeline = context.Pipe(duplex=False)
        self._child = context.Process(target=_main, args=(self._settings, far), name="observer", daemon=True)
        self._started = self._observer.clock.now()
        self._child.start()
        far.close()

    def close(self) -> None:
        """End the process."""
        if self._lifeline is not None:
            self._lifeline.close()  # it hears that it is alone
            self._lifeline = None
        if self._child is not None:
            self._child.join(STOP_SECONDS)
            if self._child.exitcode is None:
                self._child.kill()
                self._child.join(STOP_SECONDS)
            with suppress(ValueError):  # another thread reaped it and has not noted its code yet
                self._child.close()
            self._child = None


def _main(settings: Settings, lifeline: Connection) -> None:
    from service import wiring  # noqa: PLC0415  not for a parent that only waits

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    with suppress(OSError):
        os.nice(19)
    logs.configure("observer")
    observe(wiring.observer(wiring.open_house(settings, as_they_are=True)), lifeline)


def observe(observer: Observer, lifeline: Connection, *, idle_seconds: float = IDLE_SECONDS) -> None:
    """Work until there was nothing to do for a while, or the other end of the lifeline is gone."""
    idle = 0.0
    while idle < idle_seconds:
        try:
            worked = observer.step()
        except HoichanError as error:
            log.error("background_failed", task="observer", code=error.code)
            worked = False
        idle = 0.0 if worked else idle + PAUSE_SECONDS
        if lifeline.poll(0.0 if worked else PAUSE_SECONDS):
            return  # nothing is ever sent: this is its end
