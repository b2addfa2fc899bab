"""Work in a process of its own, for a study that already killed workers: its analysis, its recording, one
delivery of it, or one image of it that a rule sends on.

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
import time
from collections.abc import Callable
from contextlib import suppress
from ctypes import Array, c_char
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from hoichan.adapters import logs
from hoichan.errors import DeliveryError, HoichanError, RecordsUnavailable
from hoichan.meters import DELIVERY_ATTEMPTS, Tally

if TYPE_CHECKING:
    from hoichan.reporting.forwarding import Errand
    from hoichan.settings import Settings
    from hoichan.types import Delivery, StudyInstanceUID

log = structlog.get_logger()

POISON_STARTS = 2  # what was begun so often and never ended may have killed its workers
LONGEST_SECONDS = 1800.0  # one that hangs is ended like one that was killed
STALLED_SECONDS = 300.0  # on one object while a study is recorded, or on what comes after the last
REAPED_SECONDS = 0.01  # between two looks for a code that another thread is about to note
DONE, AGAIN, FAILED = 0, 75, 70  # exit codes; the last two as in sysexits.h
NOT_STARTED = 1  # of Python itself, where it did not get as far as our work


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
    code = _end_of(child)
    if code == AGAIN:
        raise RecordsUnavailable("The analysis alone found no record.")
    return code in (DONE, FAILED)


def record_alone(settings: Settings, uid: StudyInstanceUID) -> str | None:
    """Record what came of a study in a child and wait for it; None: it ended.

    Otherwise the SOP Instance UID that it was at when it was killed or hung, or "" where it was at none.
    Raises RecordsUnavailable when it is to be tried again.
    """
    context = multiprocessing.get_context("spawn")
    at = context.RawArray(c_char, 65)
    child = context.Process(target=_record, args=(settings, uid, at), name="recording", daemon=True)
    child.start()
    was, since = b"", time.monotonic()
    while child.exitcode is None:
        child.join(1.0)
        if at.value != was:
            was, since = at.value, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            child.kill()
            child.join()
    code = child.exitcode
    child.close()
    if code in (DONE, FAILED):
        return None
    if code >= 0 or code == -signal.SIGTERM:  # it is asked to end with all others: nobody is to blame
        raise RecordsUnavailable("The recording alone found no record.")
    return at.value.decode("ascii")


def deliver_alone(settings: Settings, delivery: Delivery, tally: Tally) -> bool:
    """Hand one delivery over in a child and wait for it; False when it was killed.

    Otherwise its row says what came of it. There is no limit but those of each receiver's answers: a report
    takes its time on a thin line. What the child counted goes into `tally`; a death counts as a failed try.
    Raises RecordsUnavailable when it is to be tried again, DeliveryError for an error that nobody foresaw.
    """
    hears, tells = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(
        target=_deliver, args=(settings, delivery.idempotency_key, tells), name="delivery", daemon=True
    )
    child.start()
    tells.close()
    with hears:
        code = _end_of(child)
        with suppress(EOFError, OSError):  # it was killed before it could say anything
            tally.give_back(hears.recv())
    lives = _was_tried(code)
    if not lives:
        tally.add(DELIVERY_ATTEMPTS, delivery.destination, "failed")
    return lives


def forward_alone(settings: Settings, errand: Errand) -> bool:
    """Send one image on in a child and wait for it, as `deliver_alone`; False when it was killed."""
    child = multiprocessing.get_context("spawn").Process(
        target=_forward, args=(settings, errand), name="forwarding", daemon=True
    )
    child.start()
    return _was_tried(_end_of(child))


def _end_of(child: multiprocessing.process.BaseProcess) -> int:
    """Its exit code, once it has ended.

    Another thread that starts a child reaps those that have ended: then `join` is over a moment before the
    code is known here.
    """
    child.join()
    while (code := child.exitcode) is None:
        child.join(REAPED_SECONDS)
    child.close()
    return code


def _was_tried(code: int) -> bool:
    """Whether a child that hands something over lived to say what came of it."""
    if code in (AGAIN, NOT_STARTED, -signal.SIGTERM):  # the last: it is asked to end with all others
        raise RecordsUnavailable("What was to be handed over alone was not tried.")
    if code == FAILED:
        raise DeliveryError("What was handed over alone failed.")
    return code == DONE


def _deliver(settings: Settings, idempotency_key: str, tells: Connection) -> None:
    _is_a_child()

    def deliver() -> None:
        from service import hands, metering, outbox, wiring  # noqa: PLC0415  not for a parent that only waits

        house = wiring.open_house(settings, as_they_are=True)
        tally = Tally()
        sinks = {name: metering.MeteredSink(one, name, tally) for name, one in hands.sinks_of(house).items()}
        post = outbox.Outbox(
            house.studies,
            sinks,
            house.clock,
            house.settings.work,
            house.work,
            awaited=lambda _name: True,  # the worker has it; what cannot be put together here waits
        )
        try:
            post.deliver(idempotency_key, is_alone=True)
        finally:
            tells.send(tally.take())

    _try(deliver, "delivery_failed", delivery=idempotency_key)


def _forward(settings: Settings, errand: Errand) -> None:
    _is_a_child()

    def forward() -> None:
        from service import hands, wiring  # noqa: PLC0415  not for a parent that only waits

        house = wiring.open_house(settings, as_they_are=True)
        wiring.forwarding(house, hands.couriers_of(house), lambda _rule: True).send_alone(errand)

    study, instance = errand.study_instance_uid, errand.sop_instance_uid
    _try(forward, "forward_failed", study=study, instance=instance, destination=errand.destination)


def _try(hand_over: Callable[[], None], event: str, **what: str) -> None:
    """Hand something over, and end with the code that says how that went."""
    try:
        hand_over()
    except Exception as error:  # noqa: BLE001  the outermost: a third party's message may quote the document
        if isinstance(error, HoichanError) and error.retryable:
            sys.exit(AGAIN)
        code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
        log.error(event, code=code, alone=True, **what)
        sys.exit(FAILED)


def _record(settings: Settings, uid: StudyInstanceUID, at: Array[c_char]) -> None:
    _is_a_child()
    from service import aside, wiring  # noqa: PLC0415  not for a parent that only waits

    house = wiring.open_house(settings, as_they_are=True)

    def reading(instance: str) -> None:
        at.value = instance.encode("ascii")

    try:
        aside.record(house, uid, reading)
    except Exception as error:  # noqa: BLE001  the outermost: a third party's message may quote the data set
        if isinstance(error, HoichanError) and error.retryable:
            sys.exit(AGAIN)
        code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
        log.error("study_not_looked_at", study=uid, code=code, alone=True)
        sys.exit(FAILED)


def _is_a_child() -> None:
    """Ends with its parent, writes its log, and is the first to go where memory is short."""
    follow_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    logs.configure("work")
    with suppress(OSError):  # another system
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def follow_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), name="parent", daemon=True).start()


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(AGAIN)  # nobody is left to clean up for; what it had begun is begun again


def _main(settings: Settings, uid: StudyInstanceUID, revision: int) -> None:
    _is_a_child()
    from service import wiring  # noqa: PLC0415  not for a parent that only waits

    house = wiring.open_house(settings, as_they_are=True)
    try:
        _, report = wiring.analyst(house).analyse(uid, revision)
        if report is None:
            log.warning("former_answer_stands", study=uid, revision=revision, alone=True)
        else:
            log.info("study_reported", study=uid, revision=revision, report=report.report_uid, alone=True)
    except Exception as error:  # noqa: BLE001  the outermost: a third party's message may quote the data set
        if isinstance(error, HoichanError) and error.retryable:
            sys.exit(AGAIN)
        code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
        log.error("study_failed", study=uid, revision=revision, code=code, alone=True)
        house.studies.fail(uid, revision, code=code)
        sys.exit(FAILED)
