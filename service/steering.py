"""Stop the work on a study, repeat it from a step, and find a study by what somebody has in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from hoichan.adapters import schema
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.errors import ConfigurationError
from hoichan.intake.door import is_uid
from hoichan.ports import Studies
from hoichan.reporting.deliveries import is_closed
from hoichan.types import DeliveryState, StudyInstanceUID
from service.wiring import House

MOST_FOUND = 20


class Step(StrEnum):
    """Where a repetition begins; what follows on it is repeated too."""

    ASSEMBLE = "assemble"  # a new revision over all images
    ANALYSE = "analyse"  # the models, the documents, and what was not sent yet
    COMPOSE = "compose"  # the documents of the kept report that it lacks; models only where they are needed
    DELIVER = "deliver"  # the kept documents, also where they were acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay set in motion."""

    assembled_again: bool = False
    analysed_again: int | None = None  # revision
    deliveries: int = 0
    composed: int | None = None  # deliveries that were added, with documents from what is kept
    waits: bool = False  # for the off-peak hours

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.assembled_again or self.analysed_again or self.deliveries) and self.composed is None


def replay(studies: Studies, study: StudyInstanceUID) -> Replay:
    """Repeat what failed or was cancelled: the newest revision's analysis, and what is not acknowledged."""
    revision = studies.rerun(study)
    open_ones = [
        one
        for one in studies.deliveries(study)
        if one.state is not DeliveryState.SENT and not is_closed(one.state, one.acknowledgement)
    ]
    for delivery in open_ones:
        studies.revive(delivery.idempotency_key)
    return Replay(analysed_again=revision, deliveries=len(open_ones))


def replay_from(
    house: House, study: StudyInstanceUID, step: Step, *, to: str | None = None, at_once: bool = False
) -> Replay:
    """Repeat a study from one step. Raises StudyUnknown, or ConfigurationError for an unknown receiver.

    `to`: with `Step.DELIVER` this receiver only. Unless `at_once` an analysis waits for `work.backlog_hours`.
    """
    names = {destination.name for destination in house.settings.effective_destinations}
    if to is not None and (to not in names or step is not Step.DELIVER):
        raise ConfigurationError(f"--to needs --from deliver and one of: {', '.join(sorted(names))}.")
    waits = house.settings.work.backlog_hours is not None and not at_once
    match step:
        case Step.ASSEMBLE:
            done = house.steering.assemble_again(study)
            if done:
                house.spool.mark_fresh(study)
            return Replay(assembled_again=done)
        case Step.COMPOSE if (added := _composed(house, study)) is not None:
            return Replay(composed=added)
        case Step.ANALYSE | Step.COMPOSE:
            revision = house.steering.analyse_again(study, backlog=waits)
            return Replay(analysed_again=revision, waits=waits and revision is not None)
        case Step.DELIVER:
            return Replay(deliveries=_send_again(house, study, to))


def _composed(house: House, study: StudyInstanceUID) -> int | None:
    from service.recomposing import compose_again  # noqa: PLC0415  what writes documents takes a second

    return compose_again(house, study)


def _send_again(house: House, study: StudyInstanceUID, to: str | None) -> int:
    keys = house.steering.newest_deliveries(study)
    chosen = [key for key in keys if to is None or house.studies.delivery(key).destination == to]
    for key in chosen:
        house.studies.revive(key, even_sent=True)
    return len(chosen)


def find(house: House, text: str) -> Sequence[StudyInstanceUID]:
    """The studies that a Study Instance UID, an accession number or a patient identifier names.

    Newest first, at most `MOST_FOUND`. A UID also names a study of which every image was refused. Raises
    RecordsUnavailable.
    """
    if is_uid(text):
        uid = StudyInstanceUID(text)
        if house.studies.trail(uid) or QuarantineSql(house.engine, house.clock).names(uid):
            return [uid]
    with house.engine.connect() as connection:
        found = connection.execute(
            sa.select(schema.studies.c.study_instance_uid)
            .where(sa.or_(schema.studies.c.accession_number == text, schema.studies.c.patient_id == text))
            .order_by(schema.studies.c.first_received_at.desc(), schema.studies.c.study_instance_uid)
            .limit(MOST_FOUND)
        )
        return [StudyInstanceUID(uid) for (uid,) in found]
