"""A repeated analysis that came to nothing: is it news of the images, or only of the machine?

A model that is gone, kept silent or broken says nothing about a film that it has read before: the answer that
stands is as good as it was. What a model says of the film itself, such as "not frontal", is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hoichan.types import (
    Refusal,
    RefusalCode,
    Report,
    SeriesInstanceUID,
    SOPInstanceUID,
    Study,
)

# What says nothing about the images: nobody looked at them.
SILENT = frozenset(
    {
        RefusalCode.NO_MODEL,
        RefusalCode.REMOVED_IMAGE,
        RefusalCode.MODEL_FAILED,
        RefusalCode.MODEL_FROZEN,
    }
)
# What whoever opened the file saw, whichever model asked for it.
OF_PIXELS = frozenset(
    {
        RefusalCode.UNDECODABLE_PIXELS,
        RefusalCode.PIXELS_OUT_OF_RANGE,
        RefusalCode.NOT_FRONTAL_CHEST,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What one model has read for the answer that stands."""

    algorithm_name: str
    series_instance_uid: SeriesInstanceUID
    sop_instance_uid: SOPInstanceUID | None  # None: a network that measured the whole series

    def holds(self, series: SeriesInstanceUID | None, instance: SOPInstanceUID | None) -> bool:
        """Whether an image, or where it is None a whole series, is of what was read."""
        if series != self.series_instance_uid:
            return False
        return self.sop_instance_uid is None or instance is None or instance == self.sop_instance_uid


def unheard(answer: Report, study: Study, refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Why each model that gave the standing answer was not heard again; () where that must not stand.

    `answer` is of the same revision as `study`, which is marked with what was taken back since; `refusals`
    are all noes of a try without a result. `no_model` for a model that is not in place any more. It must
    not stand where the images are the reason: one of them was taken back, its own model refuses it now, or
    whoever opened its file saw what nobody had told before.
    """
    read = _read(answer)
    if any(_is_taken_back(one, study) or _is_news(one, answer, refusals) for one in read):
        return ()
    found: list[Refusal] = []
    for name in dict.fromkeys(one.algorithm_name for one in read):
        own = [
            no
            for no in refusals
            if no.algorithm_name == name
            and no.code in SILENT
            and any(
                one.algorithm_name == name and one.holds(no.series_instance_uid, no.sop_instance_uid)
                for one in read
            )
        ]
        found += own or [
            Refusal(code=RefusalCode.NO_MODEL, algorithm_name=name, series_instance_uid=None),
        ]
    return tuple(dict.fromkeys(found))


def _read(answer: Report) -> list[_Read]:
    films = [
        _Read(
            algorithm_name=one.algorithm_name,
            series_instance_uid=one.series_instance_uid,
            sop_instance_uid=one.sop_instance_uid,
        )
        for one in answer.results
    ]
    volumes = [
        _Read(
            algorithm_name=one.algorithm_name,
            series_instance_uid=one.series_instance_uid,
            sop_instance_uid=None,
        )
        for one in answer.measurements
    ]
    return list(dict.fromkeys([*films, *volumes]))


def _is_taken_back(one: _Read, study: Study) -> bool:
    return any(
        instance.rejected and one.holds(series.series_instance_uid, instance.sop_instance_uid)
        for series in study.series
        for instance in series.instances
    )


def _is_news(one: _Read, answer: Report, refusals: Sequence[Refusal]) -> bool:
    """Whether a refusal speaks of what was read, and says more than the answer said."""
    told = {_said(no) for no in answer.refusals}
    return any(
        no.code is RefusalCode.NO_IMAGE
        or (
            no.code not in SILENT
            and one.holds(no.series_instance_uid, no.sop_instance_uid)
            and (no.algorithm_name == one.algorithm_name or (no.code in OF_PIXELS and _said(no) not in told))
        )
        for no in refusals
    )


def _said(no: Refusal) -> tuple[object, ...]:
    return no.code, no.algorithm_name, no.series_instance_uid, no.sop_instance_uid
