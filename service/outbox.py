"""One try of one delivery: one row, one receiver, one acknowledgement.

The row is the truth. A try that was repeated after a crash, or that comes too early, finds the row
settled or not yet due and does nothing; the receiver sees the same bytes under the same UIDs.

Each start is counted in the row before anything is read or sent. One that was begun twice without an end may
have killed its workers: it is tried once more in a process of its own, whose death is the proof.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from structlog.typing import FilteringBoundLogger

from hoichan.adapters.work_sql import WorkSql
from hoichan.errors import HoichanError, Refused, Unreachable
from hoichan.ports import Clock, Sink, Studies
from hoichan.reporting.deliveries import next_attempt
from hoichan.settings import Work
from hoichan.types import Delivery, DeliveryState
from service.alone import POISON_STARTS
from service.starts import KILLS_WORKER, Starts

log = structlog.get_logger()

# So many tries without an answer, some twenty minutes: a receiver that is down is not tried so often, so this
# one report is what it cannot take. It then holds no newer report of its study back, and never follows it.
GIVES_WAY = 8
# A receiver that takes other reports is asked at least this often to take one that it did not take.
WHILE_IT_TAKES = timedelta(minutes=15)
HASTE_PAUSE = timedelta(minutes=1)  # between two looks at what waits long for one receiver
AWAITED = "receiver_awaited"  # written at the page, and not put together in this process yet
AWAITED_AT_MOST_SECONDS = 60.0
ALONE_AT_A_TIME = 2  # processes that hand one delivery over: more of them may be what the memory cannot hold
# Who answers "later" (HL7 AR) until the pause is as long as it gets has refused: a dead letter.


def _nobody(_delivery: Delivery) -> bool:
    """There is no process of its own: what killed twice is set aside."""
    return False


class Outbox:
    """Hands documents over and writes down what the receiver said."""

    def __init__(
        self,
        studies: Studies,
        sinks: Mapping[str, Sink],
        clock: Clock,
        settings: Work,
        work: WorkSql | None = None,
        awaited: Callable[[str], bool] = lambda name: False,
        alone: Callable[[Delivery], bool] = _nobody,
    ) -> None:
        """`work` hears who does not answer; without it nobody knocks there.

        `awaited`: whether a receiver that is not known here will be in a moment. `alone` tries a delivery in
        a process of its own; False: that was killed.
        """
        self._studies = studies
        self._sinks = sinks
        self._clock = clock
        self._settings = settings
        self._work = work
        self._awaited = awaited
        self._alone = alone
        self._hastened: dict[str, datetime] = {}
        self._places = threading.BoundedSemaphore(ALONE_AT_A_TIME)
        self._starts = Starts(studies.begin_try, studies.forgive_try)

    def deliver(self, idempotency_key: str, *, is_alone: bool = False) -> None:
        """Try one delivery now. Raises RecordsUnavailable; everything else ends in the row.

        `is_alone`: this is the process of its own, and its start was counted.
        """
        self._starts.stay()
        delivery = self._studies.delivery(idempotency_key)
        if delivery.state is not DeliveryState.PENDING or delivery.next_attempt_at > self._clock.now():
            return
        bound = log.bind(
            study=delivery.study_instance_uid, report=delivery.report_uid, destination=delivery.destination
        )
        sink = self._sink_for(delivery, bound)
        if sink is None:
            return
        if is_alone:
            self._hand_over(delivery, sink, bound)
            return
        with self._starts.counted(idempotency_key) as starts:
            if starts > POISON_STARTS:
                bound.warning("delivery_tried_alone", starts=starts)
                self._try_alone(delivery, bound)
            elif starts:
                self._hand_over(delivery, sink, bound)

    def stop(self) -> None:
        """This worker is asked to end: nothing is begun any more, and what is cut off has killed nobody."""
        self._starts.stop()

    def _sink_for(self, delivery: Delivery, bound: FilteringBoundLogger) -> Sink | None:
        """Who takes a delivery; None where it is not to be sent now, which its row then says."""
        key, now = delivery.idempotency_key, self._clock.now()
        sink = self._sinks.get(delivery.destination)
        if sink is None and self._awaited(delivery.destination):
            first = self._settings.first_retry_seconds
            pause = next_attempt(delivery.attempts + 1, first, AWAITED_AT_MOST_SECONDS)
            bound.warning("delivery_postponed", detail=AWAITED, seconds=pause)
            self._studies.postponed(key, detail=AWAITED, until=now + timedelta(seconds=pause), not_taken=True)
            return None
        if sink is None:
            bound.error("delivery_refused", status="destination_not_configured")
            self._studies.refused(key, status="destination_not_configured")
            return None
        if self._studies.overtaken(key):
            bound.warning("delivery_withdrawn", reason="overtaken")
            self._studies.withdrawn(key, reason="overtaken")
            return None
        if self._studies.passed(key):  # its try waited longer than the newer one's
            later = now + timedelta(seconds=self._settings.first_retry_seconds)
            self._studies.postponed(key, detail="overtaking", until=later, not_taken=True)
            return None
        return sink

    def _try_alone(self, delivery: Delivery, bound: FilteringBoundLogger) -> None:
        """Have it tried where its death hurts nobody; one that dies of it is set aside."""
        with self._places:
            self._starts.stay()
            if self._alone(delivery):
                return
        bound.error("delivery_set_aside", status=KILLS_WORKER)
        self._studies.set_aside(delivery.idempotency_key, attempts=delivery.attempts, status=KILLS_WORKER)

    def _hand_over(self, delivery: Delivery, sink: Sink, bound: FilteringBoundLogger) -> None:
        key = delivery.idempotency_key
        try:
            acknowledgement = sink.deliver(delivery, self._studies.documents(delivery))
        except Unreachable as error:
            self._not_reached(delivery, error, bound)
        except Refused as error:
            bound.error("delivery_refused", status=error.status)
            self._studies.refused(key, status=error.status)
        except Exception as error:  # a third party's message may quote the document: only its kind is kept
            if isinstance(error, HoichanError) and error.retryable:
                raise
            self._failed(delivery, error, bound)
        else:
            bound.info("delivery_acknowledged", acknowledgement=acknowledgement)
            self._studies.acknowledged(key, acknowledgement)
            self._hasten(delivery.destination)

    def _failed(self, delivery: Delivery, error: Exception, bound: FilteringBoundLogger) -> None:
        """An error that nobody foresaw: a few tries, for it may pass, then a dead letter that names its kind.

        What the receiver has of it is unknown.
        """
        key, attempts = delivery.idempotency_key, delivery.attempts + 1
        code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
        bound.error("delivery_failed", code=code)
        if attempts >= GIVES_WAY:
            self._studies.refused(key, status=code)
            return
        pause = next_attempt(
            attempts, self._settings.first_retry_seconds, self._settings.longest_retry_seconds
        )
        self._studies.postponed(key, detail=code, until=self._clock.now() + timedelta(seconds=pause))

    def _not_reached(self, delivery: Delivery, error: Unreachable, bound: FilteringBoundLogger) -> None:
        """Later, and later each time; until it is no answer any more, or holds a newer report back."""
        key, longest = delivery.idempotency_key, self._settings.longest_retry_seconds
        pause = next_attempt(delivery.attempts + 1, self._settings.first_retry_seconds, longest)
        gives_way = delivery.attempts + 1 >= GIVES_WAY
        if error.answered and gives_way and pause >= longest:
            bound.error("delivery_refused", status=error.detail)
            self._studies.refused(key, status=error.detail)
            return
        bound.warning("delivery_postponed", detail=error.detail, seconds=pause)
        self._studies.postponed(
            key,
            detail=error.detail,
            until=self._clock.now() + timedelta(seconds=pause),
            not_taken=error.not_taken,
        )
        if self._work is not None:
            self._work.suspect(delivery.destination, error.detail)
        if gives_way and self._studies.followed(key):
            bound.warning("delivery_withdrawn", reason="gave_way")
            self._studies.withdrawn(key, reason="gave_way")

    def _hasten(self, destination: str) -> None:
        """It takes reports, so it is there; those it did not take wait no day for their next try."""
        now = self._clock.now()
        before = self._hastened.get(destination)
        if self._work is None or (before is not None and abs(now - before) < HASTE_PAUSE):
            return
        self._hastened[destination] = now
        self._work.answers(destination)  # also where a knock had no answer: it may be wrong
        self._work.hasten(destination, WHILE_IT_TAKES)
