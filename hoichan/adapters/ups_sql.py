"""Who wants to hear of which jobs, what each was told, and what stands beside a job (PS3.4 CC.2.3, CC.2.4).

An event is the difference between what a subscriber was told last and the states that the job was in since
(`ups_steps`, written by whoever changes it). It is written down as told after it left, so a lost connection
or a restart repeats an event and loses none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.schema import revisions
from hoichan.adapters.schema_ups import ups_cancel_requests, ups_outputs, ups_subscriptions, ups_told
from hoichan.adapters.schema_worklists import workitems
from hoichan.adapters.transactions import transaction
from hoichan.adapters.ups_awaited import awaited_items, bind_awaited
from hoichan.adapters.ups_steps import end_was_told, stepped, steps_of, still_to_tell, trim
from hoichan.adapters.workitem_rows import (
    FINAL,
    ProcedureStepState,
    Workitem,
    is_in,
    item_of,
    job_row,
    jobs,
    named,
)
from hoichan.ports import Clock

GLOBAL = "1.2.840.10008.5.1.4.34.5"  # PS3.4 CC.2.3.1: every job
FILTERED = "1.2.840.10008.5.1.4.34.5.1"  # every job that fits
WELL_KNOWN = frozenset({GLOBAL, FILTERED})
MOST_AT_ONCE = 200
OVERLAP = timedelta(minutes=10)  # jobs that were closed so long ago are looked at again
KEPT = timedelta(days=1)  # what was told of jobs that ended
KEPT_STEPS = timedelta(days=7)  # for a subscriber who is away

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a subscriber has to hear of one job."""

    item: Workitem
    state: bool  # a UPS State Report is due
    progress: bool  # a UPS Progress Report
    cancels: tuple[Json, ...]  # of each UPS Cancel Requested: "who" and what was said with it
    last_cancel: int


