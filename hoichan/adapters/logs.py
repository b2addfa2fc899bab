"""Logs of every process: one JSON object a line on stderr, and nothing of a patient in it.

Our own events name their fields. Lines of libraries, their warnings and their exceptions may quote a value
of a data set, so of those only the place and the kind are kept, never the text.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

_QUIET = ("pynetdicom", "pydicom", "highdicom", "pylibjpeg", "httpx", "httpx2", "uvicorn.access", "dbos")


def configure(process: str) -> None:
    """Has this process write JSON lines to stderr; `process` stands in every line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _Named(process),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _name_exception,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        # line and end in one write: the processes of a house share one stream, and lines must not mix
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Stderr())),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Redacted()]
    root.setLevel(logging.WARNING)
    for name in _QUIET:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.setLevel(logging.WARNING)
        library.propagate = True
    warnings.showwarning = _show_warning
    sys.excepthook = _show_uncaught
    threading.excepthook = _show_uncaught_in_thread


def _show_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """What ends a process or a thread is told by its type and its place; its text may quote a patient."""
    frames = traceback.extract_tb(trace)
    place = {"file": _module(frames[-1].filename), "line": frames[-1].lineno} if frames else {}
    structlog.get_logger().critical(
        "uncaught", error=kind.__name__, code=getattr(error, "code", None), **place
    )


def _show_uncaught_in_thread(raised: threading.ExceptHookArgs) -> None:
    _show_uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)


class _Named:
    """Adds the name of the process; threads of libraries do not inherit bound context."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {"process": self._process, **event}


def _name_exception(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """An exception is told by its type and our code; its text stays inside."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    if error is not None:
        event["error"] = type(error).__name__
        event["code"] = getattr(error, "code", None)
    return event


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    structlog.get_logger().warning(
        "library_warning", kind=category.__name__, file=_module(filename), line=lineno
    )


class _Stderr:
    """Whatever stderr is now: who called a command inside another program takes its stream away again."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Redacted(logging.Handler):
    """Lines of libraries, without their text."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno,
            "library_log",
            logger=record.name,
            function=record.funcName,
            line=record.lineno,
            error=type(error).__name__ if error else None,
        )


def _module(filename: str) -> str:
    return "/".join(filename.replace("\\", "/").split("/")[-2:])
