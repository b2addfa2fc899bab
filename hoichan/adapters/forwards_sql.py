"""What is to be forwarded, on a SQL database: a row an instance, rule and receiver; the row is the truth.

A rule is held against every revision that was closed after the rule was first seen, when the revision is
closed or, where the rule asks for it, when its answer is there. Both are found by a look at the record, so a
crash loses nothing, and the same look twice adds nothing. Every method may raise RecordsUnavailable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.rows import insert_once
from hoichan.adapters.schema import reports, revisions, trail
from hoichan.adapters.schema_tokens import forward_plans, forward_rules, forwards
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.reporting.forwarding import Answer, Errand, ForwardState, Told, given_up
from hoichan.types import Outcome, Presence, StudyInstanceUID, StudyState, Tier

CLOSED, ANSWERED = "closed", "answered"
_AT_A_TIME = 100  # revisions of one look


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision that a rule was not held against yet."""

    study: StudyInstanceUID
    revision: int
    answer: Answer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the instances of one study stand with one receiver."""

    study_instance_uid: str
    rule: str
    destination: str
    state: ForwardState
    instances: int
    detail: str


class ForwardsSql:
    """Plans, rows and what was said to them."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    # ------------------------------------------------------------------ planning
    def begin(self, rules: Sequence[str]) -> None:
        """From now on these rules forward; what is here already stays."""
        with transaction(self._engine) as connection:
            for rule in rules:
                insert_once(connection, forward_rules, {"rule": rule, "since": self._clock.now()})

    def unplanned(self, rule: str, stage: str) -> Sequence[Revision]:
        """Revisions that the rule was not held against at this stage, oldest first."""
        planned = sa.exists().where(
            forward_plans.c.rule == rule,
            forward_plans.c.study_instance_uid == revisions.c.study_instance_uid,
            forward_plans.c.revision == revisions.c.revision,
            forward_plans.c.stage == stage,
        )
        since = sa.select(forward_rules.c.since).where(forward_rules.c.rule == rule).scalar_subquery()
        query = (
            sa.select(revisions.c.study_instance_uid, revisions.c.revision, revisions.c.state)
            .where(revisions.c.assembled_at >= since, ~planned)
            .order_by(revisions.c.assembled_at)
            .limit(_AT_A_TIME)
        )
        if stage == ANSWERED:
            query = query.where(revisions.c.state.in_([StudyState.REPORTED, StudyState.FAILED]))
        with transaction(self._engine) as connection:
            return [
                Revision(
                    study=StudyInstanceUID(row.study_instance_uid),
                    revision=row.revision,
                    answer=_answer(connection, row.study_instance_uid, row.revision, row.state)
                    if stage == ANSWERED
                    else None,
                )
                for row in connection.execute(query).all()
            ]

    def plan(self, rule: str, revision: Revision, stage: str, errands: Sequence[Errand]) -> int:
        """Write down what the rule sends of a revision; how many are new."""
        now, new = self._clock.now(), 0
        by_receiver: dict[str, int] = {}
        with transaction(self._engine) as connection:
            for position, errand in enumerate(errands):
                row = _row(errand) | {
                    "position": position,
                    "state": ForwardState.PENDING,
                    "created_at": now,
                    "next_attempt_at": now,
                }
                if insert_once(connection, forwards, row):
                    new += 1
                    by_receiver[errand.destination] = by_receiver.get(errand.destination, 0) + 1
            mark = {
                "rule": rule,
                "study_instance_uid": revision.study,
                "revision": revision.revision,
                "stage": stage,
                "at": now,
            }
            insert_once(connection, forward_plans, mark)
            for destination, count in by_receiver.items():
                details = {"rule": rule, "destination": destination, "instances": count}
                _note(connection, revision.study, now, "forward_planned", details)
        return new

    # ------------------------------------------------------------------ sending
    def due(self, destination: str, limit: int) -> Sequence[Errand]:
        """What goes to a receiver next: instances of one study by one rule, as they were planned.

        One that was begun without an end comes by itself: the next death says which of them it was.
        """
        waits = (
            forwards.c.destination == destination,
            forwards.c.state == ForwardState.PENDING,
            forwards.c.next_attempt_at <= self._clock.now(),
        )
        order = (
            forwards.c.created_at,
            forwards.c.study_instance_uid,
            forwards.c.rule,
            forwards.c.attempts,  # what ended the line before comes after what only stood behind it
            forwards.c.position,
        )
        with transaction(self._engine) as connection:
            query = sa.select(forwards).where(*waits).order_by(*order).limit(1)
            first = connection.execute(query).mappings().first()
            if first is None:
                return []
            if first["begun"]:
                return [_errand(first)]
            found = connection.execute(
                sa.select(forwards)
                .where(
                    *waits,
                    forwards.c.study_instance_uid == first["study_instance_uid"],
                    forwards.c.rule == first["rule"],
                    forwards.c.begun == 0,
                )
                .order_by(*order)
                .limit(limit)
            ).mappings()
            return [_errand(row) for row in found]

    def begin_try(self, errands: Sequence[Errand]) -> Sequence[Errand]:
        """Count one start of a try of these; those that still wait, with how many of their starts had no end.

        They are of one study, rule and receiver, as `due` gives them.
        """
        with transaction(self._engine) as connection:
            found = connection.execute(
                forwards.update()
                .where(*_are(errands), forwards.c.state == ForwardState.PENDING)
                .values(begun=forwards.c.begun + 1)
                .returning(forwards.c.sop_instance_uid, forwards.c.begun)
            )
            begun = {row.sop_instance_uid: row.begun for row in found}
        return [
            replace(one, begun=begun[one.sop_instance_uid])
            for one in errands
            if one.sop_instance_uid in begun
        ]

    def forgive_try(self, errands: Sequence[Errand]) -> None:
        """A start of these does not count: its worker lives, or was asked to end."""
        with transaction(self._engine) as connection:
            connection.execute(
                forwards.update()
                .where(*_are(errands), forwards.c.begun > 0)
                .values(begun=forwards.c.begun - 1)
            )

    def set_aside(self, errand: Errand, detail: str) -> bool:
        """The try killed who made it: dead letter, unless something was said of it since; whether it is."""
        now = self._clock.now()
        values = {"state": ForwardState.DEAD, "settled_at": now, "acknowledgement": detail, "begun": 0}
        waits = (forwards.c.state == ForwardState.PENDING, forwards.c.attempts == errand.attempts)
        with transaction(self._engine) as connection:
            done = connection.execute(
                forwards.update()
                .where(*_are([errand]), *waits)
                .values(**values, attempts=forwards.c.attempts + 1)
            ).rowcount
            if done:
                details = {
                    "rule": errand.rule,
                    "destination": errand.destination,
                    "instance": errand.sop_instance_uid,
                    "detail": detail,
                }
                _note(connection, errand.study_instance_uid, now, "forward_set_aside", details)
        return bool(done)

    def settle(self, words: Sequence[Told], pauses: Mapping[int, timedelta]) -> Sequence[Told]:
        """Write down what was said, and give it back as it counts: some is given up.

        `pauses`: how long to wait by the tries before this one.
        """
        now = self._clock.now()
        words = [given_up(told, now) for told in words]
        if not words:
            return words
        counts: dict[tuple[str, str], int] = {}
        with transaction(self._engine) as connection:
            for told in words:
                attempts = told.errand.attempts + told.tries
                values: dict[str, object] = {
                    "attempts": attempts,
                    "acknowledgement": told.detail[:256],
                    "begun": 0,
                }
                if told.later:
                    values["next_attempt_at"] = now + pauses[told.errand.attempts]
                else:
                    values |= {"state": told.state, "settled_at": now}
                event = "forward_postponed" if told.later else f"forward_{told.state}"
                counts[event, told.detail] = counts.get((event, told.detail), 0) + 1
                connection.execute(
                    forwards.update()
                    .where(*_are([told.errand]), forwards.c.state == ForwardState.PENDING)
                    .values(values)
                )
            errand = words[0].errand
            for (event, detail), count in counts.items():
                details = {
                    "rule": errand.rule,
                    "destination": errand.destination,
                    "instances": count,
                    "detail": detail[:256],
                }
                _note(connection, errand.study_instance_uid, now, event, details)
        return words

    # ------------------------------------------------------------------ people
    def wants_a_person(self, limit: int, sight: Sight = EVERYTHING) -> Sequence[Standing]:
        """What was refused or is held until somebody looks, oldest first."""
        with transaction(self._engine) as connection:
            query = _standing().where(
                forwards.c.state.in_([ForwardState.DEAD, ForwardState.HELD]),
                *sight.narrow_by(forwards.c.study_instance_uid),
            )
            return _standings(connection, query.limit(limit))

    def standing(self, study: str | None = None, *, open_only: bool = False) -> Sequence[Standing]:
        """Studies, rules and receivers with counts, oldest first."""
        query = _standing()
        if study is not None:
            query = query.where(forwards.c.study_instance_uid == study)
        if open_only:
            query = query.where(forwards.c.state != ForwardState.SENT)
        with transaction(self._engine) as connection:
            return _standings(connection, query)

    def retry(self, study: str) -> int:
        """Send dead ones again, and waiting ones now; how many."""
        return self._wake(study, (ForwardState.DEAD, ForwardState.PENDING), "forward_retried", {})

    def release(self, study: str) -> int:
        """A person has looked at the pixels of what is held: it goes now; how many."""
        return self._wake(study, (ForwardState.HELD,), "forward_released", {"released": True})

    def _wake(
        self, study: str, states: Sequence[ForwardState], event: str, more: Mapping[str, object]
    ) -> int:
        now = self._clock.now()
        with transaction(self._engine) as connection:
            done = connection.execute(
                forwards.update()
                .where(forwards.c.study_instance_uid == study, forwards.c.state.in_(states))
                .values(state=ForwardState.PENDING, next_attempt_at=now, settled_at=None, begun=0, **more)
            )
            if done.rowcount:
                _note(connection, study, now, event, {"instances": done.rowcount})
        return int(done.rowcount)


