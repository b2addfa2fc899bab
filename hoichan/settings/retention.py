"""What may go, and when. Nothing goes until somebody says so."""

from __future__ import annotations

import re
from datetime import time
from typing import Literal

from pydantic import Field, field_validator, model_validator

from hoichan.settings.base import Section

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class RetentionRule(Section):
    """After how many days the images of a study may go. The first rule that fits decides."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_.-]+$")  # stands on the study's trail
    states: tuple[Literal["delivered", "signed", "not_analysed"], ...] = ()  # empty: any of these
    modalities: tuple[str, ...] = ()  # one of these in the study; empty: any
    senders: tuple[str, ...] = ()  # calling AE titles; empty: any
    days: int = Field(ge=0)  # since the last image came


# Signed by a physician: a quarter. Read by nobody: a year, so that somebody notices.
DEFAULT_RULES = (
    RetentionRule(name="signed", states=("signed",), days=90),
    RetentionRule(name="unsigned", states=("delivered", "not_analysed"), days=365),
)


class Retention(Section):
    """When images leave the spool and the object store. Results, documents and the audit log always stay."""

    enabled: bool = False
    # "here": no PACS keeps these images, so each stays as long as its record must be kept (the years below).
    # "elsewhere": ours are working copies, and the rules alone decide.
    originals: Literal["here", "elsewhere"] = "here"
    rules: tuple[RetentionRule, ...] = DEFAULT_RULES
    # Years of medical records (Circular 33/2025/TT-BYT); images inherit the class of their record.
    general_years: int = Field(10, ge=0)  # in- and outpatients
    accident_or_psychiatry_years: int = Field(20, ge=0)  # occupational and traffic accidents, psychiatry
    death_years: int = Field(30, ge=0)
    hours: str = "22:00-05:00"  # site time in which images are removed
    # While less than this is free, the oldest delivered images go before their time. 0: never.
    pressure_free_bytes: int = Field(0, ge=0)
    pressure_days: int = Field(7, ge=1)  # younger images stay also then
    workflow_history_days: int = Field(
        30, ge=1
    )  # the engine's memory of finished work, apart from the record

    @field_validator("hours")
    @classmethod
    def _span(cls, value: str) -> str:
        if _HOURS.fullmatch(value) is None:
            raise ValueError('a span like "22:00-05:00"')
        return value

    @model_validator(mode="after")
    def _safe(self) -> Retention:
        if self.pressure_free_bytes and self.originals == "here":
            raise ValueError(
                'pressure_free_bytes with originals = "here": the only copy would go before its time'
            )
        names = [rule.name for rule in self.rules]
        if len(names) != len(set(names)):
            raise ValueError("rules: two of them have the same name")
        return self

    def is_time(self, at: time) -> bool:
        """Whether images may be removed at this time of day, in the site's zone."""
        found = _HOURS.fullmatch(self.hours)
        if found is None:  # cannot be: checked when it was read
            return False
        numbers = [int(part) for part in found.groups()]
        begin, end = time(numbers[0], numbers[1]), time(numbers[2], numbers[3])
        return begin <= at < end if begin < end else at >= begin or at < end
