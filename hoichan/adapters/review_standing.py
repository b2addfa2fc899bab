"""Which signature of a study stands: the last one, unless it was withdrawn or its patient was another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.schema_reviews import reviews
from hoichan.types import Delivery, ReviewKind, SOPInstanceUID, StudyInstanceUID

# Receivers that would show a machine's report in place of a signed one. A PACS keeps both.
ONE_REPORT_A_STUDY = frozenset({"fhir", "hl7v2"})


def standing(connection: sa.Connection, wanted: Collection[StudyInstanceUID]) -> dict[str, Row]:
    """The signature that stands, by study: report_uid, kind, reviewer, revision."""
    newest = reviews.alias("newest")
    found = connection.execute(
        sa.select(
            reviews.c.study_instance_uid,
            reviews.c.report_uid,
            reviews.c.kind,
            reviews.c.reviewer,
            reviews.c.revision,
        ).where(
            reviews.c.study_instance_uid.in_(list(wanted)),
            reviews.c.kind != ReviewKind.WITHDRAWAL,
            reviews.c.number
            == sa.select(sa.func.max(newest.c.number))
            .where(newest.c.study_instance_uid == reviews.c.study_instance_uid)
            .scalar_subquery(),
            reviews.c.report_uid.not_in(sa.select(retractions.c.report_uid)),
        )
    ).mappings()
    return {row["study_instance_uid"]: row for row in found}


def not_over_a_signature(
    connection: sa.Connection, study: StudyInstanceUID, planned: Sequence[Delivery]
) -> Sequence[Delivery]:
    """A machine's deliveries without those that would replace what a person has signed.

    Holds the study's row, so that nobody signs between this look and what is written after it.
    """
    connection.execute(
        sa.select(studies.c.state).where(studies.c.study_instance_uid == study).with_for_update()
    ).first()
    if not standing(connection, [study]):
        return planned
    return [delivery for delivery in planned if delivery.kind not in ONE_REPORT_A_STUDY]


def not_of_a_report_taken_back(
    connection: sa.Connection, report: SOPInstanceUID, planned: Sequence[Delivery]
) -> Sequence[Delivery]:
    """A report's deliveries, or none where it was taken back: a repeated analysis may come to it again."""
    gone = taken_back().where(retractions.c.report_uid == report)
    return () if connection.execute(gone).first() else planned


def taken_back() -> sa.Select[tuple[str]]:
    """The reports that were taken back, whatever their own row says."""
    return sa.select(retractions.c.report_uid)
