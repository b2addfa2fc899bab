"""When a study is complete, and how the work on it goes."""

from __future__ import annotations

import os

from pydantic import Field

from hoichan.settings.base import Section


class Assembly(Section):
    """When a study counts as complete."""

    quiet_seconds: float = Field(5, ge=0)  # single films: CR, DX, MG, and anything not named below
    quiet_seconds_volume: float = Field(60, ge=0)  # CT, MR, PT, NM: many images, often several associations
    cap_seconds: float = Field(900, gt=0)  # after this an open association no longer holds a study back


class Work(Section):
    """The workers."""

    poll_seconds: float = Field(0.25, gt=0)  # how often queues and the spool are looked at
    analyse_concurrency: int = Field(0, ge=0)  # 0: one less than the cores, at least one
    first_retry_seconds: float = Field(5, gt=0)  # first pause after a receiver did not answer
    longest_retry_seconds: float = Field(3600, gt=0)  # the pause doubles up to this

    @property
    def concurrency(self) -> int:
        """Studies analysed at the same time."""
        return self.analyse_concurrency or max(1, (os.cpu_count() or 2) - 1)
