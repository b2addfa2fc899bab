"""The listener as a process: opens the door, says so, and stands until it is told to go."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import structlog

from dicom_listener.crew import Crew
from dicom_listener.helper import serve
from dicom_listener.limits import Turns
from dicom_listener.scp import TURNS, Door
from hoichan import __version__, settings
from hoichan.adapters import logs
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.adapters.spool_recent import mark_recent
from hoichan.adapters.vitals_disk import DiskVitals
from hoichan.errors import ConfigurationError, StorageUnusable
from hoichan.meters import Tally

log = structlog.get_logger()

LATELY_SECONDS = (
    600.0  # a helper's death is known at once; a clock may be set back, a dying disk take its time
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM, SIGINT or the end of the lifeline. Exit code 0, or 2 when it cannot start."""
    options = _options(arguments)
    logs.configure("listener")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        chosen = settings.load(options.config, data_dir=options.data_dir)
        crew = Crew(  # before the first thread
            lambda listener: serve(listener, lambda: _spool(chosen), Turns(TURNS)), chosen.listener.processes
        )
        spool = _spool(chosen)
        left = spool.sweep()
        tally = Tally()
        door = Door(spool, chosen.listener, tally, crew.helpers)
        door.open()
        crew.helpers.wake()
        gc.collect()
        gc.freeze()  # what was made so far stays: no later collection has to look at it
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    opened = ExitStack()
    try:
        facts = {"version": __version__, "ae_title": chosen.listener.ae_title, "ports": door.ports}
        opened.enter_context(DiskVitals(chosen.storage.spool_dir, "listener", tally, facts))
        if options.ready_file is not None:
            _write_ready(options.ready_file, door.ports)
        log.info(
            "listener_ready",
            host=chosen.listener.host,
            port=door.ports.get("plain"),
            tls_port=door.ports.get("tls"),
            ae_title=chosen.listener.ae_title,
            swept=left,
        )
        threading.Thread(
            target=_mark_recent, args=(chosen.storage.spool_dir, stop), daemon=True, name="mark-recent"
        ).start()
        crew.watch(partial(_sweep, spool, chosen.storage.spool_dir, stop), tally)
        if options.stdin_lifeline:
            threading.Thread(target=_follow_lifeline, args=(stop,), daemon=True, name="lifeline").start()
        stop.wait()
    except StorageUnusable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        crew.close()
        door.close()
        opened.close()
        log.info("listener_stopped")
    return 0


def _spool(chosen: settings.Settings) -> DiskSpool:
    return DiskSpool(
        chosen.storage.spool_dir,
        reserve_bytes=chosen.storage.reserve_bytes,
        open_mark_seconds=chosen.assembly.cap_seconds,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dicom_listener", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, help="TOML file with the settings")
    parser.add_argument("--data-dir", type=Path, help="where everything is kept; overrides the file")
    parser.add_argument("--ready-file", type=Path, help="gets the port as JSON once the door is open")
    parser.add_argument("--stdin-lifeline", action="store_true", help="end when standard input closes")
    return parser.parse_args(arguments)


def _mark_recent(spool: Path, stop: threading.Event) -> None:
    """What may have lost its mark has it again. Without room for marks the house compares at its start."""
    try:
        log.info("recent_studies_marked", studies=mark_recent(spool, stop))
    except OSError as error:
        log.warning("recent_studies_not_marked", code=type(error).__name__)


def _sweep(spool: DiskSpool, folder: Path, stop: threading.Event) -> int:
    """Removes what a helper that died a moment ago has left; how many unfinished files.

    Its last object may have its name and no mark. Raises StorageUnusable or OSError.
    """
    left = spool.sweep_unfinished()
    mark_recent(folder, stop, seconds=LATELY_SECONDS)
    return left


def _write_ready(path: Path, ports: Mapping[str, int]) -> None:
    """Whole or not at all: write, fsync, rename."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump({"port": next(iter(ports.values())), "tls_port": ports.get("tls")}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StorageUnusable(f"The ready file {path} cannot be written ({error.strerror}).") from error


def _follow_lifeline(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
