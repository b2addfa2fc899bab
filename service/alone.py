"""One analysis in a process of its own, for a study whose analysis already killed workers.

What kills a process (memory that is gone, a codec that crashes) then kills this one, and the worker with
all the other studies lives on. It goes where the worker goes, so that a study that eats memory never runs
twice at a time.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from hoichan.adapters import logs
from hoichan.errors import HoichanError, RecordsUnavailable

if TYPE_CHECKING:
    from hoichan.settings import Settings
    from hoichan.types import StudyInstanceUID

log = structlog.get_logger()

LONGEST_SECONDS = 1800.0  # one that hangs is ended like one that was killed
DONE, AGAIN, FAILED = 0, 75, 70  # exit codes; the last two as in sysexits.h


def analyse_alone(settings: Settings, uid: StudyInstanceUID, revision: int) -> bool:
    """Analyse in a child and wait for it; False when it was killed, or hung.

    Otherwise the revision has its answer: a report, or the failure that the child recorded.
    Raises RecordsUnavailable when it is to be tried again.
    """
    child = multiprocessing.get_context("spawn").Process(
        target=_main, args=(settings, uid, revision), name="analysis", daemon=True
    )
    child.start()
    child.join(LONGEST_SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
    code = child.exitcode
    child.close()
    if code == AGAIN:
        raise RecordsUnavailable("The analysis alone found no record.")
    return code in (DONE, FAILED)


def follow_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), name="parent", daemon=True).start()


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(AGAIN)  # nobody is left to clean up for; what it had begun is begun again


def _main(settings: Settings, uid: StudyInstanceUID, revision: int) -> None:
    follow_parent()
    from service import wiring  # noqa: PLC0415  not for a parent that only waits

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    logs.configure("work")
    house = wiring.open_house(settings)
    try:
        _, report = wiring.analyst(house).analyse(uid, revision)
        log.info("study_reported", study=uid, revision=revision, report=report.report_uid, alone=True)
    except Exception as error:  # noqa: BLE001  the outermost: a third party's message may quote the data set
        if isinstance(error, HoichanError) and error.retryable:
            sys.exit(AGAIN)
        code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
        log.error("study_failed", study=uid, revision=revision, code=code, alone=True)
        house.studies.fail(uid, revision, code=code)
        sys.exit(FAILED)
