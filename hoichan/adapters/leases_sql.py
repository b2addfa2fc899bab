"""Who may tell something outside just now, where two workers may both believe that they lead.

A worker that stood still (a suspended machine, a stopped process) wakes up in the middle of its round, when
another leads already. So the right to tell is a row with a number, which grows with each taker, and an end.
Who wants to send takes it, and before each message keeps it: that fails as soon as another has taken it. What
was being sent when the machine stood still may come twice; nothing behind it does. After a crash others wait
for the end, and tell again what was not written down as told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from hoichan.adapters import rows
from hoichan.adapters.schema_audit_feed import audit_feeds
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock

# An end so many times as far away as the lease lasts was written by a clock that was wrong.
_NOT_BELIEVED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to tell, as long as nobody else has taken it."""

    receiver: str
    what: str
    number: int
    lasts: timedelta


def lasts(timeout_seconds: float) -> timedelta:
    """How long a lease is to be for messages with this time limit: longer than any one takes to be sent.

    A mail has up to eight answers to wait for, a batch its token first.
    """
    return timedelta(seconds=60 + 10 * timeout_seconds)


class LeasesSql:
    """Leases by receiver and what it is told. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def take(self, receiver: str, what: str, lasts: timedelta) -> Lease | None:
        """The lease; None while another has it. `what`: at most 16 characters."""
        now, until = self._clock.now(), audit_feeds.c.at
        first = {"receiver": receiver, "source": what, "position": 1, "at": now + lasts}
        with transaction(self._engine) as connection:
            number: int | None = 1
            if not rows.insert_once(connection, audit_feeds, first):
                number = connection.execute(
                    audit_feeds.update()
                    .where(
                        *_of(receiver, what),
                        sa.or_(until <= now, until > now + _NOT_BELIEVED * lasts),
                    )
                    .values(position=audit_feeds.c.position + 1, at=now + lasts)
                    .returning(audit_feeds.c.position)
                ).scalar()
        if number is None:
            return None
        return Lease(receiver=receiver, what=what, number=number, lasts=lasts)

    def keep(self, lease: Lease) -> bool:
        """Have it from now on as long as at first; False where another has taken it: stop."""
        return self._set_end(lease, lease.lasts)

    def give_back(self, lease: Lease) -> None:
        """Others need not wait for its end."""
        self._set_end(lease, timedelta())

    def _set_end(self, lease: Lease, later: timedelta) -> bool:
        with transaction(self._engine) as connection:
            changed = connection.execute(
                audit_feeds.update()
                .where(*_of(lease.receiver, lease.what), audit_feeds.c.position == lease.number)
                .values(at=self._clock.now() + later)
            )
        return bool(changed.rowcount)


def _of(receiver: str, what: str) -> tuple[sa.ColumnElement[bool], ...]:
    return audit_feeds.c.receiver == receiver, audit_feeds.c.source == what
