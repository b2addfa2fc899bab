"""What every association of ours needs beyond pynetdicom."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

from pynetdicom import AE, evt

_AGAIN_SECONDS = 0.02


def associate(entity: AE, host: str, port: int, *, evt_handlers: Sequence[Any] = (), **options: Any) -> Any:  # noqa: ANN401 (an untyped pynetdicom Association)
    """As `AE.associate`, with its own reactor held while an answer is waited for."""
    return entity.associate(
        host, port, evt_handlers=[(evt.EVT_CONN_OPEN, _hold_reactor), *evt_handlers], **options
    )


def release(association: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Association)
    """Ends an association in order (A-RELEASE), if it still lives; returns when it has ended.

    pynetdicom waits for ever for the thread of an association that was aborted while it was being made: such
    a one still calls itself established.
    """
    if association.is_established and association.is_alive():
        association.release()
    else:
        association.abort()


class Checkpoint(threading.Event):
    """Where the reactor of an association of ours stands while we wait for an answer.

    pynetdicom's reactor says that it stands before it asks whether it may go on, and that it goes on only
    after it has: in between it takes an answer that comes at once for a request, and whoever waits for the
    answer waits in vain. Here going on and saying so are one.
    """

    def __init__(self, association: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Association)
        super().__init__()
        self._association = association
        self._gone_on = threading.Condition()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Stands here until it may go on."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        with self._gone_on:
            # Said again and again: pynetdicom serves a report in a thread that denies it when it ends.
            self._association._is_paused = True
            while not self.is_set() and time.monotonic() < end:
                self._gone_on.wait(min(_AGAIN_SECONDS, max(end - time.monotonic(), 0)))
                self._association._is_paused = True
            self._association._is_paused = False
            return self.is_set()

    def set(self) -> None:
        """Lets it go on."""
        with self._gone_on:
            super().set()
            self._gone_on.notify_all()

    def clear(self) -> None:
        """Holds it when it comes here next."""
        with self._gone_on:
            super().clear()


def _hold_reactor(event: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Event)
    event.assoc._reactor_checkpoint = Checkpoint(event.assoc)
