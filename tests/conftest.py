"""For all storeys: property tests run the same each time, no clock decides about them, logs stay as set."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _logs_as_before():
    """A command that runs in the test's process sets its logs up; the next test finds them as they were."""
    before, was_configured = structlog.get_config(), structlog.is_configured()
    root, shown = logging.getLogger(), warnings.showwarning
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    if structlog.get_config()["processors"] is before["processors"]:
        return
    if was_configured:
        structlog.configure(**before)
    else:
        structlog.reset_defaults()
    lazy = type(structlog.get_logger())
    for module in list(sys.modules.values()):  # each keeps what its first line was written with
        log = getattr(module, "__dict__", {}).get("log")
        if isinstance(log, lazy):
            vars(log).pop("bind", None)
    root.handlers[:], warnings.showwarning = handlers, shown
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
