"""What the rules of retention must know of studies, as queries; see `hoichan.reporting.retention`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema import deliveries, instances, revisions, studies
from hoichan.adapters.schema_orders import search_keys
from hoichan.adapters.schema_retention import holds, record_classes, removals
from hoichan.adapters.schema_tokens import forwards
from hoichan.intake.names import KeyKind, number_key
from hoichan.reporting.forwarding import ForwardState
from hoichan.reporting.retention import Facts, RecordClass
from hoichan.types import DeliveryState, SOPInstanceUID, StudyInstanceUID, StudyState

MARKED, DONE, DROPPED = "marked", "done", "dropped"
PAGE = 500  # studies looked at in one transaction
Row = sa.RowMapping


def keeps(hold: sa.FromClause, study: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a hold is about a study."""
    return sa.or_(
        hold.c.study_instance_uid == study.c.study_instance_uid,
        sa.and_(
            hold.c.patient_id == study.c.patient_id,
            sa.or_(
                hold.c.issuer_of_patient_id.is_(None),
                hold.c.issuer_of_patient_id == study.c.issuer_of_patient_id,
            ),
        ),
    )


def on_hold(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Whether a hold in force keeps the study, also by a number that its patient had before a correction.

    Former numbers are found by the keys of the search, which do not tell issuers apart: too much is kept.
    """
    in_force = sa.exists().where(holds.c.lifted_at.is_(None), keeps(holds, studies)).correlate(studies)
    numbers = connection.execute(
        sa.select(holds.c.patient_id).where(holds.c.lifted_at.is_(None), holds.c.patient_id.is_not(None))
    ).scalars()
    keys = sorted({number_key(number) for number in numbers if number})
    if not keys:
        return in_force
    formerly = sa.exists().where(
        search_keys.c.kind == str(KeyKind.NUMBER),
        search_keys.c.key.in_(keys),
        search_keys.c.study_instance_uid == studies.c.study_instance_uid,
    )
    return sa.or_(in_force, formerly.correlate(studies))


def is_removed() -> sa.ColumnElement[bool]:
    """Whether a removal is under way, or was done after the last image came."""
    here = removals.c.study_instance_uid == studies.c.study_instance_uid
    newest = sa.and_(removals.c.state == DONE, removals.c.marked_at >= studies.c.last_received_at)
    return sa.exists().where(here, sa.or_(removals.c.state == MARKED, newest)).correlate(studies)


def facts_query(connection: sa.Connection) -> sa.Select[Any]:
    """The row of each study that `facts_of` reads."""
    uid = studies.c.study_instance_uid
    later = deliveries.alias()
    superseded = sa.exists().where(
        later.c.study_instance_uid == deliveries.c.study_instance_uid,
        later.c.destination == deliveries.c.destination,
        later.c.revision > deliveries.c.revision,
        later.c.state == DeliveryState.SENT,
    )
    undelivered = (
        sa.select(sa.func.count())
        .select_from(deliveries)
        .where(
            deliveries.c.study_instance_uid == uid,
            sa.or_(
                deliveries.c.state == DeliveryState.PENDING,
                sa.and_(deliveries.c.state == DeliveryState.DEAD, ~superseded),
            ),
        )
    )
    unforwarded = (
        sa.select(sa.func.count())
        .select_from(forwards)
        .where(forwards.c.study_instance_uid == uid, forwards.c.state != ForwardState.SENT)
    )
    waiting = (
        sa.select(sa.func.count())
        .select_from(revisions)
        .where(revisions.c.study_instance_uid == uid, revisions.c.state == StudyState.ASSEMBLED)
    )
    return sa.select(
        uid,
        studies.c.state,
        studies.c.modalities,
        studies.c.calling_ae_title,
        studies.c.last_received_at,
        record_classes.c.record_class,
        on_hold(connection).label("on_hold"),
        (undelivered.scalar_subquery() + unforwarded.scalar_subquery()).label("undelivered"),
        waiting.scalar_subquery().label("open_revisions"),
    ).outerjoin(record_classes, record_classes.c.study_instance_uid == uid)


def page_of(
    connection: sa.Connection, before: datetime, after: tuple[datetime, str] | None
) -> sa.Select[Any]:
    """The next studies whose images are here, oldest first."""
    wanted = (
        facts_query(connection)
        .where(studies.c.last_received_at < before, ~is_removed())
        .order_by(studies.c.last_received_at, studies.c.study_instance_uid)
        .limit(PAGE)
    )
    if after is None:
        return wanted
    at, uid = after
    return wanted.where(
        sa.or_(
            studies.c.last_received_at > at,
            sa.and_(studies.c.last_received_at == at, studies.c.study_instance_uid > uid),
        )
    )


def facts_of(row: Row, quarantined: Collection[str]) -> Facts:
    """From a row of `facts_query`; `quarantined`: studies of which another version lies in quarantine."""
    return Facts(
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        state=StudyState(row["state"]),
        modalities=tuple(part for part in row["modalities"].split("\\") if part),
        calling_ae_title=row["calling_ae_title"],
        last_received_at=row["last_received_at"],
        record_class=RecordClass(row["record_class"] or RecordClass.GENERAL),
        on_hold=bool(row["on_hold"]),
        undelivered=row["undelivered"],
        open_revisions=row["open_revisions"],
        quarantined=row["study_instance_uid"] in quarantined,
    )


def studies_of(
    connection: sa.Connection, rows: Sequence[Row], quarantined: Collection[SOPInstanceUID]
) -> set[str]:
    """Those of the studies of which another version of an instance lies in quarantine."""
    if not rows or not quarantined:
        return set()
    found = connection.execute(
        sa.select(instances.c.study_instance_uid)
        .where(
            instances.c.study_instance_uid.in_([row["study_instance_uid"] for row in rows]),
            instances.c.sop_instance_uid.in_(list(quarantined)),
        )
        .distinct()
    )
    return {uid for (uid,) in found}
