"""The work engine on DBOS Transact: durable queues in the same kind of database as the records.

Two queues. `analyse` runs one workflow per study and revision, `deliver` one per delivery and attempt,
one at a time per destination, or per lane of one that takes several. A workflow's arguments are identifiers
only: the engine keeps them in clear text. What killed the process in the middle runs again after the next
start (ADR-0002).
"""

from __future__ import annotations

import logging
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import partial

from dbos import DBOS, DBOSConfig, EnqueueOptions, SetEnqueueOptions, SetWorkflowID, WorkflowStatus

from hoichan.adapters.database import open_database
from hoichan.adapters.engine_queued import ANALYSE, DELIVER
from hoichan.errors import HoichanError
from hoichan.types import Delivery, StudyInstanceUID

WORKFLOW_EPOCH = "1"  # raised by hand when a queued workflow could not be finished by the new code
POISON_AFTER = 10  # deaths of the process in the middle of one workflow before it is set aside
GAVE_UP = frozenset({"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})
ENDED = GAVE_UP | {"SUCCESS"}
KNOWN = {"study": ANALYSE, "delivery": DELIVER}  # queue by workflow
_FORGOTTEN_AT_ONCE = 500  # pieces of work in one transaction

Analyse = Callable[[StudyInstanceUID, int], None]  # handles its own errors: on return the step is done
Deliver = Callable[[str], None]


class EngineDbos:
    """The `Engine` port. One per process: DBOS keeps its registry process-wide."""

    def __init__(
        self,
        url: str,
        *,
        executor_id: str,
        analyse: Analyse,
        deliver: Deliver,
        concurrency: int,
        poll_seconds: float,
        at_a_time: Mapping[str, int] | None = None,
        epoch: str = WORKFLOW_EPOCH,
    ) -> None:
        """`at_a_time`: deliveries by destination; one where nothing is said.

        `epoch`: another one only where a test plays another version of this program.
        """
        self._executor_id, self._epoch = executor_id, epoch
        self._at_a_time = at_a_time or {}
        engine = open_database(url)
        config: DBOSConfig = {
            "name": "hoichan",
            "system_database_url": url,
            "system_database_engine": engine,
            "executor_id": executor_id,
            "application_version": epoch,
            "log_level": "ERROR",
            "notification_listener_polling_interval_sec": poll_seconds,
        }
        logging.getLogger("dbos").addFilter(_without_traceback)
        DBOS(config=config)

        again = partial(
            DBOS.step,
            retries_allowed=True,
            max_attempts=8,  # 2, 4, 8 ... seconds: a little over four minutes without a database
            interval_seconds=2.0,
            should_retry=_worth_a_retry,
        )

        @again(name="analyse_study")
        def analyse_step(study: str, revision: int) -> None:
            analyse(StudyInstanceUID(study), revision)

        @DBOS.workflow(name="study", max_recovery_attempts=POISON_AFTER)
        def study_workflow(study: str, revision: int) -> None:
            analyse_step(study, revision)

        @again(name="try_delivery")
        def deliver_step(key: str) -> None:
            deliver(key)

        @DBOS.workflow(name="delivery", max_recovery_attempts=POISON_AFTER)
        def delivery_workflow(key: str) -> None:
            deliver_step(key)

        self._study, self._delivery = study_workflow, delivery_workflow
        DBOS.launch()
        DBOS.register_queue(ANALYSE, worker_concurrency=concurrency, polling_interval_sec=poll_seconds)
        DBOS.register_queue(DELIVER, partition_concurrency=1, polling_interval_sec=poll_seconds)
        self.adopt()

    def enqueue_study(self, study: StudyInstanceUID, revision: int, run: int = 0, *, band: int = 2) -> None:
        """Have one revision analysed; the same call twice is one piece of work. A lower band goes first."""
        with SetWorkflowID(_study_id(study, revision, run)), SetEnqueueOptions(priority=band + 1):
            DBOS.enqueue_workflow(ANALYSE, self._study, study, revision)

    def gave_up(self, study: StudyInstanceUID, revision: int, run: int = 0) -> bool:
        """Whether this piece of work ended without being done, so that nothing will come of waiting."""
        status = DBOS.get_workflow_status(_study_id(study, revision, run))
        return status is not None and status.status in GAVE_UP

    def enqueue_delivery(self, delivery: Delivery) -> None:
        """Have one delivery tried; the same key and number of attempts twice is one piece of work."""
        name = f"delivery:{delivery.idempotency_key}:{delivery.attempts}"
        with SetWorkflowID(name), SetEnqueueOptions(queue_partition_key=self._lane(delivery)):
            DBOS.enqueue_workflow(DELIVER, self._delivery, delivery.idempotency_key)
        status = DBOS.get_workflow_status(name)
        if status is not None and status.status in GAVE_UP:  # a try of long ago that found no database
            DBOS.resume_workflow(name)

    def _lane(self, delivery: Delivery) -> str:
        """The partition of the queue: all deliveries of a study to a destination are in the same."""
        lanes = self._at_a_time.get(delivery.destination, 1)
        lane = zlib.crc32(delivery.study_instance_uid.encode()) % lanes
        return f"{delivery.destination}#{lane}" if lane else delivery.destination

    def queued(self) -> Mapping[str, int]:
        """Waiting and running pieces of work by queue."""
        found = DBOS.list_workflows(status=["ENQUEUED", "PENDING"], load_input=False, load_output=False)
        return Counter(workflow.queue_name or "" for workflow in found)

    def reap(self, alive: Collection[str]) -> int:
        """Give the running work of executors that are not alive to others; returns how many pieces."""
        running = DBOS.list_workflows(status=["PENDING"], load_input=False, load_output=False)
        dead = [w for w in running if w.executor_id not in alive or self._is_of_our_past(w)]
        for queue in (ANALYSE, DELIVER):
            names = [w.workflow_id for w in dead if w.queue_name == queue]
            if names:
                DBOS.resume_workflows(names, queue_name=queue)
        self.adopt()
        return len(dead)

    def adopt(self) -> int:
        """Take over the waiting work of another epoch, after an upgrade or going back; how many pieces.

        The engine would never run it: a worker takes up only what carries its own version. A kill between the
        two calls loses nothing, for the record knows what has no answer.
        """
        others = [v["version_name"] for v in DBOS.list_application_versions()]
        others = [version for version in others if version != self._epoch]
        if not others:
            return 0
        left = DBOS.list_workflows(
            status=["ENQUEUED", "DELAYED", "PENDING"],
            name=list(KNOWN),
            app_version=others,
            load_output=False,
        )
        adopted = 0
        for workflow in left:
            if workflow.status == "PENDING" and not self._is_of_our_past(workflow):
                continue
            DBOS.delete_workflows([workflow.workflow_id])
            enqueue_again(DBOS.enqueue_workflow_with_options, workflow)
            adopted += 1
        return adopted

    def _is_of_our_past(self, workflow: WorkflowStatus) -> bool:
        """Whether this very worker ran it, in another epoch: it was replaced while it worked."""
        return workflow.executor_id == self._executor_id and workflow.app_version not in (None, self._epoch)

    def trim(self, before: datetime) -> int:
        """Forget work that ended before a moment: the record has what came of it. Returns how many pieces."""
        forgotten = 0
        while True:
            found = DBOS.list_workflows(
                status=list(ENDED),
                completed_before=before.astimezone(UTC).isoformat(),
                limit=_FORGOTTEN_AT_ONCE,
                load_input=False,
                load_output=False,
            )
            if found:
                DBOS.delete_workflows([workflow.workflow_id for workflow in found])
                forgotten += len(found)
            if len(found) < _FORGOTTEN_AT_ONCE:
                return forgotten

    def close(self) -> None:
        """Stop taking work; what runs is taken up again after the next start."""
        DBOS.destroy()


def enqueue_again(enqueue: Callable[..., object], workflow: WorkflowStatus) -> None:
    """Put a piece of work into its queue under its own name, for any version of this program."""
    options: EnqueueOptions = {
        "workflow_name": workflow.name,
        "queue_name": workflow.queue_name or KNOWN[workflow.name],
        "workflow_id": workflow.workflow_id,
    }
    if workflow.priority:
        options["priority"] = workflow.priority
    if workflow.queue_partition_key:
        options["queue_partition_key"] = workflow.queue_partition_key
    if workflow.deduplication_id:
        options["deduplication_id"] = workflow.deduplication_id
    if workflow.delay_until_epoch_ms:
        options["delay_seconds"] = max(0.0, workflow.delay_until_epoch_ms / 1000 - time.time())
    given = workflow.input or {"args": (), "kwargs": {}}
    enqueue(options, *given["args"], **given["kwargs"])


def _study_id(study: StudyInstanceUID, revision: int, run: int) -> str:
    return f"study:{study}:{revision}" + (f":{run}" if run else "")


def _worth_a_retry(error: BaseException) -> bool:
    return isinstance(error, HoichanError) and error.retryable


def _without_traceback(record: logging.LogRecord) -> bool:
    """Keep a third party's traceback, which may quote a data set, out of the log."""
    record.exc_info = None
    record.exc_text = None
    return True
