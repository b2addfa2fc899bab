"""Everything a worker asks others for, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from service import background
from service.priors import Priors

PAUSE_SECONDS = 1.0  # between two rounds of a task


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something that is to be done again and again."""

    name: str
    step: Callable[[], object]  # one round; it may wait for the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Tasks of the leader, and the earlier studies that whoever scores asks for."""

    tasks: tuple[Task, ...]
    priors: Priors

    def start(self, *, leads: Callable[[], bool], stop: threading.Event) -> None:
        """A thread a task, until `stop`; each rests while another worker leads."""
        for task in self.tasks:
            background.start(task.name, task.step, leads=leads, stop=stop, pause_seconds=PAUSE_SECONDS)
