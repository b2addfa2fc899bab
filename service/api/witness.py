"""Puts what people do at the page into the audit log, before they get the answer.

What cannot be recorded is not shown: the answer is then 503. A page that asks again by itself would fill the
log, so a repeated look of one person at the same thing counts as one for ten minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock

from fastapi import Request

from hoichan.adapters.audit_sql import AuditSql
from hoichan.guard.audit import Audited, AuditRecord, Outcome
from hoichan.ports import Clock
from service.api.caller import Caller, address_of, caller_of

ONE_LOOK = timedelta(minutes=10)
_REMEMBERED = 4096  # looks; the oldest go first, and are then recorded once more
_LOOKS = frozenset({Audited.VIEWED, Audited.QUERIED, Audited.LOG_READ, Audited.ACCESS_REFUSED})


class Witness:
    """Records what is done, and who did it."""

    def __init__(self, audit: AuditSql, clock: Clock) -> None:
        self.audit = audit
        self._clock = clock
        self._looks: OrderedDict[tuple[str, ...], datetime] = OrderedDict()
        self._lock = Lock()

    def record(
        self,
        request: Request,
        what: Audited,
        *uids: str,
        detail: str = "",
        outcome: Outcome = Outcome.SUCCESS,
        caller: Caller | None = None,
    ) -> None:
        """Record it for whoever asks. The first UID is the study's. Raises RecordsUnavailable."""
        person = caller or caller_of(request)
        record = AuditRecord(
            what=what,
            when=self._clock.now(),
            who=person.user_name if person else "unknown",
            role=person.role.value if person else "unknown",
            source=address_of(request),
            outcome=outcome,
            uids=uids,
            detail=detail,
        )
        is_look = what in _LOOKS or detail == "paused"
        session = person.session_id if person else ""
        key = (session, record.who, record.source, what, detail, *uids)
        if is_look and self._is_same_look(key, record.when):
            return
        self.audit.append(record)
        if is_look:
            self._remember(key, record.when)

    def _is_same_look(self, key: tuple[str, ...], now: datetime) -> bool:
        with self._lock:
            before = self._looks.get(key)
        return before is not None and now - before < ONE_LOOK

    def _remember(self, key: tuple[str, ...], now: datetime) -> None:
        with self._lock:
            self._looks[key] = now
            self._looks.move_to_end(key)
            if len(self._looks) > _REMEMBERED:
                self._looks.popitem(last=False)
