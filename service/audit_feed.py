"""Tells the site's audit repositories what happened here: every record, in order, none left out.

What people did is in the audit log, what the machine did in the trails. How far a repository is stands in the
database, so a restart goes on there. A repository is leased while it is told: two workers that both believe
they lead tell each record once. One that does not answer, or refuses a record, is asked again with
growing pauses; the record it refuses stays the next one, and `/readyz` says so after an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

import structlog

from hoichan.adapters.audit_feed_sql import AUDIT, TRAIL, AuditFeedSql
from hoichan.adapters.audit_repository import AuditRepositoryClient
from hoichan.adapters.audit_sql import AuditSql, Wanted
from hoichan.adapters.leases_sql import Lease, LeasesSql, lasts
from hoichan.encoding.fhir_audit import audit_event
from hoichan.encoding.fhir_audit_machine import MachineEvent, machine_event
from hoichan.encoding.fhir_parts import Json
from hoichan.errors import Refused, Unreachable
from hoichan.ports import Clock
from hoichan.reporting.deliveries import next_attempt
from hoichan.settings import Settings
from hoichan.settings.audit import AuditRepository
from service.wiring import House

log = structlog.get_logger()

STEP_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 900.0
LEASE = "lease"  # what of a repository is leased
MOST_BATCHES = 50  # a step and source: the others have their turn

Numbered = tuple[int, Json | None]  # a position, and what is to be told of it


class AuditFeed:
    """Every repository of the settings."""

    def __init__(
        self,
        feeds: AuditFeedSql,
        leases: LeasesSql,
        audit: AuditSql,
        clock: Clock,
        settings: Settings,
        *,
        client: Callable[[AuditRepository, str], AuditRepositoryClient] = AuditRepositoryClient,
    ) -> None:
        """Raises ConfigurationError for a key that cannot be used."""
        self._feeds = feeds
        self._leases = leases
        self._leased: dict[str, Lease] = {}
        self._audit = audit
        self._clock = clock
        self._settings = settings
        origin = f"{settings.site.identifier_base}/{settings.site.facility_code}"
        self._clients = {one.name: client(one, origin) for one in settings.audit_repositories}
        self._failures: dict[str, int] = {}
        self._next: dict[str, datetime] = {}

    def use(self, settings: Settings) -> None:
        """Other receivers count from now on; the repositories stay those of the file."""
        self._settings = settings

    def step(self) -> int:
        """Tell every repository that is not resting what is new; how many records were taken.

        Raises RecordsUnavailable.
        """
        taken = 0
        for repository in self._settings.audit_repositories:
            name = repository.name
            if self._next.get(name, self._clock.now()) > self._clock.now():
                continue
            try:
                for source in (AUDIT, TRAIL) if repository.machine else (AUDIT,):
                    taken += self._tell(repository, source)
            except (Unreachable, Refused) as error:
                self._rest(name, error)
            else:
                self._failures.pop(name, None)
                self._next.pop(name, None)
            if name in self._leased:
                self._leases.give_back(self._leased.pop(name))
        return taken

    def _tell(self, repository: AuditRepository, source: str) -> int:
        taken = 0
        for _ in range(MOST_BATCHES):
            at = self._feeds.position(repository.name, source)
            found = self._after(source, at, repository.batch)
            told = [(position, event) for position, event in found if event is not None]
            if told and not self._may_tell(repository, source, at):
                break
            count = self._clients[repository.name].send([one for _, one in told]) if told else 0
            taken += count
            if count < len(told):  # the first that was not taken is the next one
                if count:
                    self._feeds.advance(repository.name, source, told[count - 1][0])
                raise Refused(repository.name, "a record was not taken")
            if found:
                self._feeds.advance(repository.name, source, found[-1][0])
            if len(found) < repository.batch:
                break
        return taken

    def _may_tell(self, repository: AuditRepository, source: str, at: int) -> bool:
        """Whether nobody else tells it now, and nobody has since the position was read."""
        name = repository.name
        held = self._leased.pop(name, None)
        if held is None:
            held = self._leases.take(name, LEASE, lasts(repository.timeout_seconds))
        elif not self._leases.keep(held):
            held = None
        if held is None:
            return False
        self._leased[name] = held
        return self._feeds.position(name, source) == at

    def _after(self, source: str, position: int, limit: int) -> Sequence[Numbered]:
        site = self._settings.site
        if source == AUDIT:
            lines = islice(self._audit.lines(Wanted(), after=position), limit)
            return [(line.position, audit_event(line.position, line.record, site)) for line in lines]
        ours, kinds = self._settings.listener.ae_title, self._kinds()
        return [
            (
                line.position,
                machine_event(
                    MachineEvent(
                        position=line.position,
                        at=line.at,
                        event=line.event,
                        study_instance_uid=line.study_instance_uid,
                        details=line.details,
                        calling_ae_title=line.calling_ae_title,
                    ),
                    site,
                    ours=ours,
                    kinds=kinds,
                ),
            )
            for line in self._feeds.trail_after(position, limit)
        ]

    def _kinds(self) -> Mapping[str, str]:
        return {one.name: one.kind for one in self._settings.effective_destinations}

    @classmethod
    def of_house(cls, house: House) -> AuditFeed:
        """Of one record. Raises ConfigurationError for a key that cannot be used."""
        feeds, leases = AuditFeedSql(house.engine, house.clock), LeasesSql(house.engine, house.clock)
        return cls(feeds, leases, house.audit, house.clock, house.settings)

    def rests_until(self, name: str) -> datetime | None:
        """When a repository that did not take something is asked again; None: at the next step."""
        return self._next.get(name)

    def _rest(self, name: str, error: Unreachable | Refused) -> None:
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        pause = next_attempt(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._next[name] = self._clock.now() + timedelta(seconds=pause)
        detail = error.detail if isinstance(error, Unreachable) else error.status
        log.warning("audit_feed_waits", repository=name, detail=detail, seconds=pause)
