"""`hoichan doctor`: what an IT person would check first, and what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

from hoichan.adapters import database
from hoichan.adapters.associations import associate, release
from hoichan.adapters.audit_sql import KEY_FILE, AuditSql
from hoichan.adapters.clock import SystemClock
from hoichan.adapters.people_sql import PeopleSql
from hoichan.adapters.reasons import reason_of
from hoichan.analysis.manifests import discover, shelf_roots
from hoichan.errors import HoichanError, Unreachable
from hoichan.settings import (
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
    Settings,
    is_loopback,
)
from service import readiness
from service.causes import cause_of
from service.readiness import is_running, premises
from service.receivers import at_the_next_start
from service.web.rendering import catalogue
from service.web.words import Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    passed: bool
    detail: str  # what was found, or what to do


def examine(settings: Settings) -> list[Check]:
    """Every check, in the order in which a start would need them."""
    laid = at_the_next_start(settings)
    settings = laid.settings
    checks: list[Callable[[Settings], Check | Iterator[Check]]] = [
        _data_dir,
        _space,
        _database,
        _page,
        _names,
        _certificates,
        _models,
        _folders,
        _destinations,
        _sources,
        _orders,
        _running,
    ]
    found: list[Check] = []
    for check in checks:
        result = check(settings)
        found.extend([result] if isinstance(result, Check) else result)
    for one in laid.passed_over:
        detail = f"does not count ({one.code} {one.detail}".rstrip() + "): see /receivers"
        found.append(Check(name=f"receiver {one.name} of the page", passed=False, detail=detail))
    return found


def _data_dir(settings: Settings) -> Check:
    folder = settings.storage.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        detail = f"{folder} cannot be written ({error.strerror}): set storage.data_dir or its permissions"
        return Check(name="data folder", passed=False, detail=detail)
    return Check(name="data folder", passed=True, detail=str(folder.absolute()))


def _space(settings: Settings) -> Check:
    folder = settings.storage.data_dir
    if not folder.exists():
        return Check(name="disk space", passed=False, detail=f"{folder} does not exist")
    free = shutil.disk_usage(folder).free
    enough = free > settings.storage.reserve_bytes
    detail = f"{free / 1e9:.1f} GB free, the reserve is {settings.storage.reserve_bytes / 1e9:.1f} GB"
    return Check(name="disk space", passed=enough, detail=detail)


def _database(settings: Settings) -> Check:
    try:
        version = database.schema_version(database.open_database(settings.storage.database_url))
    except HoichanError as error:
        return Check(name="database", passed=False, detail=str(error))
    if version not in (None, database.HEAD):
        todo = "start the newer program" if database.is_newer(version) else "run `hoichan migrate`"
        detail = f"schema {version}, this program needs {database.HEAD}: {todo}"
        return Check(name="database", passed=False, detail=detail)
    return Check(name="database", passed=True, detail=f"schema {version or 'not made yet'}")


def _page(settings: Settings) -> Check:
    """Whether the page may be opened as wide as it is, and can record who looks."""
    web, engine = settings.web, database.open_database(settings.storage.database_url)
    try:
        if database.schema_version(engine) != database.HEAD:
            return Check(name="page", passed=True, detail="no account yet")
        key_file = settings.storage.data_dir / KEY_FILE
        log = AuditSql(engine, key_file)
        if key_file.exists() or log.head().length:  # makes none: the service may run as another user
            log.check()
        accounts = len(PeopleSql(engine, SystemClock()).users())
    except HoichanError as error:
        return Check(name="page", passed=False, detail=str(error))
    finally:
        engine.dispose()
    if not is_loopback(web.host) and not accounts:
        detail = f"open on {web.host} without an account: add the first with `hoichan user add`"
        return Check(name="page", passed=False, detail=detail)
    if not is_loopback(web.host) and web.tls is None:
        detail = f"open on {web.host} without TLS, passwords can be read on the way: set web.tls"
        return Check(name="page", passed=False, detail=detail)
    how = f"{accounts} accounts" if accounts else "no account yet: whoever sits at this machine sees it"
    return Check(name="page", passed=True, detail=how)


def _running(settings: Settings) -> Iterator[Check]:
    """What `/readyz` says, when any process of the house lives."""
    try:
        engine = database.open_database(settings.storage.database_url)
    except HoichanError:  # told by the check of the database
        return
    try:
        spool = settings.storage.spool_dir
        site = premises(settings, engine, spool_root=spool, now=SystemClock().now)
        if not is_running(site):
            yield Check(name="processes", passed=True, detail="nothing runs on this folder")
            return
        for finding in readiness.examine(site):
            detail = " ".join(one for one in (finding.detail, finding.to_do) if one)
            yield Check(name=f"running: {finding.name}", passed=finding.ok, detail=detail)
    finally:
        engine.dispose()


def _names(settings: Settings) -> Check:
    """`service` is a common name: another package of that name in front of ours would be started instead."""
    spec = find_spec("service")
    place = Path(spec.origin).parent if spec and spec.origin else None
    ours = place is not None and place == Path(__file__).parent
    detail = "service is ours" if ours else f"another package named service lies at {place}: remove it"
    return Check(name="package names", passed=ours, detail=detail)


def _certificates(settings: Settings) -> Check:
    """Also while nothing runs: a renewal takes a hospital weeks."""
    found = readiness.certificates(settings)
    detail = " ".join(one for one in (found.detail, found.to_do) if one)
    return Check(name="certificates", passed=found.ok, detail=detail)


def _models(settings: Settings) -> Iterator[Check]:
    shelf = discover(shelf_roots(settings.storage.data_dir))
    for manifest in shelf.manifests:
        detail = f"{manifest.algorithm_version}, {manifest.status}"
        yield Check(name=f"model {manifest.name}", passed=True, detail=detail)
    for name, error in shelf.invalid:
        yield Check(name=f"model {name}", passed=False, detail=str(error))
    if not shelf.manifests and not shelf.invalid:
        yield Check(name="models", passed=False, detail="none: every study will be NOT ANALYSED")


def _folders(settings: Settings) -> Iterator[Check]:
    for folder in settings.folders:
        name = f"folder of {folder.sender}"
        wanted = os.R_OK | os.X_OK | (0 if folder.after == "keep" else os.W_OK)
        if not folder.path.is_dir():
            detail = f"{folder.path} is not there: make it, mount it, or correct folders.path"
            yield Check(name=name, passed=False, detail=detail)
        elif not os.access(folder.path, wanted):
            detail = f"{folder.path} does not allow after = {folder.after!r}: change its permissions, or keep"
            yield Check(name=name, passed=False, detail=detail)
        else:
            yield Check(name=name, passed=True, detail=f"{folder.path}, after = {folder.after!r}")


def _sources(settings: Settings) -> Iterator[Check]:
    if not settings.sources:
        return
    from hoichan.adapters.spool_disk import DiskSpool  # noqa: PLC0415  what asks sources is heavy
    from service.sources import examine_sources  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:  # nothing is fetched, and data_dir may not be ours
        for name, passed, detail in examine_sources(settings, DiskSpool(Path(folder))):
            yield Check(name=name, passed=passed, detail=detail)


def _orders(settings: Settings) -> Iterator[Check]:
    if not settings.orders.enabled and not settings.orders.worklists:
        return
    from service.doctor_orders import examine_orders  # noqa: PLC0415

    for name, passed, detail in examine_orders(settings, runs=_runs(settings)):
        yield Check(name=name, passed=passed, detail=detail)


def _runs(settings: Settings) -> bool:
    """Whether any process of the house lives; False where the database cannot say."""
    try:
        engine = database.open_database(settings.storage.database_url)
    except HoichanError:  # told by the check of the database
        return False
    try:
        spool = settings.storage.spool_dir
        return is_running(premises(settings, engine, spool_root=spool, now=SystemClock().now))
    except HoichanError:
        return False
    finally:
        engine.dispose()


def _destinations(settings: Settings) -> Iterator[Check]:
    for destination in settings.effective_destinations:
        name = f"destination {destination.name}"
        match destination:
            case DicomDestination():
                yield _echo(name, settings, destination)
            case DicomwebDestination():
                yield _dicomweb(name, destination)
            case FhirDestination():
                yield _metadata(name, destination)
            case Hl7Destination():
                yield _connection(name, destination)
            case FolderDestination():
                yield Check(name=name, passed=True, detail=str(destination.path))


def _unreachable(name: str, where: str, reason: str) -> Check:
    """With the name of the fault in words, and what to do about it."""
    words = Words("en", catalogue("en"), ZoneInfo("UTC"))
    cause = cause_of(reason)
    advice = f": {words.cause(cause)} {words.remedy(cause)}" if cause else ""
    return Check(name=name, passed=False, detail=f"{where} cannot be reached ({reason}){advice}")


def _dicomweb(name: str, destination: DicomwebDestination) -> Check:
    from hoichan.adapters.stow_client import StowClient  # noqa: PLC0415

    try:
        status = StowClient(destination, timeout_seconds=5).knock()
    except Unreachable as error:
        return _unreachable(name, str(destination.url), error.detail)
    if status >= 400:
        detail = f"{destination.url} answers with {status}: check url and auth"
        return Check(name=name, passed=False, detail=detail)
    return Check(name=name, passed=True, detail=f"{destination.url} answers")


def _echo(name: str, settings: Settings, destination: DicomDestination) -> Check:
    from pynetdicom import AE  # noqa: PLC0415

    from hoichan.adapters.tls import client_args  # noqa: PLC0415

    where = f"{destination.ae_title}@{destination.host}:{destination.port}"
    try:
        socket.create_connection((destination.host, destination.port), timeout=5).close()
    except OSError as error:
        return _unreachable(name, where, reason_of(error))
    entity = AE(ae_title=destination.calling_ae_title or settings.listener.ae_title)
    entity.add_requested_context("1.2.840.10008.1.1")
    entity.acse_timeout = entity.dimse_timeout = 5
    try:
        tls_args = client_args(destination.tls, destination.host)
    except OSError as error:
        detail = f"the certificates of {name}.tls cannot be used ({type(error).__name__})"
        return Check(name=name, passed=False, detail=detail)
    association = associate(
        entity, destination.host, destination.port, ae_title=destination.ae_title, tls_args=tls_args
    )
    if not association.is_established:
        detail = f"{where} rejects our AE title {entity.ae_title}: register it there, or correct ae_title"
        if tls_args:
            detail += "; or the certificates of one side are not known to the other"
        return Check(name=name, passed=False, detail=detail)
    association.send_c_echo()
    release(association)
    return Check(name=name, passed=True, detail=f"{where} answers C-ECHO")


def _connection(name: str, destination: Hl7Destination) -> Check:
    """MLLP has no echo: whether somebody listens is all that can be asked without sending a message."""
    where = f"{destination.host}:{destination.port}"
    try:
        socket.create_connection((destination.host, destination.port), timeout=5).close()
    except OSError as error:
        return _unreachable(name, where, reason_of(error))
    return Check(name=name, passed=True, detail=f"{where} takes connections")


def _metadata(name: str, destination: FhirDestination) -> Check:
    import httpx2  # noqa: PLC0415

    url = str(destination.url).rstrip("/") + "/metadata"
    try:
        answer = httpx2.get(url, timeout=5)
    except httpx2.HTTPError as error:
        return _unreachable(name, str(destination.url), reason_of(error))
    detail = f"{destination.url} answers {answer.status_code} to /metadata"
    return Check(name=name, passed=answer.status_code == 200, detail=detail)
