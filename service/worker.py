"""The worker process: takes arrivals up, runs the pipeline, delivers; survives kill -9.

One loop looks at the spool and at what is due; the engine's threads do the work. The loop is the
outermost one: an error of one round is logged by its code and the next round tries again.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import structlog

from hoichan.adapters.engine_dbos import EngineDbos
from hoichan.errors import HoichanError
from hoichan.settings import Settings
from hoichan.types import StudyInstanceUID
from service import wiring
from service.arrivals import Arrivals
from service.outbox import Outbox
from service.pipeline import analyse
from service.processes import announce, only_one

log = structlog.get_logger()

RESUME_SECONDS = 30.0  # how often revisions without an answer are compared with the engine's list
LONGEST_PAUSE_SECONDS = 5.0  # between rounds while rounds fail


class Worker:
    """Everything one worker process holds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._house = wiring.open_house(settings)
        self._studies = self._house.studies
        shelf = wiring.shelf(settings)
        for _, error in shelf.invalid:  # a site that believes in a model must hear that it is not running
            raise error
        self._manifests = shelf.manifests
        self._runner = wiring.runner(self._house)
        self._encoder = wiring.encoder(self._house)
        self._outbox = Outbox(self._studies, wiring.sinks(settings), self._house.clock, settings.work)
        self._engine = EngineDbos(
            settings.storage.engine_url,
            executor_id=socket.gethostname(),
            analyse=self._analyse,
            deliver=self._outbox.deliver,
            concurrency=settings.work.concurrency,
            poll_seconds=settings.work.poll_seconds,
        )
        self._arrivals = Arrivals(self._house.spool, self._studies, self._engine, self._house.clock, settings)

    def run(self, stop: threading.Event, ready_file: Path | None = None) -> None:
        """Work until `stop` is set."""
        try:
            self._arrivals.recover()
            log.info("worker_ready", models=[m.name for m in self._manifests])
            announce(ready_file, {"models": len(self._manifests)})
            self._loop(stop)
        finally:
            self._engine.close()

    def _loop(self, stop: threading.Event) -> None:
        pause = self._settings.work.poll_seconds
        resume_at = self._house.clock.now().timestamp() + RESUME_SECONDS
        while not stop.wait(pause):
            try:
                self._arrivals.step()
                now = self._house.clock.now()
                for delivery in self._studies.due(now):
                    self._engine.enqueue_delivery(delivery)
                if now.timestamp() >= resume_at:
                    self._arrivals.resume()
                    resume_at = now.timestamp() + RESUME_SECONDS
                pause = self._settings.work.poll_seconds
            except Exception as error:  # noqa: BLE001  the outermost loop: the next round tries again
                log.error("round_failed", code=_code(error))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _analyse(self, uid: StudyInstanceUID, revision: int) -> None:
        """One step of the engine. Errors that can pass are raised for the engine to try again."""
        bound = log.bind(study=uid, revision=revision)
        try:
            report = analyse(
                self._studies.load(uid, revision),
                manifests=self._manifests,
                runner=self._runner,
                encoder=self._encoder,
                studies=self._studies,
                destinations=self._settings.effective_destinations,
                clock=self._house.clock,
            )
        except Exception as error:  # a third party's message may quote the data set: only its kind is kept
            if isinstance(error, HoichanError) and error.retryable:
                raise
            bound.error("study_failed", code=_code(error))
            self._studies.fail(uid, revision, code=_code(error))
            return
        bound.info("study_reported", report=report.report_uid, outcome=report.outcome)


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"


def main(settings: Settings, *, stop: threading.Event, ready_file: Path | None = None) -> None:
    """Run one worker until `stop` is set. Raises ConfigurationError when it cannot start."""
    with only_one(settings.storage.data_dir):
        Worker(settings).run(stop, ready_file)
