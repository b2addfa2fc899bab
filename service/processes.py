"""What the processes of the service share: how they say that they are ready, and how they are told to end."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EACCES
from pathlib import Path

from hoichan.errors import ConfigurationError, StorageUnusable


def make_data_dir(folder: Path) -> None:
    """Make the data folder before anything starts that needs it. Raises StorageUnusable, once for all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
    except OSError as error:
        raise StorageUnusable(
            f"The data folder {folder} cannot be written ({error.strerror}): "
            "check the disk and its permissions."
        ) from error


def role_options(argv: Sequence[str] | None, *, role: str, what: str, ready: str) -> argparse.Namespace:
    """The options of a role that is a process of its own. `ready`: what the ready file says."""
    parser = argparse.ArgumentParser(prog=f"hoichan {role}", description=what)
    parser.add_argument("--config", type=Path, help="configuration file (TOML)")
    parser.add_argument("--data-dir", type=Path, help="where everything is kept")
    parser.add_argument("--stdin-lifeline", action="store_true", help="end when standard input closes")
    parser.add_argument("--ready-file", type=Path, help=ready)
    return parser.parse_args(argv)


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


@contextmanager
def only_one(data_dir: Path, *, wait_seconds: float = 30.0) -> Iterator[None]:
    """Hold the data folder's worker lock: two workers on one SQLite engine would take each other's work.

    Waits, because a worker whose supervisor was killed needs a moment to end. The system frees the lock
    of a process that dies. Raises ConfigurationError when another worker keeps it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "worker.lock").open("w")
    except OSError as error:
        raise StorageUnusable(f"The data folder {data_dir} cannot be written ({error.strerror}).") from error
    with lock:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"Another worker already runs on {data_dir}: stop it, or use another folder."
                    ) from None
                time.sleep(0.1)
        yield
