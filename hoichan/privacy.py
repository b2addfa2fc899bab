"""Values about a person, wrapped so that they cannot slip into a log, a trace or an error text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Phi(Generic[T]):
    """A value that identifies a person.

    `reveal()` is the only way to read it, so a search for that word lists every place where
    people's data leaves the wrapper: encoders, the database and the screen, nothing else.
    """

    _value: T

    def reveal(self) -> T:
        """The value itself. For encoders, the database and the reading room only."""
        return self._value

    def __repr__(self) -> str:
        return "Phi(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)
