"""What rejection notes take back, wherever they lie: images by their UIDs, and reports of the machine.

`StudiesSql` builds on this class; the two are one port, split to be readable.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import sqlalchemy as sa

from hoichan.adapters import reports_asked as asked
from hoichan.adapters import review_rows, rows
from hoichan.adapters.deliveries_sql import DeliveriesSql
from hoichan.adapters.person_rows import PERSON
from hoichan.adapters.review_receivers import have_it, stop_unsent
from hoichan.adapters.review_standing import standing
from hoichan.adapters.schema import deliveries, documents, instances, reports, revisions, studies
from hoichan.adapters.schema_front_door import rejected_instances, rejected_reports
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.schema_reviews import review_drafts, reviews
from hoichan.adapters.transactions import transaction
from hoichan.reporting.deliveries import REJECTION_NOTE as CLOSED_BY
from hoichan.types import DocumentKind, SOPInstanceUID, StudyInstanceUID, StudyState

_SR = (DocumentKind.SR, DocumentKind.SR_COMPREHENSIVE, DocumentKind.SR_ENHANCED)


class RejectionsSql(DeliveriesSql):
    """Images and reports that notes took back. Every method may raise RecordsUnavailable (try again)."""

    def rejected(self, study: StudyInstanceUID) -> frozenset[SOPInstanceUID]:
        """The images of a study that notes took back, those notes included that lie elsewhere."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(rejected_instances.c.sop_instance_uid).where(
                    rejected_instances.c.study_instance_uid == study
                )
            )
            return frozenset(SOPInstanceUID(uid) for (uid,) in found)

    def reject(
        self,
        study: StudyInstanceUID,
        named: Collection[SOPInstanceUID],
        *,
        note: SOPInstanceUID,
        title: str,
        revise: bool,
    ) -> int | None:
        """Write down what a note takes back of a study, which may not be here yet. Twice is once.

        `revise`: the note is no image of the study, so its answer is superseded by a revision of its own,
        whose number is returned; None where no answer was begun, or nothing changed.
        """
        with transaction(self._engine) as connection:
            fresh = [
                uid
                for uid in sorted(named)
                if rows.insert_once(
                    connection,
                    rejected_instances,
                    {
                        "sop_instance_uid": uid,
                        "note_uid": note,
                        "study_instance_uid": study,
                        "title": title,
                        "at": self._clock.now(),
                    },
                )
            ]
            return self._superseded(connection, study, fresh) if fresh and revise else None

    def _superseded(
        self, connection: sa.Connection, study: StudyInstanceUID, fresh: Collection[SOPInstanceUID]
    ) -> int | None:
        last = connection.execute(
            sa.select(studies.c.last_revision).where(studies.c.study_instance_uid == study).with_for_update()
        ).scalar()
        if not last:
            return None
        held = list(
            connection.execute(
                sa.select(instances.c.sop_instance_uid, instances.c.revision).where(
                    instances.c.study_instance_uid == study
                )
            )
        )
        state, begun = connection.execute(
            sa.select(revisions.c.state, revisions.c.begun).where(
                revisions.c.study_instance_uid == study, revisions.c.revision == last
            )
        ).one()
        if not {uid for uid, _ in held} & set(fresh):
            return None  # none of them was ever here
        if any(revision is None for _, revision in held) or (state == StudyState.ASSEMBLED and not begun):
            return None  # the answer that is to come knows of the note
        revision = int(last) + 1
        connection.execute(
            revisions.insert().values(
                study_instance_uid=study,
                revision=revision,
                state=StudyState.ASSEMBLED,
                closed_by=CLOSED_BY,
                assembled_at=self._clock.now(),
            )
        )
        self._move(connection, study, StudyState.ASSEMBLED, last_revision=revision, state_reason=None)
        self._trail(
            connection,
            study,
            "study_assembled",
            {"revision": revision, "instances": len(held), "closed_by": CLOSED_BY},
        )
        return revision

    def take_back(
        self, study: StudyInstanceUID, named: Collection[SOPInstanceUID], *, note: SOPInstanceUID, title: str
    ) -> Collection[SOPInstanceUID]:
        """Have the machine's report that stands taken back from its receivers, if a note names its SR.

        Not one that another replaced, and none while a person's signature stands: then the note is only told.
        The study stands in the list as one without a finding, and a draft loses its verdicts on that report.
        """
        with transaction(self._engine) as connection:
            head = (
                connection.execute(
                    sa.select(studies).where(studies.c.study_instance_uid == study).with_for_update()
                )
                .mappings()
                .one_or_none()
            )
            if head is None or standing(connection, [study]):
                return ()
            later = reports.alias()
            found = connection.execute(
                sa.select(reports.c.report_uid, reports.c.revision)
                .where(
                    reports.c.study_instance_uid == study,
                    reports.c.report_uid.in_(
                        sa.select(documents.c.report_uid).where(
                            documents.c.uid.in_(sorted(named)),
                            documents.c.kind.in_([str(one) for one in _SR]),
                        )
                    ),
                    reports.c.report_uid.not_in(sa.select(reviews.c.report_uid)),
                    reports.c.report_uid.not_in(sa.select(retractions.c.report_uid)),
                    ~sa.exists().where(later.c.predecessor == reports.c.report_uid),
                )
                .order_by(reports.c.revision)
            ).all()
            for report_uid, revision in found:
                self._owe(connection, head, report_uid, revision)
                rows.insert_once(
                    connection,
                    rejected_reports,
                    {"report_uid": report_uid, "note_uid": note, "title": title, "at": self._clock.now()},
                )
                self._forget(connection, head, report_uid)
            return [SOPInstanceUID(report_uid) for report_uid, _ in found]

    def _forget(self, connection: sa.Connection, head: rows.Row, report_uid: str) -> None:
        """The newest answer raises its study no more; verdicts on it leave the draft, the reader's stay."""
        uid, last = head["study_instance_uid"], head["last_revision"]
        if connection.execute(asked.told(uid, last).limit(1)).scalar() == report_uid:
            connection.execute(
                studies.update().where(studies.c.study_instance_uid == uid).values(tier=rows.NO_TIER)
            )
        of_report = sa.and_(
            review_drafts.c.study_instance_uid == uid, review_drafts.c.report_uid == report_uid
        )
        found = (
            connection.execute(sa.select(review_drafts).where(of_report).with_for_update()).mappings().first()
        )
        if found is None:
            return
        draft = review_rows.draft(found)
        own = tuple(one for one in draft.judgements if one.finding_id is None)
        if own == draft.judgements and not draft.volumes:
            return
        # a new version: a page that shows the former one is told at its next step
        kept = replace(draft, version=draft.version + 1, judgements=own, volumes=())
        connection.execute(review_drafts.update().where(of_report).values(review_rows.draft_row(kept)))

    def _owe(self, connection: sa.Connection, head: rows.Row, report_uid: str, revision: int) -> None:
        """A retraction to every receiver that has the report, or may have it; nobody gets it any more."""
        rows.insert_once(
            connection,
            retractions,
            {
                "report_uid": report_uid,
                "study_instance_uid": head["study_instance_uid"],
                "revision": revision,
                "asked_at": self._clock.now(),
                "destinations": have_it(connection, SOPInstanceUID(report_uid)),
                "accession_number": head["accession_number"],
                **{name: head[name] for name in PERSON},
            },
        )
        stop_unsent(connection, deliveries.c.report_uid == report_uid, because=CLOSED_BY)
