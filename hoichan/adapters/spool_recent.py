"""Marks the studies that changed lately: a door may have died between an object and its mark.

At a start those of the last day, after the death of a listener's helper those of the last minutes.

Every study's folder is looked at, which takes seconds where there are a million of them: so it is done
beside the door, when it is open.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

DAY_SECONDS = 86400.0


def mark_recent(root: Path, stop: threading.Event | None = None, *, seconds: float = DAY_SECONDS) -> int:
    """Mark each study of the spool that changed during the last `seconds`; returns how many. Raises OSError.

    Ends early when `stop` is set: the next start begins anew. What came meanwhile has its mark already.
    """
    since = time.time() - seconds
    marked = 0
    for half in sorted((root / "studies").iterdir()):
        with os.scandir(half) as found:
            for study in found:
                if stop is not None and stop.is_set():
                    return marked
                with suppress(FileNotFoundError):  # it went meanwhile
                    if study.stat().st_mtime > since:
                        (root / "fresh" / study.name).touch()
                        marked += 1
    return marked
