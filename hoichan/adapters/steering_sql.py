"""What a person may ask of the work on a study: stop it, or repeat it from a step. One transaction each."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.deliveries_sql import DeliveriesSql
from hoichan.adapters.forwards_sql import ForwardsSql
from hoichan.adapters.review_standing import taken_back
from hoichan.adapters.schema import deliveries, instances, revisions, studies
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.schema_work import analyses
from hoichan.adapters.set_aside_sql import SetAsideSql
from hoichan.adapters.transactions import transaction
from hoichan.adapters.ups_steps import note_step
from hoichan.errors import StudyUnknown
from hoichan.reporting.deliveries import is_closed
from hoichan.types import DeliveryState, StudyInstanceUID, StudyState

STOPPABLE = (StudyState.ASSEMBLED, StudyState.FAILED)  # of a revision
UNSENT = (DeliveryState.PENDING, DeliveryState.DEAD)
CANCELLED = "cancelled"  # what stands as the answer of a delivery that a person stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What a cancelling stopped."""

    revisions: tuple[int, ...]
    deliveries: int


class SteeringSql(DeliveriesSql):
    """Stops and repeats."""

    def retry_forwards(self, study: StudyInstanceUID) -> int:
        """Send images on that a receiver refused or did not take yet, now; how many."""
        return ForwardsSql(self._engine, self._clock).retry(study)

    def release(self, study: StudyInstanceUID) -> int:
        """Have objects looked at again that were set aside because nobody could record them; how many."""
        return SetAsideSql(self._engine, self._clock).release(study)

    def cancel(self, study: StudyInstanceUID) -> Stopped:
        """Stop what is not done: analyses that wait, run or failed, and deliveries that are not acknowledged.

        An analysis that runs ends, and its answer is thrown away. What a receiver has stays there. Images
        that come later make a new revision, which is analysed. Raises StudyUnknown.
        """
        with transaction(self._engine) as connection:
            state = self._state(connection, study)
            stopped = tuple(
                connection.execute(
                    revisions.update()
                    .where(revisions.c.study_instance_uid == study, revisions.c.state.in_(STOPPABLE))
                    .values(state=StudyState.CANCELLED, begun=0)
                    .returning(revisions.c.revision)
                ).scalars()
            )
            for revision in stopped:
                note_step(connection, study, revision, self._clock.now())
            unsent = connection.execute(
                deliveries.update()
                .where(deliveries.c.study_instance_uid == study, deliveries.c.state.in_(UNSENT))
                .values(state=DeliveryState.CANCELLED, acknowledgement=CANCELLED)
            ).rowcount
            if stopped and state in STOPPABLE:
                self._move(connection, study, StudyState.CANCELLED, state_reason=None)
            if stopped or unsent:
                self._trail(
                    connection,
                    study,
                    "work_cancelled",
                    {"revisions": ", ".join(map(str, sorted(stopped))) or "-", "deliveries": unsent},
                )
        return Stopped(revisions=tuple(sorted(stopped)), deliveries=unsent)

    def analyse_again(self, study: StudyInstanceUID, *, backlog: bool = False) -> int | None:
        """Have the newest revision analysed again, whatever came of it; None where there is none.

        None too once a person has signed: nothing a machine does follows on that by itself. The same models
        give the same report, so nothing is sent twice. Raises StudyUnknown.
        """
        with transaction(self._engine) as connection:
            if self._state(connection, study) is StudyState.SIGNED:
                return None
            newest = sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == study)
            revision: int | None = connection.execute(
                revisions.update()
                .where(
                    revisions.c.study_instance_uid == study,
                    revisions.c.revision == newest.scalar_subquery(),
                )
                .values(state=StudyState.ASSEMBLED, runs=revisions.c.runs + 1, begun=0)
                .returning(revisions.c.revision)
            ).scalar()
            if revision is None:
                return None
            note_step(connection, study, revision, self._clock.now())
            key = {"study_instance_uid": study, "revision": revision}
            rows.insert_once(connection, analyses, {**key, "models": "", "backlog": backlog})
            connection.execute(
                analyses.update()
                .where(analyses.c.study_instance_uid == study, analyses.c.revision == revision)
                .values(backlog=backlog)
            )
            self._move(connection, study, StudyState.ASSEMBLED, state_reason=None)
            self._trail(connection, study, "analysis_requested_again", {"revision": revision})
            return revision

    def assemble_again(self, study: StudyInstanceUID) -> bool:
        """Have a new revision closed over all images; False once a person has signed. Raises StudyUnknown.

        Whoever calls has the spool looked at afterwards.
        """
        with transaction(self._engine) as connection:
            if self._state(connection, study) is StudyState.SIGNED:
                return False
            connection.execute(
                instances.update().where(instances.c.study_instance_uid == study).values(revision=None)
            )
            self._move(connection, study, StudyState.RECEIVING, state_reason=None)
            self._trail(connection, study, "assembly_requested_again", {})
        return True

    def newest_deliveries(self, study: StudyInstanceUID) -> tuple[str, ...]:
        """The key of the newest delivery to each receiver, unless its report was taken back."""
        with transaction(self._engine) as connection:
            of_it = retractions.c.study_instance_uid == study
            gone = {str(uid) for uid in connection.execute(taken_back().where(of_it)).scalars()}
        found = {one.destination: one for one in self.deliveries(study)}
        return tuple(
            one.idempotency_key
            for one in found.values()
            if one.report_uid not in gone and not is_closed(one.state, one.acknowledgement)
        )

    def _state(self, connection: sa.Connection, study: StudyInstanceUID) -> StudyState:
        state = connection.execute(
            sa.select(studies.c.state).where(studies.c.study_instance_uid == study).with_for_update()
        ).scalar()
        if state is None:
            raise StudyUnknown(f"No study {study}.")
        return StudyState(state)