def _standing() -> sa.Select[Any]:
    return (
        sa.select(
            forwards.c.study_instance_uid,
            forwards.c.rule,
            forwards.c.destination,
            forwards.c.state,
            sa.func.count().label("instances"),
            sa.func.max(forwards.c.acknowledgement).label("detail"),
        )
        .group_by(forwards.c.study_instance_uid, forwards.c.rule, forwards.c.destination, forwards.c.state)
        .order_by(sa.func.min(forwards.c.created_at))
    )


def _standings(connection: sa.Connection, query: sa.Select[Any]) -> Sequence[Standing]:
    return [
        Standing(
            study_instance_uid=row.study_instance_uid,
            rule=row.rule,
            destination=row.destination,
            state=ForwardState(row.state),
            instances=row.instances,
            detail=row.detail or "",
        )
        for row in connection.execute(query)
    ]


def _answer(connection: sa.Connection, study: str, revision: int, state: str) -> Answer:
    if state == StudyState.FAILED:
        return Answer(state="failed", tier=None)
    report = connection.execute(
        sa.select(reports.c.outcome, reports.c.findings)
        .where(
            reports.c.study_instance_uid == study,
            reports.c.revision == revision,
        )
        .order_by(reports.c.created_at)
        .limit(1)
    ).first()
    if report is None:
        return Answer(state="reported", tier=None)
    present = {one["tier"] for one in report.findings if one["presence"] == Presence.PRESENT}
    tier = next((str(tier) for tier in Tier if tier in present), None)
    told = "not_analysed" if report.outcome == Outcome.NOT_ANALYSED else "reported"
    return Answer(state=told, tier=tier)


def _row(errand: Errand) -> dict[str, object]:
    return {
        "rule": errand.rule,
        "destination": errand.destination,
        "study_instance_uid": errand.study_instance_uid,
        "sop_instance_uid": errand.sop_instance_uid,
        "sop_class_uid": errand.sop_class_uid,
        "transfer_syntax_uid": errand.transfer_syntax_uid,
        "path": errand.path,
        "released": errand.released,
        "attempts": errand.attempts,
    }


def _errand(row: sa.RowMapping) -> Errand:
    return Errand(**{name: row[name] for name in Errand.__dataclass_fields__})


def _are(errands: Sequence[Errand]) -> tuple[sa.ColumnElement[bool], ...]:
    """Rows of one study, rule and receiver."""
    first = errands[0]
    return (
        forwards.c.rule == first.rule,
        forwards.c.destination == first.destination,
        forwards.c.study_instance_uid == first.study_instance_uid,
        forwards.c.sop_instance_uid.in_([one.sop_instance_uid for one in errands]),
    )


def _note(
    connection: sa.Connection, study: str, at: datetime, event: str, details: Mapping[str, object]
) -> None:
    connection.execute(
        trail.insert().values(study_instance_uid=study, at=at, event=event, details=dict(details))
    )
