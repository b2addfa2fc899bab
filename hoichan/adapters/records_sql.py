"""The record of every study, on SQLAlchemy: SQLite in one PC, PostgreSQL beyond it.

Every method that writes is one transaction. Writing the same thing twice changes nothing, so that a
step which is repeated after a crash has the effect of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from hoichan.adapters import insurance_sql, patients_sql, rows
from hoichan.adapters.answers_sql import AnswersSql, of_revision
from hoichan.adapters.links_sql import ordered
from hoichan.adapters.review_standing import not_of_a_report_taken_back, not_over_a_signature
from hoichan.adapters.schema import (
    deliveries,
    documents,
    instances,
    reports,
    results,
    revisions,
    series,
    studies,
)
from hoichan.adapters.schema_volumes import volume_results
from hoichan.adapters.transactions import transaction
from hoichan.adapters.ups_steps import note_step
from hoichan.errors import PatientCorrected, StudyUnknown
from hoichan.types import (
    Delivery,
    Document,
    Instance,
    Report,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    StudyState,
)


class StudiesSql(AnswersSql):
    """The `Studies` port on a SQL database and a store of documents."""

    # ------------------------------------------------------------------ arrival and assembly
    def add_arrivals(self, study: Study, arrivals: Sequence[Instance]) -> int:
        """Record instances that were not known; returns how many were new."""
        wanted = {arrival.sop_instance_uid for arrival in arrivals}
        with transaction(self._engine) as connection:
            known = self._known(connection, study.study_instance_uid)
            new = [i for i in study.instances if i.sop_instance_uid in wanted - known]
            if not new:
                return 0
            self._put_study(connection, study)
            for one in study.series:
                rows.insert_once(connection, series, rows.series_row(study, one))
                for instance in one.instances:
                    if instance in new:
                        rows.insert_once(connection, instances, rows.instance_row(study, one, instance))
            self._trail(
                connection,
                study.study_instance_uid,
                "instances_received",
                {"instances": len(new), "sender": study.calling_ae_title},
            )
        return len(new)

    def current(self, study: StudyInstanceUID) -> Study | None:
        """The study with every instance recorded so far, assembled or not; None when it is unknown."""
        with transaction(self._engine) as connection:
            head = (
                connection.execute(
                    sa.select(
                        studies, sa.literal("").label("closed_by"), studies.c.state.label("revision_state")
                    ).where(studies.c.study_instance_uid == study)
                )
                .mappings()
                .one_or_none()
            )
            if head is None:
                return None
            return self._read(connection, head, head["last_revision"], sa.true())

    def receiving(self) -> Sequence[StudyInstanceUID]:
        """Studies with instances that no revision holds yet."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(studies.c.study_instance_uid).where(studies.c.state == StudyState.RECEIVING)
            )
            return [StudyInstanceUID(uid) for (uid,) in found]

    def assemble(self, study: Study) -> Study | None:
        """Close a revision over the given instances; None when the last one holds them all already."""
        uid = study.study_instance_uid
        with transaction(self._engine) as connection:
            last = connection.execute(
                sa.select(studies.c.last_revision)
                .where(studies.c.study_instance_uid == uid)
                .with_for_update()  # two workers looking at one study close one revision, not two
            ).scalar()
            waiting = connection.execute(
                sa.select(sa.func.count())
                .select_from(instances)
                .where(instances.c.study_instance_uid == uid, instances.c.revision.is_(None))
            ).scalar()
            if last is None or not waiting:
                return None
            assembled = replace(study, revision=last + 1, state=StudyState.ASSEMBLED)
            connection.execute(
                revisions.insert().values(
                    study_instance_uid=uid,
                    revision=assembled.revision,
                    state=StudyState.ASSEMBLED,
                    closed_by=study.closed_by,
                    assembled_at=self._clock.now(),
                )
            )
            connection.execute(
                instances.update()
                .where(instances.c.study_instance_uid == uid, instances.c.revision.is_(None))
                .values(revision=assembled.revision)
            )
            note_step(connection, uid, assembled.revision, self._clock.now())
            self._move(connection, uid, StudyState.ASSEMBLED, last_revision=assembled.revision)
            self._trail(
                connection,
                uid,
                "study_assembled",
                {
                    "revision": assembled.revision,
                    "instances": len(assembled.instances),
                    "closed_by": study.closed_by,
                },
            )
        return assembled

    def load(self, study: StudyInstanceUID, revision: int) -> Study:
        """One revision: every instance that had arrived when it was closed. Raises StudyUnknown."""
        with transaction(self._engine) as connection:
            head = (
                connection.execute(
                    sa.select(studies, revisions.c.closed_by, revisions.c.state.label("revision_state"))
                    .join(revisions, revisions.c.study_instance_uid == studies.c.study_instance_uid)
                    .where(studies.c.study_instance_uid == study, revisions.c.revision == revision)
                )
                .mappings()
                .one_or_none()
            )
            if head is None:
                raise StudyUnknown(f"No study {study} at revision {revision}.")
            return self._read(connection, head, revision, instances.c.revision <= revision)

    def _read(
        self, connection: sa.Connection, head: rows.Row, revision: int, which: sa.ColumnElement[bool]
    ) -> Study:
        uid = head["study_instance_uid"]
        found = connection.execute(
            sa.select(instances)
            .where(instances.c.study_instance_uid == uid, which)
            .order_by(instances.c.series_instance_uid, instances.c.instance_number, instances.c.path)
        ).mappings()
        groups = connection.execute(
            sa.select(series)
            .where(series.c.study_instance_uid == uid)
            .order_by(series.c.series_number, series.c.series_instance_uid)
        ).mappings()
        known = ordered(connection, insurance_sql.insured(connection, head))
        return rows.study(known, list(groups), list(found), revision)

    def unfinished(self) -> Sequence[tuple[StudyInstanceUID, int, int]]:
        """Study, revision and run of what was assembled and has neither a report nor a failure."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(revisions.c.study_instance_uid, revisions.c.revision, revisions.c.runs)
                .where(revisions.c.state == StudyState.ASSEMBLED)
                .order_by(revisions.c.assembled_at)
            )
            return [(StudyInstanceUID(uid), revision, run) for uid, revision, run in found]

    def rerun(self, study: StudyInstanceUID) -> int | None:
        """Have the newest revision analysed again if it failed or was cancelled; its number, else None."""
        with transaction(self._engine) as connection:
            newest = sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == study)
            revision: int | None = connection.execute(
                revisions.update()
                .where(
                    revisions.c.study_instance_uid == study,
                    revisions.c.revision == newest.scalar_subquery(),
                    revisions.c.state.in_([StudyState.FAILED, StudyState.CANCELLED]),
                )
                .values(state=StudyState.ASSEMBLED, runs=revisions.c.runs + 1, begun=0)
                .returning(revisions.c.revision)
            ).scalar()
            if revision is not None:
                note_step(connection, study, revision, self._clock.now())
                self._move(connection, study, StudyState.ASSEMBLED, state_reason=None)
                self._trail(connection, study, "analysis_requested_again", {"revision": revision})
            return revision

    def take_up(self, study: StudyInstanceUID, revision: int) -> int | None:
        """Count another run of a revision whose work was given up; the run, or None when it has an answer."""
        with transaction(self._engine) as connection:
            run: int | None = connection.execute(
                of_revision(study, revision)
                .where(revisions.c.state == StudyState.ASSEMBLED)
                .values(runs=revisions.c.runs + 1)
                .returning(revisions.c.runs)
            ).scalar()
            if run is not None:
                self._trail(connection, study, "analysis_taken_up_again", {"revision": revision})
            return run

    def own(self, candidates: Sequence[SOPInstanceUID]) -> set[SOPInstanceUID]:
        """Those of the instances that are documents of ours, come back from a PACS."""
        with transaction(self._engine) as connection:
            asked = sa.select(documents.c.uid).where(documents.c.uid.in_(list(candidates)))
            return {SOPInstanceUID(uid) for uid in connection.execute(asked).scalars()}

    def begin(self, study: StudyInstanceUID, revision: int) -> int:
        """Count one start of the analysis; returns how many starts, this one included, had no end."""
        with transaction(self._engine) as connection:
            begun: int | None = connection.execute(
                of_revision(study, revision).values(begun=revisions.c.begun + 1).returning(revisions.c.begun)
            ).scalar()
            if begun is None:
                raise StudyUnknown(f"No study {study} at revision {revision}.")
            note_step(connection, study, revision, self._clock.now())
            self._trail(connection, study, "analysis_begun", {"revision": revision})
        return begun

    def end(self, study: StudyInstanceUID, revision: int) -> None:
        """The analysis ended, well or badly, and its worker lives."""
        with transaction(self._engine) as connection:
            connection.execute(of_revision(study, revision).values(begun=0))

    def fail(self, study: StudyInstanceUID, revision: int, *, code: str) -> None:
        """Mark a revision failed, with the code of the error."""
        with transaction(self._engine) as connection:
            self._end(connection, study, revision, StudyState.FAILED)
            self._move(connection, study, StudyState.FAILED, state_reason=code)
            self._trail(connection, study, "study_failed", {"revision": revision, "code": code})

    # ------------------------------------------------------------------ reports
    def save(
        self, study: Study, *, report: Report, documents: Sequence[Document], deliveries: Sequence[Delivery]
    ) -> bool:
        """Report, results, documents and deliveries in one transaction; False when already there.

        Of a report that is there only what it lacks is added, such as a delivery to a new receiver. What was
        cancelled meanwhile is not saved.

        The bytes of the documents are on disk before the transaction begins: a row never points to
        something that is not there.
        """
        digests = [self._objects.put(document.content) for document in documents]
        with transaction(self._engine) as connection:
            if not patients_sql.is_person_of(connection, rows.study_row(study)):
                raise PatientCorrected(f"The patient of study {study.study_instance_uid} was corrected.")
            deliveries = not_over_a_signature(connection, study.study_instance_uid, deliveries)
            deliveries = not_of_a_report_taken_back(connection, report.report_uid, deliveries)
            if self._revision_state(connection, study) == StudyState.CANCELLED:
                details = {"revision": study.revision}
                self._trail(connection, study.study_instance_uid, "analysis_discarded", details)
                return False
            if not rows.insert_once(connection, reports, rows.report_row(report)):
                self._add_documents(connection, report, documents, digests)
                added = sum([self._add_delivery(connection, report, delivery) for delivery in deliveries])
                self._answered_again(connection, study, report, added)
                return False
            for result in report.results:
                connection.execute(results.insert().values(rows.result_row(report, result)))
            for volume in report.volumes:
                connection.execute(volume_results.insert().values(rows.volume_result_row(report, volume)))
            self._add_documents(connection, report, documents, digests)
            for delivery in deliveries:
                self._add_delivery(connection, report, delivery)
            self._reported(connection, study, report, len(deliveries))
        return True

    def _add_documents(
        self, connection: sa.Connection, report: Report, made: Sequence[Document], digests: Sequence[str]
    ) -> None:
        for position, (document, digest) in enumerate(zip(made, digests, strict=True)):
            row = rows.document_row(report.report_uid, document, position, digest)
            rows.insert_once(connection, documents, row)

    def _add_delivery(self, connection: sa.Connection, report: Report, delivery: Delivery) -> bool:
        row = rows.delivery_row(delivery, report.revision, self._clock.now())
        return rows.insert_once(connection, deliveries, row)

    # ------------------------------------------------------------------ shared steps
    def _known(self, connection: sa.Connection, uid: StudyInstanceUID) -> set[SOPInstanceUID]:
        asked = sa.select(instances.c.sop_instance_uid).where(instances.c.study_instance_uid == uid)
        return {SOPInstanceUID(one) for one in connection.execute(asked).scalars()}

    def _put_study(self, connection: sa.Connection, study: Study) -> None:
        values = rows.study_row(study)
        is_new = rows.insert_once(connection, studies, {**values, "state": StudyState.RECEIVING})
        patients_sql.index_study(connection, values)
        if is_new:
            return
        del values["first_received_at"]
        values = patients_sql.without_person(connection, values)
        if "urgency" in values:  # the most urgent that any image or order said
            urgency = sa.cast(values["urgency"], sa.Integer)
            values["urgency"] = sa.case((studies.c.urgency > urgency, urgency), else_=studies.c.urgency)
        connection.execute(
            studies.update()
            .where(studies.c.study_instance_uid == study.study_instance_uid)
            .values(**values, state=StudyState.RECEIVING)
        )
