"""Whether the house works, told truthfully: one list for `/readyz`, for `hoichan doctor` and for the alarms.

Each finding has a stable reason and says what to do. A finding that `blocks` means that films cannot be taken
in, read or shown now; the others are true and need somebody, but the service had better stay in use.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import database
from hoichan.adapters.audit_feed_sql import SOURCES, AuditFeedSql
from hoichan.adapters.clock import SystemClock
from hoichan.adapters.drift_sql import DriftSql
from hoichan.adapters.figures_sql import FiguresSql
from hoichan.adapters.notices_sql import NoticesSql
from hoichan.adapters.set_aside_sql import SetAsideSql
from hoichan.adapters.spool_survey import Surveyor
from hoichan.adapters.stores import open_objects
from hoichan.adapters.told_sql import ToldSql
from hoichan.adapters.vitals_disk import told
from hoichan.adapters.vitals_sql import VitalsSql, WorkerView
from hoichan.analysis.drift import State
from hoichan.errors import ConfigurationError, RecordsUnavailable
from hoichan.settings import Settings
from hoichan.types import DeliveryState, Sha256
from service.certificates import certificate_files, ends_at, list_ends_at, revocation_files

DEAD_SECONDS = 15.0  # as `service.worker`: a worker that was not seen for so long is dead
OLD_SECONDS = 3600.0  # a report that waits for its receiver longer than this needs somebody
SKEW_SECONDS = 5.0  # between the clock of a worker and that of the database
CERTIFICATE_DAYS = 14
LIST_DAYS = 1  # revocation lists live for days, and are renewed by a timer
_NO_OBJECT = Sha256("0" * 64)  # nobody has it: asked only to hear an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing the service needs."""

    name: str
    ok: bool
    reason: str = ""  # stable, e.g. "database_unavailable"
    detail: str = ""  # what was found
    to_do: str = ""
    blocks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """Where to look."""

    settings: Settings
    spool_root: Path
    schema_version: Callable[[], str | None]
    vitals: VitalsSql
    figures: FiguresSql
    told: ToldSql
    drift: DriftSql
    notices: NoticesSql
    aside: SetAsideSql
    feed: AuditFeedSql
    now: Callable[[], datetime]
    survey: Callable[[], tuple[int | None, int]]  # files and bytes of the spool, as of the last walk


def premises(
    settings: Settings, engine: sa.Engine, *, spool_root: Path, now: Callable[[], datetime]
) -> Premises:
    """Where to look, of one spool and one database."""
    return Premises(
        settings=settings,
        spool_root=spool_root,
        schema_version=partial(database.schema_version, engine),
        vitals=VitalsSql(engine),
        figures=FiguresSql(engine),
        told=ToldSql(engine),
        drift=DriftSql(engine),
        notices=NoticesSql(engine, SystemClock()),
        aside=SetAsideSql(engine, SystemClock()),
        feed=AuditFeedSql(engine, SystemClock()),
        now=now,
        survey=Surveyor(spool_root).look,
    )


def examine(site: Premises) -> list[Finding]:
    """Every finding; those that need the database are left out while it is away."""
    found = [_database(site), _spool(site), *_objects(site), _listener(site)]
    if found[0].ok:
        try:
            found += _workers(site)
            found.append(_deliveries(site))
            found.append(_drift(site))
            found.append(_set_aside(site))
            found += _audit_feed(site)
        except RecordsUnavailable:
            found[0] = _AWAY
    return [*found, _certificates(site)]


def _drift(site: Premises) -> Finding:
    """Whether films or answers of the last week are unlike those a model began with here."""
    alarms = [
        f"{model}: {row.measure}{f' of {row.sender}' if row.sender else ''}"
        for model, (_, rows) in site.drift.latest().items()
        for row in rows
        if row.drift.state is State.ALARM
    ]
    if not alarms:
        return Finding(name="drift", ok=True, blocks=False)
    return Finding(
        name="drift",
        ok=False,
        reason="model_drift",
        detail=", ".join(alarms[:5]) + (f" and {len(alarms) - 5} more" if len(alarms) > 5 else ""),
        to_do="Look with `hoichan model drift`: a new device, another population, or a fault; in doubt "
        "freeze the model with `hoichan model freeze NAME`.",
        blocks=False,
    )


def _audit_feed(site: Premises) -> list[Finding]:
    """Whether each audit repository has what is older than an hour."""
    found = []
    for one in site.settings.audit_repositories:
        waits = [site.feed.behind(one.name, source) for source in SOURCES[: 1 + one.machine]]
        oldest = min((each.oldest for each in waits if each.oldest is not None), default=None)
        late = oldest is not None and (site.now() - oldest).total_seconds() > OLD_SECONDS
        found.append(
            Finding(
                name=f"audit repository {one.name}",
                ok=not late,
                reason="audit_feed_behind" if late else "",
                detail=f"{sum(each.records for each in waits)} records wait" if late else "",
                to_do="Look for audit_feed_waits in the worker's log; nothing is lost." if late else "",
                blocks=False,
            )
        )
    return found


