"""The steps of a correction, each inside the caller's transaction (`corrections_sql`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.patients_sql import index_study
from hoichan.adapters.person_rows import PERSON, person, person_row
from hoichan.adapters.review_receivers import may_be_there, stop_unsent
from hoichan.adapters.rows import Row
from hoichan.adapters.schema import deliveries, instances, reports, revisions, studies, trail
from hoichan.adapters.schema_orders import patient_versions, questions, retractions
from hoichan.intake.patients import Doubt, Source, change
from hoichan.ports import Clock
from hoichan.reporting.deliveries import PATIENT_CORRECTED as CLOSED_BY  # also of the revision that follows
from hoichan.types import Patient, ReportStatus, StudyState

_SHOWN = 16  # characters of a message key that stand on the trail


class CorrectionSteps:
    """What happens to a study when its patient is told anew."""

    _clock: Clock

    def _correct(
        self,
        connection: sa.Connection,
        head: Row,
        told: Patient,
        accession: str | None,
        source: Source,
        reference: str,
    ) -> bool:
        """Make somebody the patient of a study; False when nothing differs."""
        made = change(
            person(head),
            head["accession_number"],
            told=told,
            told_accession=accession,
            study_datetime=head["study_datetime"],
        )
        if not made.fields:
            return False
        uid, now = head["study_instance_uid"], self._clock.now()
        if not versions_of(connection, head):
            _add_version(connection, uid, head["first_received_at"], Source.IMAGES, uid, head)
        values = {**person_row(made.patient), "accession_number": made.accession_number}
        _add_version(connection, uid, now, source, reference, values)
        connection.execute(
            studies.update()
            .where(studies.c.study_instance_uid == uid)
            .values(**values, patient_age_years=made.patient.patient_age_years)
        )
        self._index(connection, head, made.patient, made.accession_number)
        self._trail(
            connection,
            head,
            "patient_corrected",
            {"source": source, "fields": ", ".join(made.fields), "reference": reference[:_SHOWN]},
        )
        if made.is_other_record:
            self._withdraw(connection, head)
        if made.is_material:
            self._revise(connection, head)
        return True

    def _withdraw(self, connection: sa.Connection, head: Row) -> None:
        """Stop what waits under the former patient, and put down what may have gone out."""
        uid = head["study_instance_uid"]
        found = connection.execute(
            sa.select(deliveries, reports.c.status)
            .join(reports, reports.c.report_uid == deliveries.c.report_uid)
            .where(
                deliveries.c.study_instance_uid == uid,
                reports.c.status != ReportStatus.WITHDRAWN,
                may_be_there(),
            )
        ).mappings()
        told: dict[tuple[str, int], list[str]] = {}
        for row in found:
            told.setdefault((row["report_uid"], row["revision"]), []).append(row["destination"])
        of_the_former = deliveries.c.report_uid.not_in(
            sa.select(reports.c.report_uid).where(reports.c.status == ReportStatus.WITHDRAWN)
        )
        stop_unsent(
            connection,
            sa.and_(deliveries.c.study_instance_uid == uid, of_the_former),
            because=CLOSED_BY,
        )
        known = set(
            connection.execute(
                sa.select(retractions.c.report_uid).where(retractions.c.study_instance_uid == uid)
            ).scalars()
        )
        for (report, revision), destinations in told.items():
            if report not in known:
                connection.execute(
                    retractions.insert().values(
                        report_uid=report,
                        study_instance_uid=uid,
                        revision=revision,
                        asked_at=self._clock.now(),
                        destinations=sorted(set(destinations)),
                        accession_number=head["accession_number"],
                        **{name: head[name] for name in PERSON},
                    )
                )

    def _revise(self, connection: sa.Connection, head: Row) -> None:
        """A new revision over the same images; images that wait for one make it themselves."""
        uid = head["study_instance_uid"]
        waiting = connection.execute(
            sa.select(sa.func.count())
            .select_from(instances)
            .where(instances.c.study_instance_uid == uid, instances.c.revision.is_(None))
        ).scalar()
        state = connection.execute(
            sa.select(revisions.c.state).where(
                revisions.c.study_instance_uid == uid, revisions.c.revision == head["last_revision"]
            )
        ).scalar()
        if waiting or state in (None, StudyState.ASSEMBLED):  # its report is not written yet
            return
        revision = head["last_revision"] + 1
        connection.execute(
            revisions.insert().values(
                study_instance_uid=uid,
                revision=revision,
                state=StudyState.ASSEMBLED,
                closed_by=CLOSED_BY,
                assembled_at=self._clock.now(),
            )
        )
        connection.execute(
            studies.update()
            .where(studies.c.study_instance_uid == uid)
            .values(state=StudyState.ASSEMBLED, last_revision=revision, state_reason=None)
        )
        held = connection.execute(
            sa.select(sa.func.count()).select_from(instances).where(instances.c.study_instance_uid == uid)
        ).scalar()
        self._trail(
            connection,
            head,
            "study_assembled",
            {"revision": revision, "instances": held, "closed_by": CLOSED_BY},
        )

    def _ask(
        self,
        connection: sa.Connection,
        head: Row,
        kind: Doubt,
        reference: str,
        patient: Patient,
        accession: str | None,
        *,
        holds: bool = False,
    ) -> None:
        """Ask a person, once for each kind and person of a study, whatever was answered then."""
        uid = head["study_instance_uid"]
        values = {**person_row(patient), "accession_number": accession}
        asked = connection.execute(
            sa.select(questions).where(questions.c.study_instance_uid == uid, questions.c.kind == kind)
        ).mappings()
        if any(all(row[name] == value for name, value in values.items()) for row in asked):
            return
        connection.execute(
            questions.insert().values(
                study_instance_uid=uid,
                kind=str(kind),
                reference=reference[:64],
                holds=holds,
                asked_at=self._clock.now(),
                state="open",
                **values,
            )
        )
        self._index(connection, head, patient, accession)
        self._trail(connection, head, "question_asked", {"kind": str(kind), "holds": holds})

    def _index(self, connection: sa.Connection, head: Row, patient: Patient, accession: str | None) -> None:
        keys = {name: head[name] for name in ("study_instance_uid", "first_received_at")}
        index_study(connection, {**keys, **person_row(patient), "accession_number": accession})

    def _trail(self, connection: sa.Connection, head: Row, event: str, details: Mapping[str, object]) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=head["study_instance_uid"],
                at=self._clock.now(),
                event=event,
                details={key: value for key, value in details.items() if value is not None},
            )
        )


def head_of(connection: sa.Connection, study: str) -> Row | None:
    """The row of a study, locked until the transaction ends."""
    found = connection.execute(
        sa.select(studies).where(studies.c.study_instance_uid == study).with_for_update()
    )
    return found.mappings().one_or_none()


def versions_of(connection: sa.Connection, head: Row) -> Sequence[Row]:
    """Whose study it was, oldest first."""
    found = connection.execute(
        sa.select(patient_versions)
        .where(patient_versions.c.study_instance_uid == head["study_instance_uid"])
        .order_by(patient_versions.c.id)
    )
    return list(found.mappings())


def _add_version(
    connection: sa.Connection, uid: str, at: datetime, source: Source, reference: str, values: Row
) -> None:
    connection.execute(
        patient_versions.insert().values(
            study_instance_uid=uid,
            at=at,
            source=str(source),
            reference=reference[:64],
            accession_number=values["accession_number"],
            **{name: values[name] for name in PERSON},
        )
    )
