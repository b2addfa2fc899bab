"""What RIS worklists say is ordered, taken over as orders; and whether they answer, for `hoichan doctor`.

A worklist is asked again and again and says mostly the same. Only an entry that is new, or says something
else than before, becomes a message of the record; one that is gone says nothing: it may have been performed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Protocol

import structlog

from hoichan.adapters.orders_sql import OrdersSql, order_facts
from hoichan.errors import HoichanError, Refused, Unreachable
from hoichan.intake.dataset import Header
from hoichan.intake.messages import Told
from hoichan.intake.orders import Order
from hoichan.intake.worklist import read_item
from hoichan.ports import Clock
from hoichan.settings import Settings, Worklist

log = structlog.get_logger()
KIND = "MWL"
PROBE_SECONDS = 5.0


class Asked(Protocol):
    """Where the entries come from."""

    def items(self, now: datetime) -> Iterable[Header]:
        """Entries around now. Raises Unreachable or Refused."""
        ...


class Poll:
    """Asks one worklist when its time has come."""

    def __init__(self, worklist: Worklist, scu: Asked, orders: OrdersSql, clock: Clock, zone: tzinfo) -> None:
        self._worklist = worklist
        self._scu = scu
        self._orders = orders
        self._clock = clock
        self._zone = zone
        self._known: dict[str, str] = {}  # entry -> what it said last
        self._next: datetime | None = None

    def step(self) -> int:
        """Take over what is new; returns how many entries were. Raises Unreachable or Refused."""
        now = self._clock.now()
        if self._next is not None and now < self._next:
            return 0
        self._next = now + timedelta(seconds=self._worklist.every_seconds)
        seen: dict[str, str] = {}
        taken = unusable = 0
        for item in self._scu.items(now):
            order = read_item(item, self._zone)
            if order is None:
                unusable += 1
                continue
            name, said = _identity(order), _digest(order)
            seen[name] = said
            if self._known.get(name) != said:
                self._take(order, said, now)
                taken += 1
        self._known = seen
        if taken or unusable:
            log.info("worklist", worklist=self._worklist.name, taken=taken, unusable=unusable)
        return taken

    def _take(self, order: Order, said: str, now: datetime) -> None:
        told = Told(
            key=hashlib.sha256(f"{self._worklist.name}\0{now.isoformat()}\0{said}".encode()).hexdigest(),
            kind=KIND,
            application=self._worklist.name,
            facility="",
            told_at=now,
            events=(order,),
            error=None,
        )
        self._orders.take(told, said.encode(), source=self._worklist.name, answer="AA", acknowledgement=b"")


def _identity(order: Order) -> str:
    """Which entry it is: two steps of one request are two."""
    parts = (order.accession_number, order.placer_order_number, order.filler_order_number)
    return "\0".join(part or "" for part in (*parts, order.scheduled_procedure_step_id))


def _digest(order: Order) -> str:
    return hashlib.sha256(repr(sorted(order_facts(order).items())).encode("utf-8")).hexdigest()


def examine_worklists(
    settings: Settings, asked: Callable[[Worklist], Asked], now: datetime
) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it passed, and what was found or what to do, of each worklist. Asks each of them once."""
    for worklist in settings.orders.worklists:
        name = f"worklist {worklist.name}"
        quick = worklist.model_copy(update={"timeout_seconds": PROBE_SECONDS})
        try:
            count = sum(1 for _ in asked(quick).items(now))
        except Unreachable as error:
            yield name, False, f"cannot be reached ({error.detail}): check address, AE title and network"
        except Refused as error:
            yield name, False, f"refuses us ({error.status}): register our AE title there"
        except HoichanError as error:
            yield name, False, f"fails ({error.code})"
        else:
            yield name, True, f"answers, entries from yesterday to tomorrow: {count}"