class UpsSql:
    """Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    # ------------------------------------------------------------------ subscriptions
    def subscribe(
        self, ae_title: str, workitem_uid: str, *, who: str, lock: bool, wanted: Mapping[str, str]
    ) -> bool:
        """Begin, or change, a subscription; False where another program has this AE title, or no such job."""
        with transaction(self._engine) as connection:
            bind_awaited(connection)
            if self._is_of_another(connection, ae_title, who):
                return False
            if workitem_uid not in WELL_KNOWN and _one(connection, workitem_uid, self._clock.now()) is None:
                return False
            key = _key(ae_title, workitem_uid)
            connection.execute(ups_subscriptions.delete().where(*key))
            connection.execute(
                ups_subscriptions.insert().values(
                    ae_title=ae_title,
                    workitem_uid=workitem_uid,
                    who=who,
                    deletion_lock=lock,
                    filter=dict(wanted),
                    since=self._clock.now(),
                )
            )
            if workitem_uid not in WELL_KNOWN:  # how it stands now is told at once
                connection.execute(ups_told.delete().where(*_of_told(ae_title, workitem_uid)))
        return True

    def unsubscribe(self, ae_title: str, workitem_uid: str, *, who: str) -> bool:
        """End a subscription; False where this program has none."""
        with transaction(self._engine) as connection:
            gone = connection.execute(
                ups_subscriptions.delete().where(
                    *_key(ae_title, workitem_uid), ups_subscriptions.c.who == who
                )
            ).rowcount
            left = connection.execute(
                sa.select(ups_subscriptions.c.workitem_uid).where(ups_subscriptions.c.ae_title == ae_title)
            ).first()
            if gone and left is None:
                connection.execute(ups_told.delete().where(ups_told.c.ae_title == ae_title))
        return bool(gone)

    def suspend(self, ae_title: str, workitem_uid: str, *, who: str) -> bool:
        """Add no new jobs to a global subscription; those already told of go on. False where none is."""
        with transaction(self._engine) as connection:
            return bool(
                connection.execute(
                    ups_subscriptions.update()
                    .where(*_key(ae_title, workitem_uid), ups_subscriptions.c.who == who)
                    .values(suspended_at=self._clock.now())
                ).rowcount
            )

    def may_listen(self, ae_title: str, who: str) -> bool:
        """Whether this program subscribed under this AE title."""
        with transaction(self._engine) as connection:
            return (
                connection.execute(
                    sa.select(ups_subscriptions.c.ae_title).where(
                        ups_subscriptions.c.ae_title == ae_title, ups_subscriptions.c.who == who
                    )
                ).first()
                is not None
            )

    # ------------------------------------------------------------------ events
    def due(self, ae_title: str) -> Sequence[Event]:
        """What this subscriber was not told yet, at most `MOST_AT_ONCE` jobs."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            bind_awaited(connection)
            subscriptions = [
                dict(row)
                for row in connection.execute(
                    sa.select(ups_subscriptions).where(ups_subscriptions.c.ae_title == ae_title)
                ).mappings()
            ]
            told = {
                row["workitem_uid"]: dict(row)
                for row in connection.execute(
                    sa.select(ups_told).where(ups_told.c.ae_title == ae_title, ~ups_told.c.ended)
                ).mappings()
            }
            found: dict[str, Workitem] = {}
            for subscription in subscriptions:
                for item in self._of(connection, subscription, set(told), now):
                    found[item.workitem_uid] = item
            asked = _cancels(connection, list(found))
            since = min((one["since"] for one in subscriptions), default=now)
            fresh = steps_of(connection, [uid for uid in found if uid not in told], since=since)
            later = steps_of(connection, [uid for uid in found if uid in told], since=now - KEPT_STEPS)
            steps = fresh | later
            return [
                event
                for uid, item in found.items()
                for event in _events(item, told.get(uid), steps.get(uid, ()), asked.get(uid, []))
            ]

    def told(self, ae_title: str, event: Event) -> None:
        """The event has left."""
        item = event.item
        with transaction(self._engine) as connection:
            connection.execute(ups_told.delete().where(*_of_told(ae_title, item.workitem_uid)))
            connection.execute(
                ups_told.insert().values(
                    ae_title=ae_title,
                    workitem_uid=item.workitem_uid,
                    state=str(item.state),
                    readiness=item.readiness,
                    progress=item.progress,
                    cancel_asked=event.last_cancel,
                    ended=item.state in FINAL,
                    at=self._clock.now(),
                )
            )

    def _of(
        self, connection: sa.Connection, subscription: Mapping[str, Any], open_ones: set[str], now: datetime
    ) -> list[Workitem]:
        ae_title, uid = subscription["ae_title"], subscription["workitem_uid"]
        if uid not in WELL_KNOWN:
            ended = sa.select(ups_told.c.ended).where(*_of_told(ae_title, uid))
            item = None if connection.execute(ended).scalar() else _one(connection, uid, now)
            return [] if item is None else [item]
        items: list[Workitem] = []
        if subscription["suspended_at"] is None:
            items = self._new(connection, subscription, now)
        was = steps_of(connection, [item.workitem_uid for item in items], since=subscription["since"])
        items = [
            item
            for item in items
            if any(
                _fits(replace(item, state=state), subscription["filter"])
                for state in (item.state, *was.get(item.workitem_uid, ()))
            )
        ]
        return items + [  # of a job that was told of once every step is told
            item
            for known in sorted(open_ones - {item.workitem_uid for item in items})
            if (item := _one(connection, known, now)) is not None
        ]

    def _new(
        self, connection: sa.Connection, subscription: Mapping[str, Any], now: datetime
    ) -> list[Workitem]:
        """Open jobs and those that were closed since the last look, without those whose end was told."""
        ae_title = subscription["ae_title"]
        recent = sa.or_(
            revisions.c.assembled_at >= subscription["since"],
            is_in(ProcedureStepState.SCHEDULED),
            is_in(ProcedureStepState.IN_PROGRESS),
        )
        selected = list(
            connection.execute(jobs(recent, ~end_was_told(ae_title)).limit(MOST_AT_ONCE)).mappings()
        )
        items = [item_of(connection, named(connection, row)) for row in selected]
        known = {item.workitem_uid for item in items}
        moved = stepped(connection, ae_title, since=subscription["since"], limit=MOST_AT_ONCE)
        items += [
            item for uid in moved if uid not in known and (item := _one(connection, uid, now)) is not None
        ]
        if len(selected) < MOST_AT_ONCE and len(moved) < MOST_AT_ONCE:
            trim(connection, before=now - KEPT_STEPS)
            connection.execute(
                ups_subscriptions.update()
                .where(
                    *_key(ae_title, subscription["workitem_uid"]),
                    ups_subscriptions.c.since < now - OVERLAP,
                )
                .values(since=now - OVERLAP)
            )
            connection.execute(
                ups_told.delete().where(
                    ups_told.c.ae_title == ae_title, ups_told.c.ended, ups_told.c.at < now - KEPT
                )
            )
        waiting = [item for item in awaited_items(connection, now) if item.state not in FINAL]
        return items + waiting

    def _is_of_another(self, connection: sa.Connection, ae_title: str, who: str) -> bool:
        return (
            connection.execute(
                sa.select(ups_subscriptions.c.who).where(
                    ups_subscriptions.c.ae_title == ae_title, ups_subscriptions.c.who != who
                )
            ).first()
            is not None
        )

    # ------------------------------------------------------------------ beside a job
    def ask_to_cancel(self, workitem_uid: str, *, who: str, content: Json) -> bool:
        """Write a request to its holder down; False where nobody listens for this job."""
        with transaction(self._engine) as connection:
            holder = connection.execute(
                sa.select(workitems.c.claimed_by).where(workitems.c.workitem_uid == workitem_uid)
            ).scalar()
            listens = connection.execute(
                sa.select(ups_subscriptions.c.ae_title).where(
                    ups_subscriptions.c.who == holder,
                    ups_subscriptions.c.workitem_uid.in_([workitem_uid, *WELL_KNOWN]),
                )
            ).first()
            if listens is None:
                return False
            connection.execute(
                ups_cancel_requests.insert().values(
                    workitem_uid=workitem_uid, who=who, at=self._clock.now(), content=content
                )
            )
        return True

    def keep_outputs(self, workitem_uid: str, content: Sequence[Json]) -> None:
        """What the holder of a job says he made; his last word counts."""
        with transaction(self._engine) as connection:
            connection.execute(ups_outputs.delete().where(ups_outputs.c.workitem_uid == workitem_uid))
            connection.execute(
                ups_outputs.insert().values(
                    workitem_uid=workitem_uid, at=self._clock.now(), content=list(content)
                )
            )


