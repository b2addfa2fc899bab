"""Starts of tries, counted in a row before anything is read or sent, so that a try without an end is known.

An end is a word in that row, which clears its count, or an error that this process survives. What is cut off
because the process was asked to end has killed nobody: its start is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from hoichan.errors import RecordsUnavailable

KILLS_WORKER = "kills_worker"  # what stands as the answer of what was set aside

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Starts(Generic[_K, _V]):
    """The tries that run in this process."""

    def __init__(self, begin: Callable[[_K], _V], forgive: Callable[[_K], None]) -> None:
        """`begin` counts a start in the row and says what stands there now; `forgive` takes it back."""
        self._begin = begin
        self._forgive_row = forgive
        self._begun: set[_K] = set()
        self._stopping = False

    @contextmanager
    def counted(self, key: _K) -> Iterator[_V]:
        """Count a start until something is said of it, or an error comes that we survive."""
        said = self._begin(key)
        self._begun.add(key)
        try:
            self.stay()
            yield said
        except BaseException:
            self._forgive(key)
            raise
        finally:
            self._begun.discard(key)

    def stay(self) -> None:
        """Raises RecordsUnavailable once this process is asked to end."""
        if self._stopping:
            raise RecordsUnavailable("The worker ends; its next start goes on.")

    def stop(self) -> None:
        """This process is asked to end: nothing is begun any more."""
        self._stopping = True
        for key in self._begun.copy():
            self._forgive(key)

    def _forgive(self, key: _K) -> None:
        """Take a start of this process back, once."""
        try:
            self._begun.remove(key)
        except KeyError:
            return
        with suppress(RecordsUnavailable):  # then it counts: what follows from that is a try alone
            self._forgive_row(key)
