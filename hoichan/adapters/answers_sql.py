"""What the machine answered to a revision: which answer stands, and what a repetition makes of it.

`StudiesSql` builds on this class; the two are one port, split to be readable.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters import patients_sql, reports_asked, review_rows, rows
from hoichan.adapters.deliveries_asked import is_report
from hoichan.adapters.rejections_sql import RejectionsSql
from hoichan.adapters.review_standing import standing
from hoichan.adapters.schema import deliveries, reports, results, revisions, studies
from hoichan.adapters.transactions import transaction
from hoichan.adapters.ups_steps import note_step
from hoichan.errors import PatientCorrected
from hoichan.types import (
    DeliveryState,
    Outcome,
    Refusal,
    Report,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
    StudyState,
)

_OPEN = (DeliveryState.PENDING, DeliveryState.DEAD)


class AnswersSql(RejectionsSql):
    """The machine's reports of each revision. Every method may raise RecordsUnavailable (try again)."""

    def latest_report_uid(self, study: StudyInstanceUID, *, before: int) -> SOPInstanceUID | None:
        """The machine's newest report of the revisions below `before`."""
        return next((uid for uid, _ in self.told(study, before - 1)), None)

    def told(
        self, study: StudyInstanceUID, revision: int
    ) -> Sequence[tuple[SOPInstanceUID, SOPInstanceUID | None]]:
        """The machine's reports up to a revision with what each replaced, newest first."""
        with transaction(self._engine) as connection:
            found = connection.execute(reports_asked.told(study, revision)).all()
        return [(SOPInstanceUID(uid), SOPInstanceUID(old) if old else None) for uid, old in found]

    def answer(self, study: Study) -> Report | None:
        """The machine's report of just this revision that stands, as it is kept; None: there is none."""
        with transaction(self._engine) as connection:
            query = reports_asked.answer(study.study_instance_uid, study.revision)
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            ran = connection.execute(sa.select(results).where(results.c.report_uid == row["report_uid"]))
            return review_rows.machine_report(row, list(ran.mappings()), study)

    def keep(self, study: Study, *, answer: SOPInstanceUID, unheard: Sequence[Refusal]) -> bool:
        """End a repetition that came to nothing: the study stands where it stood, and the trail says why.

        False, and nothing is changed, where the answer does not stand any more. Twice is once. What was
        cancelled meanwhile stays cancelled. Raises PatientCorrected (try again).
        """
        uid = study.study_instance_uid
        with transaction(self._engine) as connection:
            if not patients_sql.is_person_of(connection, rows.study_row(study)):
                raise PatientCorrected(f"The patient of study {uid} was corrected.")
            stands = connection.execute(reports_asked.answer(uid, study.revision)).mappings().first()
            if stands is None or stands["report_uid"] != answer:
                return False
            state = self._revision_state(connection, study)
            if state == StudyState.CANCELLED:
                self._trail(connection, uid, "analysis_discarded", {"revision": study.revision})
            elif state == StudyState.ASSEMBLED:
                self._end(connection, uid, study.revision, StudyState.REPORTED)
                self._stand(connection, study, answer)
                details: dict[str, str | int] = {
                    "revision": study.revision,
                    "report": answer,
                    "models": ", ".join(sorted({one.algorithm_name or "" for one in unheard})),
                    "refusals": ",".join(sorted({one.code for one in unheard})),
                }
                self._trail(connection, uid, "answer_kept", details)
        return True

    # ------------------------------------------------------------------ shared steps
    def _revision_state(self, connection: sa.Connection, study: Study) -> str | None:
        state: str | None = connection.execute(
            sa.select(revisions.c.state)
            .where(
                revisions.c.study_instance_uid == study.study_instance_uid,
                revisions.c.revision == study.revision,
            )
            .with_for_update()  # somebody may cancel it at this moment
        ).scalar()
        return state

    def _answered_again(self, connection: sa.Connection, study: Study, report: Report, added: int) -> None:
        """A repeated analysis came to the report that is there: the study stands where it stood.

        Or its documents were made once more, for a receiver that had none.
        """
        uid = study.study_instance_uid
        if self._revision_state(connection, study) == StudyState.ASSEMBLED:
            self._end(connection, uid, study.revision, StudyState.REPORTED)
        elif not added:
            return  # a repeated step after a crash
        self._stand(connection, study, report.report_uid)
        self._trail(connection, uid, "report_confirmed", {"revision": study.revision, "deliveries": added})

    def _stand(self, connection: sa.Connection, study: Study, report: SOPInstanceUID) -> None:
        """The study stands where the kept report of its revision and the deliveries of that put it.

        Not one to which images came meanwhile, or that has a newer revision.
        """
        uid = study.study_instance_uid
        head = connection.execute(
            sa.select(studies.c.state, studies.c.last_revision)
            .where(studies.c.study_instance_uid == uid)
            .with_for_update()
        ).one()
        if head.state == StudyState.RECEIVING or head.last_revision != study.revision:
            return
        kept = connection.execute(
            sa.select(reports.c.outcome, reports.c.refusals).where(reports.c.report_uid == report)
        ).one()
        open_ones = connection.execute(
            sa.select(sa.func.count())
            .select_from(deliveries)
            .where(deliveries.c.report_uid == report, deliveries.c.state.in_(_OPEN), is_report(deliveries))
        ).scalar_one()
        signed = standing(connection, [uid]).get(uid)
        reason = None
        if signed is not None and signed["revision"] == study.revision:
            state = StudyState.SIGNED
        elif kept.outcome == Outcome.NOT_ANALYSED:
            state = StudyState.NOT_ANALYSED
            reason = next((one["code"] for one in kept.refusals), None)
        else:
            state = StudyState.REPORTED if open_ones else StudyState.DELIVERED
        self._move(connection, uid, state, state_reason=reason)

    def _reported(self, connection: sa.Connection, study: Study, report: Report, count: int) -> None:
        refused = report.outcome is Outcome.NOT_ANALYSED
        uid = study.study_instance_uid
        self._end(connection, uid, study.revision, StudyState.REPORTED)
        newest = connection.execute(
            sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == uid)
        ).scalar()
        if newest == study.revision:  # an older revision's report does not move a study that went on
            self._move(
                connection,
                uid,
                StudyState.NOT_ANALYSED if refused else StudyState.REPORTED,
                state_reason=report.refusals[0].code if refused and report.refusals else None,
                tier=rows.tier_rank(report.tier),
                reported_at=report.created_at,
                delivered_at=None,
            )
        self._trail(
            connection,
            uid,
            "report_saved",
            {
                "revision": study.revision,
                "report": report.report_uid,
                "outcome": report.outcome,
                "positives": len(report.positives),
                "refusals": ",".join(sorted({r.code for r in report.refusals})) or None,
                "deliveries": count,
            },
        )

    def _end(self, connection: sa.Connection, uid: StudyInstanceUID, at: int, state: StudyState) -> None:
        connection.execute(of_revision(uid, at).values(state=state))
        note_step(connection, uid, at, self._clock.now())


def of_revision(study: StudyInstanceUID, revision: int) -> sa.Update:
    """A change of one revision."""
    return revisions.update().where(revisions.c.study_instance_uid == study, revisions.c.revision == revision)
