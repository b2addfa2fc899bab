"""When a study is complete, and how the work on it goes."""

from __future__ import annotations

import os
import re
from datetime import time
from typing import Annotated

from pydantic import Field, field_validator

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
    # The pause doubles up to this. A receiver that answers again is noticed by knocking, within seconds;
    # what still waits so long is one document that this receiver cannot take.
    longest_retry_seconds: float = Field(86400, gt=0)
    longest_probe_seconds: float = Field(15, gt=0)  # between two knocks at a receiver that does not answer
    # Site time, e.g. "19:00-06:00": replays and old studies are analysed then only. None: at once.
    backlog_hours: str | None = None
    backlog_after_days: float = Field(7, ge=0)  # a study this old, by its own date, can wait for those hours
    # At most so many studies of a model in work at a time, over all workers, e.g. { ct-lung = 1 }.
    model_limits: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    # The doors answer "later" (0xA700, HTTP 503) while more studies than this wait, or less memory is free;
    # they open again at four fifths of it. Disk: storage.reserve_bytes.
    most_waiting: int = Field(20_000, ge=1)
    memory_reserve_bytes: int = Field(256 * 1024**2, ge=0)

    @field_validator("backlog_hours")
    @classmethod
    def _hours(cls, value: str | None) -> str | None:
        if value is not None:
            begin, end = _span(value)
            if begin == end:
                raise ValueError("begin and end are the same")
        return value

    def is_off_peak(self, at: time) -> bool:
        """Whether work that can wait may be begun at this time of day."""
        if self.backlog_hours is None:
            return True
        begin, end = _span(self.backlog_hours)
        return begin <= at < end if begin < end else at >= begin or at < end

    @property
    def concurrency(self) -> int:
        """Studies analysed at the same time."""
        return self.analyse_concurrency or max(1, (os.cpu_count() or 2) - 1)


def _span(text: str) -> tuple[time, time]:
    match = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text)
    if match is None:
        raise ValueError('two times of day are needed, e.g. "19:00-06:00"')
    hours = [int(part) for part in match.groups()]
    return time(hours[0], hours[1]), time(hours[2], hours[3])
