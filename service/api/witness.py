"""Puts what people do at the page into the audit log, before they get the answer.

What cannot be recorded is not done: the answer is then 503. One thing comes before that rule: a full disk
must not blind the reader. A look at the list, a study or its trail is shown, told in the process's log, kept
in memory and recorded with its own time as soon as the disk takes it. A page that asks again by itself would
fill the log, so a repeated look of one person at the same thing counts as one for ten minutes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta
from threading import Lock

import structlog
from fastapi import Request

from hoichan.adapters.audit_sql import AuditSql
from hoichan.errors import RecordsUnavailable
from hoichan.guard.audit import Audited, AuditRecord, Outcome
from hoichan.ports import Clock
from service.api.caller import Caller, address_of, caller_of

log = structlog.get_logger()

ONE_LOOK = timedelta(minutes=10)
_REMEMBERED = 4096  # looks; the oldest go first, and are then recorded once more
_OWED = 100_000  # looks that wait for the disk; beyond them a look is refused like anything else
_READING = frozenset({Audited.VIEWED, Audited.QUERIED})
_LOOKS = frozenset({Audited.VIEWED, Audited.QUERIED, Audited.LOG_READ, Audited.ACCESS_REFUSED})


class Witness:
    """Records what is done, and who did it."""

    def __init__(self, audit: AuditSql, clock: Clock) -> None:
        self.audit = audit
        self._clock = clock
        self._looks: OrderedDict[tuple[str, ...], datetime] = OrderedDict()
        self._owed: deque[AuditRecord] = deque()
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
        self._append(record)
        if is_look:
            self._remember(key, record.when)

    def _append(self, record: AuditRecord) -> None:
        """Record it after what is owed; owe it where it is a look and the disk says no."""
        with self._lock:
            try:
                while self._owed:
                    self.audit.append(self._owed[0])
                    self._owed.popleft()
                self.audit.append(record)
            except RecordsUnavailable as error:
                if record.what not in _READING or len(self._owed) >= _OWED:
                    raise
                self._owed.append(record)
                log.error(
                    "audit_owed", who=record.who, what=record.what.value, uids=record.uids, code=error.code
                )

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
