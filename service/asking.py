"""Everything a worker asks others for, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from service import background
from service.commitments import Committer
from service.priors import Priors

PAUSE_SECONDS = 1.0  # between two rounds of a task


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something that is to be done again and again."""

    name: str
    step: Callable[[], object]  # one round; it may wait for the network
    everywhere: bool = False  # also on the machines whose worker does not lead


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Tasks, most of them of the leader, and the earlier studies that whoever scores asks for."""

    tasks: tuple[Task, ...]
    priors: Priors
    committer: Committer  # whom `commitments` of the tasks asks by

    def start(self, *, leads: Callable[[], bool], stop: threading.Event) -> None:
        """A thread a task, until `stop`; most rest while another worker leads."""
        for task in self.tasks:
            may = (lambda: True) if task.everywhere else leads
            background.start(task.name, task.step, leads=may, stop=stop, pause_seconds=PAUSE_SECONDS)
