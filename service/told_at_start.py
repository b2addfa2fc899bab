"""What the page records by itself: that it starts, by which settings, and whose session ended.

Of the settings a digest is recorded, and the names of the sections that are not as they were at the last one.
No value is, and the digests are keyed: a short secret could be guessed from a bare one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import structlog
from pydantic import BaseModel, SecretStr

import hoichan
from hoichan.adapters.audit_sql import AuditSql
from hoichan.adapters.people_sql import Lifetime, PeopleSql
from hoichan.errors import HoichanError
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.ports import Clock
from hoichan.settings import Settings, Web

log = structlog.get_logger()

SEEN = "settings-seen.json"  # under data_dir: the digests of the sections at the last start
STEP_SECONDS = 60.0
_LONGEST = 200  # characters of names of sections in one record


def tell_start(settings: Settings, audit: AuditSql, clock: Clock) -> None:
    """Record the start, and a change of settings since the last one. Raises RecordsUnavailable."""
    now = digests(settings, audit.derived_key("settings"))
    whole = hashlib.sha256(json.dumps(now, sort_keys=True).encode("ascii")).hexdigest()[:16]
    _append(audit, clock, Audited.STARTED, f"web {hoichan.__version__} settings {whole}")
    file = settings.storage.data_dir / SEEN
    before = _seen(file)
    if before is not None and before != now:
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        names = ", ".join(changed)
        told = names if len(names) <= _LONGEST else f"{names[:_LONGEST].rpartition(',')[0]}, …"
        _append(audit, clock, Audited.SETTINGS_CHANGED, f"configuration {whole}: {told}")
        log.warning("settings_changed", sections=changed)
    if before != now:
        _remember(file, now)


def digests(settings: Settings, key: bytes) -> Mapping[str, str]:
    """A keyed digest of each section, secrets among it."""
    return {
        name: hmac.digest(key, _text(getattr(settings, name)).encode(), hashlib.sha256).hex()
        for name in type(settings).model_fields
    }


def end_sessions(web: Web, people: PeopleSql, audit: AuditSql, clock: Clock) -> int:
    """End the sessions that are over, and record whose they were; how many."""
    lifetime = Lifetime(
        idle=timedelta(seconds=web.session_idle_seconds), longest=timedelta(seconds=web.session_seconds)
    )
    ended = people.ended_sessions(lifetime)
    for one in ended:
        why = "unused" if one.was_idle else "too long"
        _append(audit, clock, Audited.LOGOUT, f"session ended: {why}", who=one.user_name, role=one.role)
    return len(ended)


class SessionEnds:
    """Ends sessions every minute, in a thread of its own, until told to stop."""

    def __init__(self, web: Web, people: PeopleSql, audit: AuditSql, clock: Clock) -> None:
        self._work = (web, people, audit, clock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session ends", daemon=True)

    def __enter__(self) -> SessionEnds:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(STEP_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(STEP_SECONDS):
            try:
                end_sessions(*self._work)
            except HoichanError as error:  # the next minute tries again
                log.warning("sessions_not_ended", code=error.code)


def _append(
    audit: AuditSql, clock: Clock, what: Audited, detail: str, *, who: str = "system", role: str = "system"
) -> None:
    record = AuditRecord(what=what, when=clock.now(), who=who, role=role, source="", detail=detail)
    audit.append(record)


def _text(section: object) -> str:
    """One text for one value, secrets revealed; for a digest only."""

    def said(value: object) -> object:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, BaseModel):
            return {name: getattr(value, name) for name in type(value).model_fields}
        if isinstance(value, set | frozenset):
            return sorted(map(str, value))
        return str(value)

    return json.dumps(section, default=said, sort_keys=True)


def _seen(file: Path) -> Mapping[str, str] | None:
    """What the last start remembered; None where it is not known."""
    try:
        found = json.loads(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _remember(file: Path, now: Mapping[str, str]) -> None:
    try:
        part = file.with_suffix(".part")
        part.write_text(json.dumps(now), encoding="ascii")
        part.replace(file)
    except OSError as error:  # a full disk: the next start tells the change once more
        log.warning("settings_not_remembered", error=type(error).__name__)
