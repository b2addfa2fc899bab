"""How large the spool is: a walk through every folder, once an hour, since a million files take a while."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

SURVEY_SECONDS = 3600.0  # between two walks


class Surveyor:
    """Walks in a thread of its own; whoever asks gets what the last walk found."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._due = 0.0
        self._found: tuple[int | None, int] = (None, 0)

    def look(self) -> tuple[int | None, int]:
        """Files and bytes below `studies`; None before the first walk has ended."""
        with self._lock:
            now = time.monotonic()
            if now < self._due:
                return self._found
            self._due = now + SURVEY_SECONDS
        threading.Thread(target=self.walk, name="survey", daemon=True).start()
        return self._found

    def walk(self) -> None:
        """Count now."""
        objects = size = 0
        for folder, _, files in os.walk(self._root / "studies"):
            for name in files:
                try:
                    size += os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118  a million times
                except OSError:  # deleted meanwhile
                    continue
                objects += 1
        self._found = (objects, size)