def _one(connection: sa.Connection, workitem_uid: str, now: datetime) -> Workitem | None:
    row = job_row(connection, workitem_uid)
    if row is not None:
        return item_of(connection, row)
    return next(iter(awaited_items(connection, now, workitem_uid=workitem_uid)), None)


def _events(
    item: Workitem,
    told: Mapping[str, Any] | None,
    steps: Sequence[ProcedureStepState],
    cancels: Sequence[Mapping[str, Any]],
) -> list[Event]:
    """One for each state that he has not heard of; what else is new stands with the last."""
    before = ProcedureStepState(told["state"]) if told else None
    *passed, stands = still_to_tell(before, steps, item.state)
    last = told["cancel_asked"] if told else 0
    progress = told["progress"] if told else None
    events = [
        Event(
            item=replace(item, state=state, progress=progress),
            state=True,
            progress=False,
            cancels=(),
            last_cancel=last,
        )
        for state in passed
    ]
    newest = _event(replace(item, state=stands), told, cancels)
    return events if newest is None else [*events, newest]


def _event(
    item: Workitem, told: Mapping[str, Any] | None, cancels: Sequence[Mapping[str, Any]]
) -> Event | None:
    last = told["cancel_asked"] if told else 0
    new = [one for one in cancels if one["id"] > last]
    event = Event(
        item=item,
        state=told is None or (told["state"], told["readiness"]) != (str(item.state), item.readiness),
        progress=item.progress is not None and (told is None or told["progress"] != item.progress),
        cancels=tuple({"who": one["who"], **one["content"]} for one in new),
        last_cancel=max((one["id"] for one in new), default=last),
    )
    return event if event.state or event.progress or event.cancels else None


def _cancels(connection: sa.Connection, uids: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    asked = connection.execute(
        sa.select(ups_cancel_requests)
        .where(ups_cancel_requests.c.workitem_uid.in_(uids))
        .order_by(ups_cancel_requests.c.id)
    )
    for row in asked.mappings():
        found.setdefault(row["workitem_uid"], []).append(dict(row))
    return found


def _fits(item: Workitem, wanted: Mapping[str, str]) -> bool:
    has = {
        "state": str(item.state),
        "study": item.study_instance_uid,
        "accession": item.accession_number,
    }
    return all(has[name] == value for name, value in wanted.items())


def _key(ae_title: str, workitem_uid: str) -> tuple[sa.ColumnElement[bool], ...]:
    return ups_subscriptions.c.ae_title == ae_title, ups_subscriptions.c.workitem_uid == workitem_uid


def _of_told(ae_title: str, workitem_uid: str) -> tuple[sa.ColumnElement[bool], ...]:
    return ups_told.c.ae_title == ae_title, ups_told.c.workitem_uid == workitem_uid
