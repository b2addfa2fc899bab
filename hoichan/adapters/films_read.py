"""Films that were decoded a moment ago: one study's models and its picture read the same film once.

Nothing is kept beyond that: whoever draws the picture takes the film out, and what no picture shows goes when
the study's analysis ends (`of_one_study`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoichan.analysis.films import Film

PIXELS_OF_A_FILM = 12_000_000  # a detector of 3,000 x 4,000; 48 MB when laid out

_Key = tuple[str, int, int, int, int]


class FilmsRead:
    """The last films by their files. Safe for many threads; the films are not to be written on."""

    def __init__(self, *, pixels: int = PIXELS_OF_A_FILM) -> None:
        """`pixels`: of all films together; the one that was not asked for longest goes first."""
        self._most = pixels
        self._films: OrderedDict[_Key, Film] = OrderedDict()
        self._lock = threading.Lock()
        self._mine = threading.local()  # .keys: what this thread has read of the study that it is at

    def read(self, path: Path, decode: Callable[[Path], Film]) -> Film:
        """The film in a file, decoded if it is not at hand. Raises what `decode` raises."""
        key = _key(path)
        if key is None:
            return decode(path)
        mine: set[_Key] | None = getattr(self._mine, "keys", None)
        if mine is not None:
            mine.add(key)
        with self._lock:
            film = self._films.get(key)
            if film is not None:
                self._films.move_to_end(key)
                return film
        film = decode(path)
        with self._lock:
            self._films[key] = film
            while sum(one.rows * one.columns for one in self._films.values()) > self._most:
                self._films.popitem(last=False)
        return film

    @contextmanager
    def of_one_study(self) -> Iterator[None]:
        """What this thread reads inside is let go of at the end, also when that is an error."""
        keys: set[_Key] = set()
        self._mine.keys = keys
        try:
            yield
        finally:
            del self._mine.keys
            with self._lock:
                for key in keys:
                    self._films.pop(key, None)

    def take(self, path: Path) -> Film | None:
        """The film in a file, if it is at hand; from now on it is not."""
        key = _key(path)
        with self._lock:
            return self._films.pop(key, None) if key is not None else None


def _key(path: Path) -> _Key | None:
    """What changes when other bytes take a file's place; None where there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
