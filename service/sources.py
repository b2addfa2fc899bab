"""How the sources do: for `hoichan status` and `hoichan doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from hoichan.adapters import database
from hoichan.adapters.sources_sql import SourcesSql
from hoichan.errors import HoichanError, Refused, Unreachable
from hoichan.ports import Spool
from hoichan.settings import AnySource, DimseSource, Settings
from hoichan.types import StudyInstanceUID
from service.wiring import House, archive_of

NOBODY = StudyInstanceUID("2.25.1")  # a study that no archive has: asking for it tries the whole way
PROBE_SECONDS = 5.0


class SourceStatus(TypedDict):
    """One source in `hoichan status --json`."""

    contacted_at: str | None  # ISO 8601; the last question that was answered
    failures: int  # since then
    error: str | None  # code of the last one
    to_fetch: int  # studies that are to be compared, or fetched
    given_up: int  # studies of which something cannot be fetched


def source_status(house: House) -> dict[str, SourceStatus]:
    """Every configured source by its name."""
    record = SourcesSql(house.engine)
    found: dict[str, SourceStatus] = {}
    for source in house.settings.sources:
        contact = record.contact(source.name)
        wanted, given_up = record.waiting(source.name)
        found[source.name] = SourceStatus(
            contacted_at=None if contact.contacted_at is None else contact.contacted_at.isoformat(),
            failures=contact.failures,
            error=contact.error,
            to_fetch=wanted,
            given_up=given_up,
        )
    return found


def examine_sources(settings: Settings, spool: Spool) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it passed, and what was found or what to do, of each source. Asks each of them once."""
    for source in settings.sources:
        name = f"source {source.name}"
        stranger = _is_stranger(settings, source)
        if stranger is not None:
            yield name, False, stranger
            continue
        quick = source.model_copy(
            update={"timeout_seconds": PROBE_SECONDS, "fetch_timeout_seconds": PROBE_SECONDS}
        )
        try:
            archive_of(settings, spool, quick).holding(NOBODY)
        except Unreachable as error:
            yield name, False, f"cannot be reached ({error.detail}): check address, AE title and network"
        except Refused as error:
            yield name, False, f"refuses us ({error.status}): register our AE title or account there"
        else:
            yield name, True, f"answers{_last_contact(settings, source)}"


def _is_stranger(settings: Settings, source: AnySource) -> str | None:
    """Why what a C-MOVE brings would be turned away at our own door."""
    if not isinstance(source, DimseSource) or source.fetch != "move":
        return None
    titles = {sender.ae_title for sender in settings.listener.allowed}
    if titles & {"*", source.ae_title}:
        return None
    return (
        f"fetch = 'move' has {source.ae_title} send to our listener, which does not know it: "
        "add it to [[listener.senders]], or use fetch = 'get'"
    )


def _last_contact(settings: Settings, source: AnySource) -> str:
    engine = database.open_database(settings.storage.database_url)
    try:
        if database.schema_version(engine) != database.HEAD:
            return ""
        record = SourcesSql(engine)
        contact = record.contact(source.name)
        wanted, given_up = record.waiting(source.name)
    except HoichanError:
        return ""  # the database has a check of its own
    finally:
        engine.dispose()
    if contact.contacted_at is None:
        return ", was never caught up with"
    when = f"{contact.contacted_at.astimezone(settings.site.zone):%Y-%m-%d %H:%M}"
    return f", last contact {when}, studies to fetch: {wanted}, given up: {given_up}"
