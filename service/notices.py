"""Tells people of critical findings: the leader looks at new reports, and at what nobody has acknowledged.

Everything it knows is in rows: after a crash it goes on where it was. Each telling is claimed in its row just
before it is sent, so two workers that both believe they lead tell it once. What was being told when a worker
died or stood still is told once more when the claim is over, minutes later: nothing is left untold.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from hoichan.adapters.audit_sql import AuditSql
from hoichan.adapters.leases_sql import lasts
from hoichan.adapters.notice_channels import Teller, people_of, teller_of
from hoichan.adapters.notice_rows import Telling
from hoichan.adapters.notices_sql import NoticesSql
from hoichan.errors import Unreachable
from hoichan.guard.audit import Audited, AuditRecord, Outcome
from hoichan.ports import Clock
from hoichan.settings import AnyChannel, Settings

log = structlog.get_logger()

STEP_SECONDS = 3.0


class Notices:
    """The rows, the channels of the settings, and the log of who was told."""

    def __init__(
        self,
        rows: NoticesSql,
        audit: AuditSql,
        clock: Clock,
        settings: Settings,
        *,
        tellers: Mapping[str, Teller] | None = None,
    ) -> None:
        self._rows = rows
        self._audit = audit
        self._clock = clock
        self._channels: Mapping[str, AnyChannel] = {
            one.name: one for one in settings.notices if "critical" in one.tells
        }
        self._tellers = tellers or {
            one.name: teller_of(one, settings.site.language) for one in self._channels.values()
        }

    def step(self) -> None:
        """One round. Raises RecordsUnavailable."""
        for report_uid in self._rows.unseen():
            number = self._rows.look(report_uid)
            if number is not None:
                log.warning("notice_raised", notice=number, report=report_uid)
        silent: set[str] = set()  # did not answer in this round: the others must not wait for it again
        for telling in self._rows.due(tuple(self._channels.values())):
            if telling.channel not in silent and not self._tell(telling):
                silent.add(telling.channel)

    def _tell(self, telling: Telling) -> bool:
        """Whether the channel may be told more in this round."""
        channel = self._channels[telling.channel]
        claimed = self._rows.claim(telling, lasts(channel.timeout_seconds))
        if claimed is None:
            return True
        telling, notice = claimed, claimed.notice
        try:
            said = self._tellers[telling.channel].tell(notice, self._clock.now())
        except Unreachable as error:
            log.error("notice_not_told", notice=notice.number, channel=telling.channel, code=error.code)
            if telling.attempts == 0:
                self._record(telling, Outcome.MINOR_FAILURE)
            self._rows.not_told(telling, error.detail)
            return False
        self._record(telling, Outcome.SUCCESS)
        self._rows.told(telling, said, people_of(channel))
        return True

    def _record(self, telling: Telling, outcome: Outcome) -> None:
        self._audit.append(
            AuditRecord(
                what=Audited.CRITICAL_TOLD,
                when=self._clock.now(),
                who="system",
                role="system",
                source="",
                outcome=outcome,
                uids=(telling.notice.study_instance_uid,),
                detail=f"notice {telling.notice.number} by {telling.channel}",
            )
        )
