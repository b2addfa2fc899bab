"""Which receivers count: those of the configuration file, and those that IT wrote at the page.

A process that runs looks every second whether there is a newer version (`InForce`), puts everything together
that it makes of the receivers, and only then takes it. What has begun goes on with what it began with. What a
worker had to leave out at its start it tries again every half minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import sqlalchemy as sa
import structlog

from hoichan.adapters.clock import SystemClock
from hoichan.adapters.database import HEAD, open_database, schema_version
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.errors import HoichanError
from hoichan.ports import Clock
from hoichan.ports.receivers import ReceiverVersions
from hoichan.settings import Settings
from hoichan.settings.overlay import Overlaid, Part, of_file, overlay

log = structlog.get_logger()

LOOK_SECONDS = 1.0  # between two looks for a newer version
TRY_AGAIN_SECONDS = 30.0  # with a version, or a receiver, that could not be put together
V = TypeVar("V")


def in_force(settings: Settings, engine: sa.Engine, clock: Clock) -> Overlaid:
    """The file's settings with what the page says of receivers. Raises RecordsUnavailable."""
    return _laid(settings, ReceiversSql(engine, clock))


def _laid(settings: Settings, rows: ReceiverVersions) -> Overlaid:
    versions = rows.versions()
    return overlay(settings, versions, rows.owed()) if versions else of_file(settings)


def tell(laid: Overlaid) -> None:
    """Into the log of a process: with which version it runs from now on, and what of it does not count."""
    if laid.version:
        log.info("receivers_of_the_page", version=laid.version)
    for one in laid.passed_over:
        log.warning("receiver_passed_over", part=one.part, entry=one.name, code=one.code)


def tell_left_out(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Into the log: what does not work yet, and what does from now on. By name, with a code."""
    for name, code in now.items():
        if before.get(name) != code:
            log.error("receiver_not_put_together", entry=name, code=code)
    for name in before.keys() - now.keys():
        log.info("receiver_put_together", entry=name)


def at_the_next_start(settings: Settings) -> Overlaid:
    """The same for a command that changes nothing; the file alone where no database answers yet."""
    try:
        engine = open_database(settings.storage.database_url)
        try:
            if schema_version(engine) != HEAD:
                return of_file(settings)
            return in_force(settings, engine, SystemClock())
        finally:
            engine.dispose()
    except HoichanError:
        return of_file(settings)


class InForce:
    """The receivers that a process works with. It follows the page while it runs (ADR-0021)."""

    def __init__(
        self,
        laid: Overlaid,
        rows: ReceiverVersions,
        put: Callable[[Overlaid], None],
        *,
        left_out: Callable[[], Mapping[str, str]] = dict,
        again_seconds: float = TRY_AGAIN_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`laid`: what the process has begun with.

        `put` makes everything first and then takes it all: where it raises, the old ones are as they were.
        `left_out`: receivers that the process has to do without, and why; `put` may change that.
        `again_seconds`: after how long that is tried again.
        """
        self.laid = laid
        self.refused: tuple[int, str] | None = None  # a version that could not be put together, and why
        self._rows = rows
        self._put = put
        self._left_out = left_out
        self._again_seconds = again_seconds
        self._monotonic = monotonic
        self._seen = laid.version
        self._again_at = monotonic() + again_seconds
        self._asked = threading.Event()
        self._one_at_a_time = threading.Lock()

    def look(self) -> bool:
        """Whether other receivers count from now on. Raises RecordsUnavailable."""
        with self._one_at_a_time:
            is_whole = self.refused is None and not self._left_out()
            waits = is_whole or self._monotonic() < self._again_at
            if waits and not self._asked.is_set() and self._rows.newest() == self._seen:
                return False
            self._asked.clear()
            return self._take(_laid(self.laid.file, self._rows))

    def _take(self, laid: Overlaid) -> bool:
        before, self._seen = self.laid, laid.version
        lacked = dict(self._left_out())
        is_known = (laid.settings, laid.version) == (before.settings, before.version)
        if is_known and not lacked:
            self.refused = None
            return False
        self._again_at = self._monotonic() + self._again_seconds
        try:
            self._put(laid)
        except Exception as error:  # whatever is wrong with them: the old ones go on
            if isinstance(error, HoichanError) and error.retryable:  # the next look tries again
                self._asked.set()
                raise
            code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
            if self.refused != (laid.version, code):
                log.error(
                    "receivers_not_put_together", version=laid.version, runs_with=before.version, code=code
                )
            self.refused = (laid.version, code)
            return False
        self.laid, self.refused = laid, None
        lacks = self._left_out()
        tell_left_out(lacked, lacks)
        if is_known:
            return lacks != lacked
        tell(laid)
        return True

    def awaits(self, name: str, part: Part = "destinations") -> bool:
        """Whether a receiver or rule that this process does not know is known after another look.

        It was written at the page a moment ago, or removed while something for it was being made.
        """
        self._asked.set()
        versions = self._rows.versions()
        if not versions:
            return False
        newest = versions[0].destinations if part == "destinations" else versions[0].forward
        laid = overlay(self.laid.file, versions, self._rows.owed())
        return (part, name) in laid.places or any(one.get("name") == name for one in newest)


class Live(Mapping[str, V]):
    """A mapping by names of receivers, as it is at each look."""

    def __init__(self, now: Callable[[], Mapping[str, V]]) -> None:
        self._now = now

    def __getitem__(self, name: str) -> V:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._now()))

    def __len__(self) -> int:
        return len(self._now())
