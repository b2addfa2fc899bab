"""A report that was given up, because nobody knew its images to be at its PACS, goes when they are known.

Looked for again and again, the older the less often, for a month; then a person may still send it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Protocol, runtime_checkable

import structlog

from hoichan.adapters.images_awaited import ImagesAwaited
from hoichan.adapters.images_there import CAUSES
from hoichan.errors import HoichanError, Unreachable
from hoichan.ports import Clock, Sink, Studies
from hoichan.types import Delivery, DeliveryState, Document

log = structlog.get_logger()

STEP_SECONDS = 30.0
SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
SHARE = 8  # of its age: what was planned eight hours ago is looked for once an hour
FORGOTTEN_AFTER = timedelta(days=30)


@runtime_checkable
class KnowsImages(Protocol):
    """A receiver that waits for images."""

    def images_are_known(self, delivery: Delivery, documents: list[Document]) -> bool:
        """Whether the images that these speak of are known to be there. Raises Unreachable."""
        ...


def waits_for_images(delivery: Delivery) -> bool:
    """Whether a delivery has not been made because of its images."""
    is_open = delivery.state in (DeliveryState.DEAD, DeliveryState.PENDING)
    return is_open and delivery.acknowledgement in CAUSES


class ImagesCame:
    """Sends what was given up too early. One for all workers: the leader's."""

    def __init__(
        self,
        awaited: ImagesAwaited,
        studies: Studies,
        sinks: Mapping[str, Sink],
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._awaited = awaited
        self._studies = studies
        self._sinks = sinks
        self._clock = clock
        self._monotonic = monotonic
        self._next: dict[str, float] = {}  # of each key, by the monotonic clock

    def step(self) -> int:
        """One look; how many reports go now. Raises RecordsUnavailable."""
        now, moment = self._clock.now(), self._monotonic()
        found = self._awaited.given_up(since=now - FORGOTTEN_AFTER)
        self._next = {key: self._next[key] for key, _ in found if key in self._next}
        silent: set[str] = set()
        woken = 0
        for key, planned_at in found:
            if self._next.get(key, moment) > moment:
                continue
            pause = min(max((now - planned_at) / SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)
            self._next[key] = moment + pause.total_seconds()
            woken += self._look(key, silent)
        return woken

    def _look(self, key: str, silent: set[str]) -> bool:
        delivery = self._studies.delivery(key)
        sink = self._sinks.get(delivery.destination)
        if delivery.destination in silent or not isinstance(sink, KnowsImages):
            return False
        try:
            if not sink.images_are_known(delivery, list(self._studies.documents(delivery))):
                return False
        except Unreachable:  # the others that wait for it are not asked for this time
            silent.add(delivery.destination)
            return False
        except HoichanError as error:  # a document that is gone holds no other up
            if error.retryable:
                raise
            log.error("images_skipped", study=delivery.study_instance_uid, code=error.code)
            return False
        log.info("images_came", study=delivery.study_instance_uid, destination=delivery.destination)
        self._studies.revive(key, because="images_came")
        return True
