"""The head of the audit log, written down once a day: records cut off at the end are seen by it alone.

It goes to the process's log, which syslog or journald carry elsewhere, and into a file for each year under
`access.head_folder`; better a folder of another machine. `hoichan audit verify --head FILE` reads it.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import structlog

from hoichan.errors import StorageUnusable
from hoichan.guard.audit import Head
from hoichan.ports import Clock
from hoichan.settings import Settings
from service.wiring import House

log = structlog.get_logger()

STEP_SECONDS = 60.0


class Heads:
    """Writes the head of the day."""

    def __init__(self, house: House) -> None:
        self._audit = house.audit
        self._clock: Clock = house.clock
        self._settings: Settings = house.settings
        self._written: date | None = None

    def step(self) -> None:
        """Write today's head where it was not written yet. Raises StorageUnusable: tried again."""
        today = self._clock.now().astimezone(self._settings.site.zone).date()
        if self._written == today:
            return
        head = self._audit.head()
        if self._settings.access.head_folder:
            file = Path(self._settings.access.head_folder) / f"audit-heads-{today.year}.txt"
            _append(file, today, head)
        log.info("audit_head", length=head.length, hash=head.hash.hex())
        self._written = today


def _append(file: Path, today: date, head: Head) -> None:
    """One line a day; a line of today that another process or an earlier start wrote is enough."""
    line = f"{today.isoformat()} {head.length}:{head.hash.hex()}\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text(encoding="ascii").splitlines() if file.exists() else []
        if before and before[-1].startswith(today.isoformat()):
            return
        with file.open("a", encoding="ascii") as opened:
            opened.write(line)
            opened.flush()
            os.fsync(opened.fileno())
    except (OSError, UnicodeDecodeError) as error:
        raise StorageUnusable(f"The head of the audit log cannot be written: {file}.") from error
