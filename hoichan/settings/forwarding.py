"""What is sent on as it came, to whom, and what of it only without the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from hoichan.settings.base import Section
from hoichan.settings.destinations import AnyDestination


class WithoutPerson(Section):
    """De-identification on the way (PS3.15 annex E); docs/deidentification.md says what each option keeps."""

    keep_dates: bool = False  # 113107: the dates of a patient move by the same number of days
    shift_times: bool = False  # with keep_dates: times of day move, too
    keep_characteristics: bool = False  # 113108
    keep_device: bool = False  # 113109
    clean_descriptions: bool = False  # 113105
    allow_pixel_risk: bool = (
        False  # False: what may show a name in its pixels is held for a person to look at
    )


class Forward(Section):
    """A rule. Whatever it names must fit; what it leaves out fits always."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    to: tuple[str, ...] = Field(min_length=1)  # destinations of kind dicom, dicomweb or folder
    senders: tuple[str, ...] = ()  # calling AE titles; `*` and `?` stand for any letters and for one
    except_senders: tuple[
        str, ...
    ] = ()  # never from these: names of a dicomweb receiver that also sends to us
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()  # UIDs; `*` at the end stands for a family
    # Known when the answer is there; without them images go as soon as their study is complete.
    states: tuple[Literal["reported", "not_analysed", "failed"], ...] = ()
    tiers: tuple[Literal["critical", "urgent", "routine"], ...] = ()
    transcode: Literal["never", "lossless"] = "never"  # where the receiver refuses the transfer syntax
    deidentify: WithoutPerson | None = None  # None: byte for byte as it came
    # False: finds nothing new. What waits still goes; what comes meanwhile goes when it is on again.
    active: bool = True

    @property
    def needs_answer(self) -> bool:
        """Whether it can be held against a study only when its answer is there."""
        return bool(self.states or self.tiers)


def check_rules(rules: Sequence[Forward], destinations: Sequence[AnyDestination]) -> None:
    """Raises ValueError for rules that cannot be followed, or that would mix names with what has none."""
    names = [rule.name for rule in rules]
    if len(names) != len(set(names)):
        raise ValueError("forward: two rules have the same name")
    by_name = {destination.name: destination for destination in destinations}
    for rule in rules:
        for name in rule.to:
            destination = by_name.get(name)
            if destination is None or destination.kind not in ("dicom", "dicomweb", "folder"):
                raise ValueError(
                    f"forward {rule.name}: {name} is no destination of dicom, dicomweb or folder"
                )
            alike = {other.deidentify is None for other in rules if name in other.to}
            named = len(alike) > 1 or bool(getattr(destination, "send", ()))
            if rule.deidentify is not None and named:
                raise ValueError(
                    f"forward {rule.name}: {name} gets images without their person, so nothing else may go "
                    "there: set send = [] and let no rule without deidentify name it"
                )
        if rule.deidentify is not None and rule.deidentify.shift_times and not rule.deidentify.keep_dates:
            raise ValueError(f"forward {rule.name}: shift_times needs keep_dates")
