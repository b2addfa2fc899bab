"""Threads of the worker that ask others while it leads: they may wait for an answer, its loop may not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from hoichan.errors import HoichanError

log = structlog.get_logger()

LONGEST_PAUSE_SECONDS = 60.0  # between rounds while rounds fail


def start(
    name: str,
    step: Callable[[], object],
    *,
    leads: Callable[[], bool],
    stop: threading.Event,
    pause_seconds: float,
) -> threading.Thread:
    """Calls `step` again and again until `stop`, while `leads` says so; errors are logged by their code."""

    def run() -> None:
        pause = pause_seconds
        while not stop.wait(pause):
            if not leads():
                continue
            try:
                step()
                pause = pause_seconds
            except Exception as error:  # noqa: BLE001  the outermost loop of this thread
                code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
                log.error("background_failed", task=name, code=code)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
