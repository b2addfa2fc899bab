"""What the processes of the service share: how they say that they are ready, and how they are told to end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path


def announce(ready_file: Path | None, facts: Mapping[str, object]) -> None:
    """Tell whoever started this process that it is ready: the file appears whole or not at all."""
    if ready_file is None:
        return
    part = ready_file.with_name(ready_file.name + ".part")
    part.write_text(json.dumps({"pid": os.getpid(), **facts}), encoding="utf-8")
    part.replace(ready_file)


def stop_event(*, stdin_lifeline: bool = False) -> threading.Event:
    """An event that SIGTERM, SIGINT and, with the lifeline, the end of standard input set.

    The supervisor holds the other end of standard input: when it dies, however it dies, its children
    see the end of the stream and go too.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if stdin_lifeline:
        threading.Thread(target=_watch, args=(stop,), name="lifeline", daemon=True).start()
    return stop


def _watch(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()
