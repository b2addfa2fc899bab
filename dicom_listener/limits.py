"""How much at a time: associations in all and for each sender, and connections that have said nothing yet.

And how much a minute: a sender may store a minute's worth at once, and then as fast as agreed. And how many
associations are worked for at the same moment, so that fifty senders do not keep a C-ECHO waiting.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from hoichan.settings import Sender

_PATIENCE_SECONDS = 0.5  # a modality may come back before its last association is quite gone


class Limits:
    """Counts associations from their request to their end. Safe for many threads."""

    def __init__(self, maximum_associations: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, never going back."""
        self._maximum = maximum_associations
        self._clock = clock
        self._spent: dict[
            Sender, tuple[float, float]
        ] = {}  # sender -> instances not yet paid off, since when
        self._living: dict[Any, Sender] = {}  # association -> who it is
        self._changed = threading.Condition()

    def enter(self, association: Any, sender: Sender) -> bool:  # noqa: ANN401 (an untyped Association)
        """Whether there is room for one more; waits a moment for it."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(sender), _PATIENCE_SECONDS):
                return False
            self._living[association] = sender
            return True

    def leave(self, association: Any) -> None:  # noqa: ANN401
        """The association ended, however it ended; more than once does no harm."""
        with self._changed:
            self._living.pop(association, None)
            self._changed.notify_all()

    def sender(self, association: Any) -> Sender | None:  # noqa: ANN401
        """Under which entry an association was let in; None once it has ended."""
        with self._changed:
            return self._living.get(association)

    def may_store(self, sender: Sender) -> bool:
        """Whether the sender may store one more instance now; counts it if so."""
        if sender.instances_per_minute is None:
            return True
        with self._changed:
            now = self._clock()
            spent, since = self._spent.get(sender, (0.0, now))
            spent = max(0.0, spent - (now - since) * sender.instances_per_minute / 60)
            allowed = spent + 1 <= sender.instances_per_minute
            self._spent[sender] = spent + allowed, now
            return allowed

    def _has_room(self, sender: Sender) -> bool:
        for association in [each for each in self._living if not each.is_alive()]:
            del self._living[association]
        of_sender = sum(1 for other in self._living.values() if other == sender)
        return len(self._living) < self._maximum and (
            sender.maximum_associations is None or of_sender < sender.maximum_associations
        )


class Turns:
    """So many associations may work at the same moment; the others wait in a queue.

    The interpreter works for one thread at a time, and every system call asks for it anew: a thread that has
    fifty others before it waits fifty times for one object. Here most of them sleep meanwhile.
    """

    def __init__(self, number: int) -> None:
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(number):
            self._free.put(None)

    def take(self) -> None:
        """Waits for a turn."""
        self._free.get()

    def give(self) -> None:
        """Ends it."""
        self._free.put(None)


class Turn:
    """The turn of one association, which is not taken while it waits for the disk. For one thread."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_taken = False
        self._pause = _Pause(turns)

    def __enter__(self) -> None:
        self._turns.take()
        self._is_taken = True

    def __exit__(self, *error: object) -> None:
        self._is_taken = False
        self._turns.give()

    def paused(self) -> AbstractContextManager[None]:
        """Others work meanwhile; nothing happens where there is no turn."""
        return self._pause if self._is_taken else _NO_PAUSE


class _Pause:
    """Gives a turn up for a while; not within itself."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        self._turns.give()

    def __exit__(self, *error: object) -> None:
        self._turns.take()


_NO_PAUSE = nullcontext()


class Waiting:
    """Connections that have not asked for an association yet: few for one address, and not many in all."""

    def __init__(self, *, of_one_address: int, in_all: int) -> None:
        self._of_one_address = of_one_address
        self._in_all = in_all
        self._addresses: Counter[str] = Counter()
        self._peers: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._peers)

    def enter(self, peer: tuple[str, int]) -> bool:
        """Whether a new connection from (address, port) may wait here."""
        with self._lock:
            if len(self._peers) >= self._in_all or self._addresses[peer[0]] >= self._of_one_address:
                return False
            self._peers.add(peer)
            self._addresses[peer[0]] += 1
            return True

    def leave(self, peer: tuple[str, int]) -> None:
        """It asked, or it is gone; more than once does no harm."""
        with self._lock:
            if peer in self._peers:
                self._peers.remove(peer)
                self._addresses[peer[0]] -= 1
                if not self._addresses[peer[0]]:
                    del self._addresses[peer[0]]