def _set_aside(site: Premises) -> Finding:
    """Whether objects lie aside because nobody could record them."""
    found = site.aside.standing()
    if not found:
        return Finding(name="set aside", ok=True, blocks=False)
    studies = list(dict.fromkeys(one.study_instance_uid for one in found))
    return Finding(
        name="set aside",
        ok=False,
        reason="objects_set_aside",
        detail=", ".join(studies[:5]) + (f" and {len(studies) - 5} more" if len(studies) > 5 else ""),
        to_do="Recording them killed the worker, or failed each time. Look at the files, at the machine's "
        "memory and at the worker's log, then `hoichan replay UID`.",
        blocks=False,
    )


def _objects(site: Premises) -> list[Finding]:
    """Whether the bucket answers; a folder is looked at with the disk."""
    storage = site.settings.storage
    if storage.objects_dir is not None:
        return []
    quick = storage.s3.model_copy(update={"connect_timeout_seconds": 2.0, "timeout_seconds": 5.0})
    try:
        open_objects(storage.model_copy(update={"s3": quick})).has(_NO_OBJECT)
    except (ConfigurationError, RecordsUnavailable) as error:
        return [
            Finding(
                name="object store",
                ok=False,
                reason="object_store_unavailable",
                detail=str(error),
                to_do="Mend the store, the line or storage.s3; received films wait in the spool meanwhile.",
            )
        ]
    return [Finding(name="object store", ok=True, detail=storage.objects)]


def is_running(site: Premises) -> bool:
    """Whether any process of the house lives."""
    if any(one.lives for one in told(site.spool_root)):
        return True
    try:
        return bool(_database(site).ok and _living(site))
    except RecordsUnavailable:
        return False


_AWAY = Finding(
    name="database",
    ok=False,
    reason="database_unavailable",
    detail="does not answer",
    to_do="Start the database, or mend the disk it lies on; received films wait in the spool meanwhile.",
)


def _database(site: Premises) -> Finding:
    try:
        version = site.schema_version()
    except RecordsUnavailable:
        return _AWAY
    if version != database.HEAD:
        return Finding(
            name="database",
            ok=False,
            reason="schema_version_wrong",
            detail=f"schema {version or 'not made yet'}, this program needs {database.HEAD}",
            to_do="Run `hoichan migrate`, or start the newer program.",
        )
    return Finding(name="database", ok=True, detail=f"schema {version}")


def _spool(site: Premises) -> Finding:
    root, reserve = site.spool_root, site.settings.storage.reserve_bytes
    if not root.is_dir():
        to_do = "Mount the disk, or correct storage.data_dir; the listener makes the folder."
        return Finding(name="spool", ok=False, reason="spool_missing", detail=str(root), to_do=to_do)
    if not os.access(root, os.W_OK | os.X_OK):
        to_do = "Give the service's user the right to write there; look for a file system mounted read-only."
        return Finding(name="spool", ok=False, reason="spool_not_writable", detail=str(root), to_do=to_do)
    free = shutil.disk_usage(root).free
    detail = f"{free / 1e9:.1f} GB free, the reserve is {reserve / 1e9:.1f} GB"
    if free < reserve:
        to_do = "Make room: senders are told to come back later until there is more than the reserve."
        return Finding(name="spool", ok=False, reason="spool_full", detail=detail, to_do=to_do)
    return Finding(name="spool", ok=True, detail=detail)


def _listener(site: Premises) -> Finding:
    doors = [one for one in told(site.spool_root) if one.role == "listener"]
    living = [one for one in doors if one.lives]
    if living:
        ports = sorted({int(port) for one in living for port in dict(one.facts.get("ports", {})).values()})
        detail = "takes associations on port " + ", ".join(map(str, ports))
        return Finding(name="listener", ok=True, detail=detail)
    youngest = min((one.age_seconds for one in doors), default=None)
    ended = youngest is None or youngest > 1e9  # ended in order
    detail = "not running" if ended else f"last seen {youngest:.0f} s ago"
    return Finding(
        name="listener",
        ok=False,
        reason="listener_not_seen",
        detail=detail,
        to_do="Start `hoichan listen` or `hoichan up`; its log says why it ended.",
    )


def _living(site: Premises) -> Sequence[WorkerView]:
    return [one for one in site.vitals.workers() if one.age_seconds < DEAD_SECONDS]


def _workers(site: Premises) -> list[Finding]:
    living = _living(site)
    if not living:
        return [
            Finding(
                name="worker",
                ok=False,
                reason="no_worker",
                detail="none was seen in the last seconds",
                to_do="Start `hoichan work` or `hoichan up`; its log says why. Films wait meanwhile.",
            )
        ]
    detail = f"{len(living)} at work"
    return [
        Finding(name="worker", ok=True, detail=detail),
        *_models(living),
        _receivers(living),
        _clock(living),
    ]


