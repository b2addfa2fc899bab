"""Shuts the doors before memory or the queue is full, and opens them again by itself."""

from __future__ import annotations

from pathlib import Path

import structlog

from hoichan.adapters.work_sql import WorkSql
from hoichan.intake.pressure import Load, open_again, pressure, shut
from hoichan.ports import Clock, Notes
from hoichan.settings import Work

log = structlog.get_logger()

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


class Valve:
    """Looks at the load, and leaves the doors a note."""

    def __init__(self, work: WorkSql, notes: Notes, clock: Clock, settings: Work) -> None:
        self._work = work
        self._notes = notes
        self._clock = clock
        self._settings = settings
        self._shut_for: str | None = None

    def step(self) -> str | None:
        """One look; why the doors are shut, or None. Raises RecordsUnavailable or SpoolFull."""
        load = Load(waiting=self._work.waiting_count(), free_memory_bytes=free_memory())
        reason = pressure(load, self._settings, was_shut=self._shut_for is not None)
        if reason is not None:
            shut(self._notes, reason, self._clock.now())
            if self._shut_for is None:
                log.warning("doors_shut", reason=reason, waiting=load.waiting)
        else:
            open_again(self._notes)
            if self._shut_for is not None:
                log.info("doors_open", waiting=load.waiting)
        self._shut_for = reason
        return reason


def free_memory(memory: Path = _MEMORY, group: Path = _GROUP) -> int | None:
    """Bytes that programs may still take: of the machine, or of our control group where that is less."""
    found = []
    try:
        for line in memory.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):  # not Linux
        pass
    try:
        most = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        cache = [
            int(line.split()[1])
            for line in (group / "memory.stat").read_text(encoding="ascii").splitlines()
            if line.startswith("inactive_file ")
        ]
        found.append(most - used + sum(cache))
    except (OSError, ValueError):  # no limit ("max"), or no control groups
        pass
    return min(found, default=None)
