"""One try of one delivery: one row, one receiver, one acknowledgement.

The row is the truth. A try that was repeated after a crash, or that comes too early, finds the row
settled or not yet due and does nothing; the receiver sees the same bytes under the same UIDs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from hoichan.adapters.work_sql import WorkSql
from hoichan.errors import Refused, Unreachable
from hoichan.ports import Clock, Sink, Studies
from hoichan.reporting.deliveries import next_attempt
from hoichan.settings import Work
from hoichan.types import DeliveryState

log = structlog.get_logger()

# So many tries without an answer, some twenty minutes: a receiver that is down is not tried so often, so this
# one report is what it cannot take. It then holds no newer report of its study back, and never follows it.
GIVES_WAY = 8
# A receiver that takes other reports is asked at least this often to take one that it did not take.
WHILE_IT_TAKES = timedelta(minutes=15)
HASTE_PAUSE = timedelta(minutes=1)  # between two looks at what waits long for one receiver
AWAITED = "receiver_awaited"  # written at the page, and not put together in this process yet
AWAITED_AT_MOST_SECONDS = 60.0
# Who answers "later" (HL7 AR) until the pause is as long as it gets has refused: a dead letter.


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
    ) -> None:
        """`work` hears who does not answer; without it nobody knocks there.

        `awaited`: whether a receiver that is not known here will be in a moment.
        """
        self._studies = studies
        self._sinks = sinks
        self._clock = clock
        self._settings = settings
        self._work = work
        self._awaited = awaited
        self._hastened: dict[str, datetime] = {}

    def deliver(self, idempotency_key: str) -> None:
        """Try one delivery now. Raises RecordsUnavailable; everything else ends in the row."""
        delivery = self._studies.delivery(idempotency_key)
        now = self._clock.now()
        if delivery.state is not DeliveryState.PENDING or delivery.next_attempt_at > now:
            return
        bound = log.bind(
            study=delivery.study_instance_uid, report=delivery.report_uid, destination=delivery.destination
        )
        sink = self._sinks.get(delivery.destination)
        if sink is None and self._awaited(delivery.destination):
            first = self._settings.first_retry_seconds
            pause = next_attempt(delivery.attempts + 1, first, AWAITED_AT_MOST_SECONDS)
            bound.warning("delivery_postponed", detail=AWAITED, seconds=pause)
            self._studies.postponed(
                idempotency_key, detail=AWAITED, until=now + timedelta(seconds=pause), not_taken=True
            )
            return
        if sink is None:
            bound.error("delivery_refused", status="destination_not_configured")
            self._studies.refused(idempotency_key, status="destination_not_configured")
            return
        if self._studies.overtaken(idempotency_key):
            bound.warning("delivery_withdrawn", reason="overtaken")
            self._studies.withdrawn(idempotency_key, reason="overtaken")
            return
        if self._studies.passed(idempotency_key):  # its try waited longer than the newer one's
            later = now + timedelta(seconds=self._settings.first_retry_seconds)
            self._studies.postponed(idempotency_key, detail="overtaking", until=later, not_taken=True)
            return
        try:
            acknowledgement = sink.deliver(delivery, self._studies.documents(delivery))
        except Unreachable as error:
            pause = next_attempt(
                delivery.attempts + 1,
                self._settings.first_retry_seconds,
                self._settings.longest_retry_seconds,
            )
            is_last = error.answered and delivery.attempts + 1 >= GIVES_WAY
            if is_last and pause >= self._settings.longest_retry_seconds:
                bound.error("delivery_refused", status=error.detail)
                self._studies.refused(idempotency_key, status=error.detail)
                return
            bound.warning("delivery_postponed", detail=error.detail, seconds=pause)
            self._studies.postponed(
                idempotency_key,
                detail=error.detail,
                until=self._clock.now() + timedelta(seconds=pause),
                not_taken=error.not_taken,
            )
            if self._work is not None:
                self._work.suspect(delivery.destination, error.detail)
            if delivery.attempts + 1 >= GIVES_WAY and self._studies.followed(idempotency_key):
                bound.warning("delivery_withdrawn", reason="gave_way")
                self._studies.withdrawn(idempotency_key, reason="gave_way")
        except Refused as error:
            bound.error("delivery_refused", status=error.status)
            self._studies.refused(idempotency_key, status=error.status)
        else:
            bound.info("delivery_acknowledged", acknowledgement=acknowledgement)
            self._studies.acknowledged(idempotency_key, acknowledgement)
            self._hasten(delivery.destination)

    def _hasten(self, destination: str) -> None:
        """It takes reports: those it did not take wait no day for their next try."""
        now = self._clock.now()
        before = self._hastened.get(destination)
        if self._work is None or (before is not None and abs(now - before) < HASTE_PAUSE):
            return
        self._hastened[destination] = now
        self._work.hasten(destination, WHILE_IT_TAKES)