def _receivers(living: Sequence[WorkerView]) -> Finding:
    """Whether every worker could put all receivers of the page together."""
    left_out = sorted(
        {
            f"{name} ({code})"
            for one in living
            for name, code in dict(one.facts.get("receivers_left_out") or {}).items()
        }
    )
    if left_out:
        return Finding(
            name="receivers",
            ok=False,
            reason="receiver_not_put_together",
            detail=", ".join(left_out),
            to_do="What is for it waits. Put back the file that its credentials name, or change the entry at "
            "/receivers: it is tried again every half minute, without a restart.",
            blocks=False,
        )
    refused = sorted(
        {one.facts["receivers_refused"][0] for one in living if one.facts.get("receivers_refused")}
    )
    if refused:
        return Finding(
            name="receivers",
            ok=False,
            reason="receivers_not_put_together",
            detail=f"version {refused[-1]} of the page",
            to_do="The version before it is in force. Look at /receivers and at the worker's log, then put "
            "back the file or change the entry: it is tried again every half minute.",
            blocks=False,
        )
    return Finding(name="receivers", ok=True, blocks=False)


def _models(living: Sequence[WorkerView]) -> list[Finding]:
    models: list[dict[str, Any]] = [model for one in living for model in one.facts.get("models", ())]
    if not models:
        told_any = any("models" in one.facts and one.facts["models"] == [] for one in living)
        return [
            Finding(
                name="models",
                ok=False,
                reason="no_model" if told_any else "models_not_told",
                detail="no worker has a model" if told_any else "the workers have only just started",
                to_do="`hoichan model list` says what is there; without a model every study is NOT ANALYSED.",
            )
        ]
    missing = sorted({f"{one['name']} {one['version']}" for one in models if not one["loaded"]})
    if missing:
        return [
            Finding(
                name="models",
                ok=False,
                reason="model_not_loaded",
                detail=", ".join(missing),
                to_do="`hoichan model verify` says why; the worker's log has model_not_loaded with the code.",
            )
        ]
    names = sorted({f"{one['name']} {one['version']}" for one in models})
    loaded = Finding(name="models", ok=True, detail=", ".join(names))
    return [loaded, _provider(models)]


def _provider(models: Sequence[dict[str, Any]]) -> Finding:
    others = sorted(
        {
            f"{one['name']} runs on {one['provider']} instead of {one['wanted']}"
            for one in models
            if one["provider"] != one["wanted"]
        }
    )
    if others:
        return Finding(
            name="provider",
            ok=False,
            reason="provider_differs",
            detail="; ".join(others),
            to_do="Install the driver or the onnxruntime build of that provider, or ask for another one.",
            blocks=False,
        )
    return Finding(name="provider", ok=True, detail=", ".join(sorted({one["provider"] for one in models})))


def _clock(living: Sequence[WorkerView]) -> Finding:
    skew = max((float(one.facts.get("clock_skew_seconds", 0.0)) for one in living), key=abs)
    if abs(skew) > SKEW_SECONDS:
        return Finding(
            name="clock",
            ok=False,
            reason="clock_skew",
            detail=f"a worker is {skew:+.1f} s off the database",
            to_do="Start time synchronisation (chrony, systemd-timesyncd) on every machine.",
            blocks=False,
        )
    return Finding(name="clock", ok=True, detail=f"within {abs(skew):.1f} s of the database")


def _deliveries(site: Premises) -> Finding:
    pending = [one for one in site.figures.waiting() if one.state is DeliveryState.PENDING]
    if not pending:
        return Finding(name="deliveries", ok=True, detail="nothing waits", blocks=False)
    oldest = min(pending, key=lambda one: one.oldest_at)
    age = (site.now() - oldest.oldest_at).total_seconds()
    detail = f"the oldest waits {max(0.0, age):.0f} s for {oldest.destination}"
    if age > OLD_SECONDS:
        return Finding(
            name="deliveries",
            ok=False,
            reason="undelivered_for_long",
            detail=detail,
            to_do="`hoichan doctor` asks every receiver; reports go out by themselves when it answers.",
            blocks=False,
        )
    return Finding(name="deliveries", ok=True, detail=detail, blocks=False)


def _certificates(site: Premises) -> Finding:
    return certificates(site.settings)


def certificates(settings: Settings) -> Finding:
    """Whether every certificate and revocation list lasts for a while."""
    now = time.time()
    ends = [(name, ends_at(file), CERTIFICATE_DAYS) for name, file in certificate_files(settings).items()]
    ends += [(name, list_ends_at(file), LIST_DAYS) for name, file in revocation_files(settings).items()]
    bad = sorted(
        f"{name} cannot be read" if end is None else f"{name} ends in {(end - now) / 86400:.0f} days"
        for name, end, days in ends
        if end is None or end - now < days * 86400
    )
    if bad:
        return Finding(
            name="certificates",
            ok=False,
            reason="certificate_expiring",
            detail="; ".join(bad),
            to_do="Renew it and put it in the same place; the listener reads it without a restart.",
            blocks=False,
        )
    return Finding(name="certificates", ok=True, detail=f"{len(ends)} in use", blocks=False)
