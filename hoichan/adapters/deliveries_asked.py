"""What is asked about deliveries again and again: which are due, and which come too late."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema import deliveries, reports, studies
from hoichan.adapters.work_sql import band
from hoichan.reporting.deliveries import READING
from hoichan.types import DeliveryState, ReportStatus


def is_report(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a delivery hands a report over; a note that somebody reads it holds none and replaces none."""
    return table.c.idempotency_key.not_like(f"%{READING}")


def is_before(older: sa.FromClause, newer: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
    """That one delivery is of an earlier report of the same study to the same receiver than another."""
    return (
        older.c.study_instance_uid == newer.c.study_instance_uid,
        older.c.destination == newer.c.destination,
        sa.or_(
            older.c.revision < newer.c.revision,
            sa.and_(older.c.revision == newer.c.revision, older.c.created_at < newer.c.created_at),
        ),
    )


def was_not_taken(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """That the receiver said of the last try that it took nothing. What takes a report back has to arrive."""
    return sa.and_(sa.func.coalesce(table.c.not_taken, sa.false()), ~_takes_back(table))


def _takes_back(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """That a delivery takes a report back from another patient; asked by its report's key."""
    report = reports.alias()
    is_it = sa.and_(report.c.report_uid == table.c.report_uid, report.c.status == ReportStatus.WITHDRAWN)
    return sa.exists().where(is_it).correlate(table)


def _gives_way() -> sa.ColumnElement[bool]:
    """That a delivery was not taken, and a newer report waits for the same receiver: that one is next.

    Once it was taken, this one is `overtaken` and never sent. Where it is refused, this one is due again.
    """
    newer = deliveries.alias()
    waits = sa.and_(newer.c.state == DeliveryState.PENDING, *is_before(deliveries, newer), is_report(newer))
    return sa.and_(was_not_taken(deliveries), sa.exists().where(waits).correlate(deliveries))


@cache
def overtaking() -> sa.Select[Any]:
    """A newer report that the receiver of one delivery (`key`) has, or may have. Built once, as `due_now`."""
    newer, own = deliveries.alias(), deliveries.alias()
    may_be_there = sa.and_(newer.c.state == DeliveryState.DEAD, newer.c.attempts > 1, was_not_taken(own))
    is_there = sa.or_(newer.c.state == DeliveryState.SENT, may_be_there)
    return (
        sa.select(newer.c.idempotency_key)
        .select_from(own)
        .join(newer, sa.and_(*is_before(own, newer), is_there))
        .where(
            is_report(newer),
            own.c.idempotency_key == sa.bindparam("key"),
            ~_takes_back(own),  # that has to arrive, however late
        )
        .limit(1)
    )


@cache
def passing() -> sa.Select[Any]:
    """A newer report that may have passed one that waits (`key`). Built once, as `due_now`.

    The one that waits was not taken before, or a person sends it again.
    """
    newer, own = deliveries.alias(), deliveries.alias()
    unheard = sa.or_(newer.c.begun > 0, sa.and_(newer.c.attempts > 0, ~was_not_taken(newer)))
    tried = sa.and_(newer.c.state == DeliveryState.PENDING, unheard)
    return (
        sa.select(newer.c.idempotency_key)
        .select_from(own)
        .join(newer, sa.and_(*is_before(own, newer), tried))
        .where(own.c.idempotency_key == sa.bindparam("key"), ~_takes_back(own), is_report(newer))
        .limit(1)
    )


@cache
def due_now(*, is_limited: bool) -> sa.Select[Any]:
    """In one pass over what is pending: whose turn it is in its study, then the order of each receiver.

    With the parameters `now`, `but` and, where it is limited, `each`. Built once: it is asked several times a
    second, and building it takes four times as long as asking.
    """
    turn = sa.func.row_number().over(
        partition_by=(deliveries.c.study_instance_uid, deliveries.c.destination),
        order_by=(deliveries.c.revision, deliveries.c.created_at, deliveries.c.idempotency_key),
    )
    pending = (
        sa.select(
            deliveries.c.idempotency_key,
            deliveries.c.study_instance_uid,
            deliveries.c.destination,
            deliveries.c.created_at,
            deliveries.c.next_attempt_at,
            turn.label("turn"),
        )
        .where(
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.destination.not_in(sa.bindparam("but", expanding=True)),
            ~_gives_way(),
        )
        .subquery()
    )
    order = (band(), pending.c.created_at, pending.c.idempotency_key)
    place = sa.func.row_number().over(partition_by=pending.c.destination, order_by=order)
    first = (
        sa.select(pending.c.idempotency_key, band().label("band"), place.label("place"))
        .join(studies, studies.c.study_instance_uid == pending.c.study_instance_uid)
        .where(pending.c.turn == 1, pending.c.next_attempt_at <= sa.bindparam("now"))
        .subquery()
    )
    wanted = (
        sa.select(deliveries)
        .join(first, first.c.idempotency_key == deliveries.c.idempotency_key)
        .order_by(first.c.band, deliveries.c.created_at, deliveries.c.idempotency_key)
    )
    return wanted.where(first.c.place <= sa.bindparam("each")) if is_limited else wanted
