"""Tells owners of next steps on their day, who is asked for an opinion, and who gets one, by notice channels.

Everything it knows is in rows: what was told in the moment before a crash may be told once more. A channel is
leased while it is told, so two workers that both believe they lead tell each thing once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from hoichan.adapters.audit_sql import AuditSql
from hoichan.adapters.leases_sql import LeasesSql, lasts
from hoichan.adapters.notice_channels import Teller, teller_of
from hoichan.adapters.reminders_sql import Reminder, RemindersSql, What
from hoichan.errors import Unreachable
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.ports import Clock
from hoichan.settings import AnyChannel, Settings

log = structlog.get_logger()

STEP_SECONDS = 10.0
PAUSE = timedelta(minutes=5)  # after a channel did not answer
_KINDS: tuple[What, ...] = ("due", "asked", "answered")
_AUDITED = {
    "due": Audited.FOLLOW_UP_CHANGED,
    "asked": Audited.OPINION_CHANGED,
    "answered": Audited.OPINION_CHANGED,
}


class Reminders:
    """The rows, the channels that tell of them, and the log of who was told."""

    def __init__(
        self,
        rows: RemindersSql,
        leases: LeasesSql,
        audit: AuditSql,
        clock: Clock,
        settings: Settings,
        *,
        tellers: Mapping[str, Teller] | None = None,
    ) -> None:
        self._rows = rows
        self._leases = leases
        self._audit = audit
        self._clock = clock
        self._zone = settings.site.zone
        self._channels = [one for one in settings.notices if set(_KINDS) & set(one.tells)]
        language = settings.site.language
        self._tellers = tellers or {one.name: teller_of(one, language) for one in self._channels}
        self._away: dict[str, datetime] = {}  # until when a channel is left alone

    def step(self) -> int:
        """One round; how many were told. Raises RecordsUnavailable."""
        now, told = self._clock.now(), 0
        for channel in self._channels:
            if self._away.get(channel.name, now) > now or not self._wanted(channel):
                continue
            lease = self._leases.take(channel.name, "reminders", lasts(channel.timeout_seconds))
            if lease is None:
                continue
            for reminder in self._wanted(channel):  # as it stands now that nobody else tells
                if not self._leases.keep(lease) or not self._tell(channel, reminder):
                    break
                told += 1
            self._leases.give_back(lease)
        return told

    def _wanted(self, channel: AnyChannel) -> list[Reminder]:
        today = self._clock.now().astimezone(self._zone).date()
        return [
            one
            for what in _KINDS
            if what in channel.tells
            for one in self._rows.wanted(what, channel.name, today)
            if not channel.senders or one.sender in channel.senders
        ]

    def _tell(self, channel: AnyChannel, reminder: Reminder) -> bool:
        now = self._clock.now()
        try:
            self._tellers[channel.name].remind(reminder, now)
        except Unreachable as error:
            log.error("reminder_not_told", channel=channel.name, code=error.code)
            self._away[channel.name] = now + PAUSE
            return False
        self._audit.append(
            AuditRecord(
                what=_AUDITED[reminder.what],
                when=now,
                who="system",
                role="system",
                source="",
                uids=(reminder.study_instance_uid,),
                detail=f"told of {reminder.number} by {channel.name}",
            )
        )
        self._rows.told(reminder, channel.name)
        return True
