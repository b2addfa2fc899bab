"""Whether a process that starts still gets on: by the processor it used, and by what it read for itself.

A start may take minutes where it is not stuck: modules from a cold, slow disk after a power cut, a machine
that others keep busy, a database of a million studies that is brought to a new version. Linux tells it in
`/proc`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

FAULT_SECONDS = 0.005  # what one page that was read from the disk counts for
LEAST = 0.5  # seconds of effort; somebody who only waits and looks now and then makes less in a minute


def effort_of(pid: int) -> float | None:
    """Seconds of processor and of reading so far; None where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything; see proc(5)
    faults, user, system = int(fields[9]), int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK") + faults * FAULT_SECONDS


class Effort:
    """Remembers when a process last got on."""

    def __init__(self, now: float, pid: int, read: Callable[[int], float | None] = effort_of) -> None:
        """`now`: monotonic seconds, here and below."""
        self._pid, self._read = pid, read
        self._since, self._counted = now, 0.0

    def stalled_seconds(self, now: float) -> float:
        """How long it has not got on."""
        effort = self._read(self._pid)
        if effort is not None and effort - self._counted >= LEAST:
            self._since, self._counted = now, effort
        return now - self._since
