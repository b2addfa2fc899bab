"""Notices of critical findings on a SQL database. Every method may raise RecordsUnavailable (try again)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from hoichan.adapters import notice_rows, rows, views
from hoichan.adapters.notice_rows import Notice, Telling
from hoichan.adapters.schema import reports, studies, trail
from hoichan.adapters.schema_front_door import rejected_reports
from hoichan.adapters.schema_notices import notice_tellings, noticed_reports, notices
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.reporting.notices import (
    Known,
    NoticeState,
    NoticeStep,
    Source,
    after,
    critical_of,
    is_due,
    judge,
    pause,
)
from hoichan.settings import AnyChannel
from hoichan.types import ReportStatus, ReviewKind, SOPInstanceUID, StudyInstanceUID

LOOK_BACK = timedelta(days=31)  # reports older than this are not looked for: the index has their time
_AT_ONCE = 200


class NoticesSql:
    """What is told, to whom, and who has acknowledged it."""

    def __init__(self, engine: sa.Engine, clock: Clock, sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight

    # ------------------------------------------------------------------ birth
    def unseen(self) -> Sequence[SOPInstanceUID]:
        """Reports that nobody has looked at for critical findings, oldest first."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(reports.c.report_uid)
                .where(
                    reports.c.created_at > self._clock.now() - LOOK_BACK,
                    ~sa.exists().where(noticed_reports.c.report_uid == reports.c.report_uid),
                )
                .order_by(reports.c.created_at, reports.c.report_uid)
                .limit(_AT_ONCE)
            ).scalars()
            return [SOPInstanceUID(uid) for uid in found]

    def look(self, report_uid: SOPInstanceUID) -> int | None:
        """Look at a report once; the number of the notice that was born of it.

        One transaction: after a crash the report is looked at again, or the notice stands.
        """
        now = self._clock.now()
        with transaction(self._engine) as connection:
            if not rows.insert_once(connection, noticed_reports, {"report_uid": report_uid, "at": now}):
                return None
            row = (
                connection.execute(sa.select(reports).where(reports.c.report_uid == report_uid))
                .mappings()
                .one()
            )
            study = StudyInstanceUID(row["study_instance_uid"])
            connection.execute(  # one look at a study at a time
                sa.select(studies.c.state).where(studies.c.study_instance_uid == study).with_for_update()
            ).first()
            status = ReportStatus(row["status"])
            source = Source(
                status=status,
                critical=critical_of(views.report(row).findings),
                judged=self._is_judged(connection, report_uid),
                withdrawn=self._is_withdrawal(connection, report_uid),
            )
            known = self._known(connection, study)
            states = {one.number: one.state for one in known}
            verdict = judge(source, known)
            for number, step in verdict.ends:
                self._end(connection, study, number, step, begins=states[number])
            if source.withdrawn:
                self._look_again_at_later(connection, study, report_uid)
            if not verdict.born:
                return None
            confirmed = status is not ReportStatus.UNVERIFIED
            made = connection.execute(
                notices.insert()
                .values(
                    study_instance_uid=study,
                    report_uid=report_uid,
                    confirmed=confirmed,
                    critical=sorted(source.critical),
                    state=str(NoticeState.OPEN),
                    born_at=now,
                )
                .returning(notices.c.number)
            ).scalar_one()
            by = "withdrawal" if source.withdrawn else "doctor" if confirmed else "ai"
            self._trail(connection, study, "notice_raised", number=made, by=by)
            return int(made)

    def _is_judged(self, connection: sa.Connection, report_uid: str) -> bool:
        """Whether a doctor signed about it, or a rejection note took it back, before anybody was told."""
        signed = sa.select(reviews.c.judged).where(reviews.c.judged == report_uid)
        noted = sa.select(rejected_reports.c.report_uid).where(rejected_reports.c.report_uid == report_uid)
        return connection.execute(signed.union_all(noted).limit(1)).first() is not None

    def _is_withdrawal(self, connection: sa.Connection, report_uid: str) -> bool:
        """Whether a report takes back what a doctor signed, by a doctor's word."""
        found = connection.execute(
            sa.select(reviews.c.number).where(
                reviews.c.report_uid == report_uid, reviews.c.kind == ReviewKind.WITHDRAWAL
            )
        )
        return found.first() is not None

    def _look_again_at_later(self, connection: sa.Connection, study: str, withdrawal: str) -> None:
        """Have the signature that stands since a withdrawal looked at once more: it may have been seen first.

        The report of a withdrawal is written by a worker, seconds after its signature or hours.
        """
        last = connection.execute(
            sa.select(reviews.c.report_uid, reviews.c.kind)
            .where(reviews.c.study_instance_uid == study)
            .order_by(reviews.c.number.desc())
            .limit(1)
        ).one()
        if last.report_uid != withdrawal and last.kind != ReviewKind.WITHDRAWAL:
            connection.execute(
                noticed_reports.delete().where(noticed_reports.c.report_uid == last.report_uid)
            )

    def _known(self, connection: sa.Connection, study: str) -> Sequence[Known]:
        found = connection.execute(sa.select(notices).where(notices.c.study_instance_uid == study)).mappings()
        return [
            Known(
                number=row["number"],
                state=NoticeState(row["state"]),
                confirmed=bool(row["confirmed"]),
                critical=frozenset(row["critical"]),
            )
            for row in found
        ]

    # ------------------------------------------------------------------ telling
    def due(self, channels: Sequence[AnyChannel]) -> Sequence[Telling]:
        """What is to be told now, oldest notice first; a row of each is there afterwards."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            for one in self._open(connection):
                for channel in channels:
                    if _is_for(channel, one) and is_due(one.born_at, channel.after_minutes, now):
                        values = {"number": one.number, "channel": channel.name, "attempts": 0}
                        more = {"next_attempt_at": now, "told_at": None, "detail": ""}
                        self._plan(connection, {**values, **more})
                        self._remind(connection, one.number, channel)
            found = connection.execute(
                notice_rows.tellings()
                .where(
                    notices.c.state == NoticeState.OPEN,
                    notice_tellings.c.told_at.is_(None),
                    notice_tellings.c.next_attempt_at <= now,
                    notice_tellings.c.channel.in_([channel.name for channel in channels]),
                )
                .order_by(notices.c.born_at, notices.c.number, notice_tellings.c.channel)
                .limit(_AT_ONCE)
            ).mappings()
            return [notice_rows.telling_of(row) for row in found]

    def _plan(self, connection: sa.Connection, values: dict[str, object]) -> None:
        there = connection.execute(
            sa.select(notice_tellings.c.number).where(
                notice_tellings.c.number == values["number"], notice_tellings.c.channel == values["channel"]
            )
        ).first()
        if there is None:
            rows.insert_once(connection, notice_tellings, values)

    def _remind(self, connection: sa.Connection, number: int, channel: AnyChannel) -> None:
        """Tell it again where it was told so long ago, and the settings want that."""
        if not channel.remind_minutes:
            return
        now, table = self._clock.now(), notice_tellings
        connection.execute(
            table.update()
            .where(
                table.c.number == number,
                table.c.channel == channel.name,
                table.c.told_at <= now - timedelta(minutes=channel.remind_minutes),
            )
            .values(told_at=None, next_attempt_at=now)
        )

    def oldest_open_at(self) -> datetime | None:
        """Since when the oldest notice waits that nobody has acknowledged; None where none does."""
        with transaction(self._engine) as connection:
            found: datetime | None = connection.execute(
                sa.select(notices.c.born_at)
                .where(
                    notices.c.state == NoticeState.OPEN, *self._sight.narrow_by(notices.c.study_instance_uid)
                )
                .order_by(notices.c.born_at)
                .limit(1)
            ).scalar()
            return found

    def claim(self, telling: Telling, lasts: timedelta) -> Telling | None:
        """Have it told by this process alone, for so long; None where another tells it, or nobody needs to.

        Written down before it is sent: of two that lead for a moment one wins. Nobody else tells it until the
        claim is over; then, after a crash, another does.
        """
        until = self._clock.now() + lasts
        is_open = sa.exists().where(
            notices.c.number == telling.notice.number, notices.c.state == NoticeState.OPEN
        )
        with transaction(self._engine) as connection:
            won = connection.execute(
                notice_tellings.update().where(*_as_seen(telling), is_open).values(next_attempt_at=until)
            )
        return replace(telling, next_attempt_at=until) if won.rowcount else None

    def told(self, telling: Telling, detail: str, people: Sequence[str]) -> None:
        """A channel has taken it. `people`: addresses of staff, for the trail."""
        with transaction(self._engine) as connection:
            changed = connection.execute(
                notice_tellings.update()
                .where(*_of(telling), notice_tellings.c.told_at.is_(None))
                .values(told_at=self._clock.now(), attempts=telling.attempts + 1, detail=detail[:128])
            )
            if changed.rowcount:
                self._trail(
                    connection,
                    telling.notice.study_instance_uid,
                    "notice_told",
                    number=telling.notice.number,
                    channel=telling.channel,
                    people=", ".join(people) or telling.channel,
                )

    def not_told(self, telling: Telling, detail: str) -> None:
        """A channel did not take it: it is tried again, later and later, until the notice ends.

        Nothing changes where the claim is not ours any more.
        """
        attempts = telling.attempts + 1
        with transaction(self._engine) as connection:
            changed = connection.execute(
                notice_tellings.update()
                .where(*_as_seen(telling))
                .values(
                    attempts=attempts,
                    next_attempt_at=self._clock.now() + pause(attempts),
                    detail=detail[:128],
                )
            )
            if attempts == 1 and changed.rowcount:
                self._trail(
                    connection,
                    telling.notice.study_instance_uid,
                    "notice_not_told",
                    number=telling.notice.number,
                    channel=telling.channel,
                )

    # ------------------------------------------------------------------ people
    def open(self) -> Sequence[Notice]:
        """Notices that nobody has acknowledged, oldest first."""
        with transaction(self._engine) as connection:
            return self._open(connection)

    def waiting(self) -> int:
        """How many of them there are."""
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.select(sa.func.count())
                .select_from(notices)
                .where(
                    notices.c.state == NoticeState.OPEN, *self._sight.narrow_by(notices.c.study_instance_uid)
                )
            ).scalar_one()

    def tellings(self, numbers: Sequence[int]) -> dict[int, list[Telling]]:
        """Who was told of these notices, and who was not yet."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                notice_rows.tellings()
                .where(notices.c.number.in_(list(numbers)))
                .order_by(notice_tellings.c.told_at, notice_tellings.c.channel)
            ).mappings()
            made: dict[int, list[Telling]] = {}
            for row in found:
                made.setdefault(row["number"], []).append(notice_rows.telling_of(row))
            return made

    def get(self, number: int) -> Notice | None:
        """One notice, whatever its state; None where it is unknown or not seen."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                notice_rows.seen(self._sight).where(notices.c.number == number)
            ).mappings()
            found = row.first()
        return None if found is None else notice_rows.notice_of(found)

    def acknowledge(self, number: int, who: str) -> bool:
        """A person has taken note; False where it is unknown, not seen or ended already."""
        one = self.get(number)
        if one is None:
            return False
        with transaction(self._engine) as connection:
            return self._end(connection, one.study_instance_uid, number, NoticeStep.ACKNOWLEDGE, who=who)

    # ------------------------------------------------------------------ inside
    def _open(self, connection: sa.Connection) -> Sequence[Notice]:
        found = connection.execute(
            notice_rows.seen(self._sight)
            .where(notices.c.state == NoticeState.OPEN)
            .order_by(notices.c.born_at, notices.c.number)
            .limit(_AT_ONCE)
        ).mappings()
        return [notice_rows.notice_of(row) for row in found]

    def _end(
        self,
        connection: sa.Connection,
        study: str,
        number: int,
        step: NoticeStep,
        *,
        who: str = "",
        begins: NoticeState = NoticeState.OPEN,
    ) -> bool:
        state = after(begins, step)
        ended = {"ended_at": self._clock.now(), "ended_by": who or None} if begins is NoticeState.OPEN else {}
        changed = connection.execute(
            notices.update()
            .where(notices.c.number == number, notices.c.state == begins)
            .values(state=str(state), **ended)
        )
        if not changed.rowcount:
            return False
        self._trail(connection, study, f"notice_{state}", number=number, **({"user": who} if who else {}))
        return True

    def _trail(self, connection: sa.Connection, study: str, event: str, **details: object) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=study, at=self._clock.now(), event=event, details=details
            )
        )


def _is_for(channel: AnyChannel, one: Notice) -> bool:
    if not (one.confirmed or channel.unconfirmed):
        return False
    return not channel.senders or one.calling_ae_title in channel.senders


def _as_seen(telling: Telling) -> tuple[sa.ColumnElement[bool], ...]:
    """Nobody has told it since it was read, or claimed it."""
    table = notice_tellings.c
    is_same = table.attempts == telling.attempts, table.next_attempt_at == telling.next_attempt_at
    return *_of(telling), table.told_at.is_(None), *is_same


def _of(telling: Telling) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        notice_tellings.c.number == telling.notice.number,
        notice_tellings.c.channel == telling.channel,
    )
