"""What follows a finding, on a SQL database. Every method may raise RecordsUnavailable (try again)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from hoichan.adapters import rows, views
from hoichan.adapters.review_standing import standing
from hoichan.adapters.schema import reports, studies, trail
from hoichan.adapters.schema_notices import follow_ups
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.privacy import Phi
from hoichan.reporting.notices import FOLLOW_UP_STEPS, FollowUpKind, FollowUpState
from hoichan.types import Presence, SOPInstanceUID, StudyInstanceUID

_Signed = tuple[SOPInstanceUID, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A next step for a patient: what, by whom, until when, and how it ended."""

    number: int
    study_instance_uid: StudyInstanceUID
    report_uid: SOPInstanceUID
    finding_key: str
    kind: FollowUpKind
    words: Phi[str]
    owner: str  # user name
    due_on: date  # in the site's zone
    asked_by: str
    asked_at: datetime
    state: FollowUpState
    outcome: Phi[str]
    closed_by: str | None
    closed_at: datetime | None


class FollowUpsSql:
    """Next steps; a row is never rewritten but for its end."""

    def __init__(self, engine: sa.Engine, clock: Clock, sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._clock = clock
        self._sight = sight

    def signed_findings(self, study: StudyInstanceUID) -> _Signed | None:
        """The signed report that stands, and the keys of what it says is there; None without one."""
        with transaction(self._engine) as connection:
            return _signed(connection, [study]).get(study)

    def ask(
        self,
        study: StudyInstanceUID,
        *,
        finding_key: str,
        kind: FollowUpKind,
        words: str,
        owner: str,
        due_on: date,
        who: str,
    ) -> int | None:
        """Keep a next step; its number. None where no signed report that stands holds the finding."""
        now = self._clock.now()
        with transaction(self._engine) as connection:
            connection.execute(  # nobody signs or takes back meanwhile
                sa.select(studies.c.state).where(studies.c.study_instance_uid == study).with_for_update()
            ).first()
            signed = _signed(connection, [study]).get(study)
            if signed is None or finding_key not in signed[1]:
                return None
            number = connection.execute(
                follow_ups.insert()
                .values(
                    study_instance_uid=study,
                    report_uid=signed[0],
                    finding_key=finding_key,
                    kind=str(kind),
                    words=words,
                    owner=owner,
                    due_on=due_on,
                    asked_by=who,
                    asked_at=now,
                    state=str(FollowUpState.OPEN),
                    outcome="",
                )
                .returning(follow_ups.c.number)
            ).scalar_one()
            details = {"number": number, "user": who, "owner": owner, "due": due_on.isoformat()}
            self._trail(connection, study, "follow_up_asked", {**details, "kind": str(kind)})
            return int(number)

    def close(self, number: int, state: FollowUpState, *, words: str, who: str) -> bool:
        """Say how it ended; False where it is unknown, not seen or closed already."""
        one = self.get(number)
        if one is None or (one.state, state) not in FOLLOW_UP_STEPS:
            return False
        with transaction(self._engine) as connection:
            changed = connection.execute(
                follow_ups.update()
                .where(follow_ups.c.number == number, follow_ups.c.state == FollowUpState.OPEN)
                .values(state=str(state), outcome=words, closed_by=who, closed_at=self._clock.now())
            )
            if not changed.rowcount:
                return False
            details = {"number": number, "user": who, "outcome": str(state)}
            self._trail(connection, one.study_instance_uid, "follow_up_closed", details)
            return True

    def get(self, number: int) -> FollowUp | None:
        """One, whatever its state; None where it is unknown or not seen."""
        found = self._find(follow_ups.c.number == number)
        return found[0] if found else None

    def open(self) -> Sequence[FollowUp]:
        """What is not closed, by date: the overdue come first."""
        return self._find(follow_ups.c.state == FollowUpState.OPEN)

    def of(self, study: StudyInstanceUID) -> Sequence[FollowUp]:
        """All of a study, by date."""
        return self._find(follow_ups.c.study_instance_uid == study)

    def standing(self, found: Sequence[FollowUp]) -> frozenset[int]:
        """Which of these have their finding in the signed report that stands: their numbers."""
        with transaction(self._engine) as connection:
            signed = _signed(connection, {one.study_instance_uid for one in found})
        held = {uid: keys for uid, (_, keys) in signed.items()}
        return frozenset(
            one.number for one in found if one.finding_key in held.get(one.study_instance_uid, ())
        )

    def overdue(self, today: date) -> int:
        """How many are open after their day."""
        with transaction(self._engine) as connection:
            return connection.execute(
                sa.select(sa.func.count())
                .select_from(follow_ups)
                .where(
                    follow_ups.c.state == FollowUpState.OPEN,
                    follow_ups.c.due_on < today,
                    *self._sight.narrow_by(follow_ups.c.study_instance_uid),
                )
            ).scalar_one()

    def _find(self, *conditions: sa.ColumnElement[bool]) -> list[FollowUp]:
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(follow_ups)
                .where(*conditions, *self._sight.narrow_by(follow_ups.c.study_instance_uid))
                .order_by(follow_ups.c.due_on, follow_ups.c.number)
                .limit(500)
            ).mappings()
            return [_follow_up(row) for row in found]

    def _trail(self, connection: sa.Connection, study: str, event: str, details: dict[str, object]) -> None:
        connection.execute(
            trail.insert().values(
                study_instance_uid=study, at=self._clock.now(), event=event, details=details
            )
        )


def _signed(connection: sa.Connection, wanted: Collection[StudyInstanceUID]) -> Mapping[str, _Signed]:
    """By study: the signed report that stands, and the keys of what it says is there."""
    stands = standing(connection, wanted)
    found = connection.execute(
        sa.select(reports).where(reports.c.report_uid.in_([one["report_uid"] for one in stands.values()]))
    ).mappings()
    made = {}
    for row in found:
        present = [one.key for one in views.report(row).findings if one.presence is Presence.PRESENT]
        made[row["study_instance_uid"]] = SOPInstanceUID(row["report_uid"]), tuple(dict.fromkeys(present))
    return made


def _follow_up(row: rows.Row) -> FollowUp:
    return FollowUp(
        number=row["number"],
        study_instance_uid=StudyInstanceUID(row["study_instance_uid"]),
        report_uid=SOPInstanceUID(row["report_uid"]),
        finding_key=row["finding_key"],
        kind=FollowUpKind(row["kind"]),
        words=Phi(row["words"]),
        owner=row["owner"],
        due_on=row["due_on"],
        asked_by=row["asked_by"],
        asked_at=row["asked_at"],
        state=FollowUpState(row["state"]),
        outcome=Phi(row["outcome"]),
        closed_by=row["closed_by"],
        closed_at=row["closed_at"],
    )
