"""What the threads of an association tell each other, without looking every millisecond.

pynetdicom's threads ask their queues again and again. These wait for a moment where they are asked, and wake
who waits for something else.
"""

from __future__ import annotations

import queue
import socket
from contextlib import suppress
from typing import Any

PATIENCE_SECONDS = 0.02  # timers, aborts and releases are noticed after at most this


class Bell:
    """Wakes a thread that waits for a socket."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)

    def fileno(self) -> int:
        """For select()."""
        return self._inside.fileno()

    def ring(self) -> None:
        """Wakes the thread; a bell that rings already, or is gone, may be rung again."""
        with suppress(OSError):
            self._outside.send(b"!")

    def hush(self) -> None:
        """Takes every ring so far."""
        with suppress(OSError):
            self._inside.recv(4096)

    def close(self) -> None:
        """Gives the sockets back."""
        self._inside.close()
        self._outside.close()


class RingingQueue(queue.Queue[Any]):
    """What we want to send; putting something in rings."""

    def __init__(self, bell: Bell) -> None:
        super().__init__()
        self._bell = bell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401
        """Puts it in, and rings."""
        super().put(item, block, timeout)
        self._bell.ring()


class PatientQueue(queue.Queue[Any]):
    """Messages of the peer; looking for a request waits a moment for it.

    Who waits for the answer to a report of ours gets answers only: the peer may ask for something meanwhile,
    and pynetdicom would take that for the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answers: queue.Queue[Any] = queue.Queue(maxsize=8)  # one is waited for; more is nonsense

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401
        """An answer goes to who waits for one, a request to who serves it."""
        _, message = item
        if message is None or getattr(message, "MessageIDBeingRespondedTo", None) is not None:
            with suppress(queue.Full):
                self._answers.put_nowait(item)
        if message is None or message.is_valid_request:  # None: nothing more will come
            super().put(item, block, timeout)

    def wake(self) -> None:
        """Has who looks for a request look at something else."""
        super().put((None, None))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Waiting: an answer; else a request, for which it waits a moment all the same."""
        if block:
            return self._answers.get(True, timeout)
        return super().get(True, PATIENCE_SECONDS)


class WakingQueue(queue.Queue[Any]):
    """Releases and aborts of the peer; who waits for its next message has to look at them at once."""

    def __init__(self, messages: PatientQueue) -> None:
        super().__init__()
        self._messages = messages

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401
        """Puts it in, and wakes."""
        super().put(item, block, timeout)
        self._messages.wake()
