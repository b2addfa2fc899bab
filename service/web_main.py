"""The web process: the page and the API on one port, until SIGTERM or until whoever started it is gone."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from errno import EADDRINUSE
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from hoichan import settings as settings_module
from hoichan.adapters import logs
from hoichan.adapters.held_sql import HeldSql
from hoichan.adapters.passwords import Passwords
from hoichan.adapters.records_read import ReadingSql
from hoichan.adapters.tls import page_context
from hoichan.adapters.vitals_disk import DiskVitals
from hoichan.errors import ConfigurationError, PortInUse, StorageUnusable
from hoichan.guard.scopes import Scope
from hoichan.intake.files import Counted
from hoichan.meters import Tally
from hoichan.settings import Settings, is_loopback
from service import background, receivers
from service.api import upload
from service.api.app import create_app
from service.api.batches import Batches
from service.api.desk import Desk
from service.api.stow import Admit, StowDoor, stow_app
from service.api.stow_access import StowAccess
from service.processes import announce, role_options, stop_event
from service.told_at_start import SessionEnds, tell_start
from service.wiring import House, open_house

log = structlog.get_logger()

USED_WRONGLY = 2  # exit code (DESIGN §4)
GRACE_SECONDS = 5
LONGEST_WORD = 16 * 1024  # bytes of what comes through a WebSocket: nothing of it is read


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    ready = 'written as {"port": …} once the page answers'
    options = role_options(argv, role="web", what="Serve the page and the API.", ready=ready)
    try:
        settings = settings_module.load(options.config, data_dir=options.data_dir)
        door = bind(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return USED_WRONGLY
    with door:
        try:
            serve(settings, door, ready_file=options.ready_file, lifeline=options.stdin_lifeline)
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            return USED_WRONGLY
    return 0


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises PortInUse, or ConfigurationError for an address that is not here."""
    web = settings.web
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((web.host, web.port))
        door.listen(128)
    except OSError as error:
        door.close()
        if error.errno == EADDRINUSE:
            raise PortInUse("web", web.host, web.port) from error
        raise ConfigurationError(
            f"The page cannot listen on {web.host}:{web.port}: {error.strerror}."
        ) from error
    return door


def serve(settings: Settings, door: socket.socket, *, ready_file: Path | None, lifeline: bool) -> None:
    """Answer on the socket until a signal or the end of the lifeline."""
    logs.configure("web")
    house = open_house(settings)
    of_file, settings = settings, house.settings
    receivers.tell(house.receivers)
    check_people(house)
    house.audit.check()
    app = create_app(
        settings,
        reading=ReadingSql(house.engine, house.objects),
        studies_port=house.studies,
        people_sql=house.people,
        tokens=house.tokens,
        passwords=Passwords(),
        audit=house.audit,
        clock=house.clock,
        held=HeldSql(
            house.engine, house.objects, house.spool, settings.storage.data_dir / "cache" / "documents"
        ),
        spool_root=settings.storage.spool_dir,
        receivers=house.receivers,
    )
    tally = Tally()
    _mount_doors(app, house, tally)
    server = _Server(_configuration(settings, app), ready_file)
    tell_start(of_file, house.audit, house.clock)  # nothing refuses the start from here on
    # uvicorn takes the signals while it serves and raises them again when it has shut down: this event's
    # handlers then have nothing left to do. The end of the lifeline reaches the server through the event.
    stop = stop_event(stdin_lifeline=lifeline)
    threading.Thread(target=_end_with, args=(stop, server), name="stop", daemon=True).start()
    try:
        ends = SessionEnds(settings.web, house.people, house.audit, house.clock)
        with _counting(settings, tally), ends, _following(app):
            server.run(sockets=[door])
    finally:
        house.engine.dispose()


def _counting(settings: Settings, tally: Tally) -> AbstractContextManager[object]:
    """What tells `/metrics` what came in here; a spool that cannot be written is told by others."""
    if not settings.web.stow and not settings.web.upload:
        return nullcontext()
    try:
        return DiskVitals(settings.storage.spool_dir, "page", tally, {})
    except StorageUnusable as error:
        log.warning("page_not_counted", code=error.code)
        return nullcontext()


@contextmanager
def _following(app: FastAPI) -> Iterator[None]:
    """Other receivers count as soon as they are written, whichever page wrote them."""
    stop = threading.Event()
    thread = background.start(
        "receivers",
        app.state.in_force.look,
        leads=lambda: True,
        stop=stop,
        pause_seconds=receivers.LOOK_SECONDS,
    )
    try:
        yield
    finally:
        stop.set()
        thread.join(GRACE_SECONDS)


def _mount_doors(app: FastAPI, house: House, tally: Tally) -> None:
    """STOW-RS for programs and the upload for people, where they are open."""
    settings = house.settings
    desk: Desk = app.state.desk

    def door(admit: Admit, name: str, batches: Batches | None = None) -> StowDoor:
        return StowDoor(
            house.spool,
            settings.storage.data_dir,
            admit=admit,
            maximum_bytes=settings.web.stow_maximum_bytes,
            reserve_bytes=settings.storage.reserve_bytes,
            counted=Counted(tally=tally, door=name),
            batches=batches,
        )

    if settings.web.stow:
        programs = StowAccess(house.tokens, house.people, desk.witness, host=settings.web.host)
        app.mount("/dicom-web", stow_app(door(programs, "stow")))
    if settings.web.upload:
        drops = Batches(house.spool.released)
        app.mount(upload.PLACE, stow_app(door(upload.UploadAccess(desk), "upload", drops)))


def _configuration(settings: Settings, app: FastAPI) -> uvicorn.Config:
    configuration = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # its lines hold the URL; ours hold the route template
        server_header=False,
        proxy_headers=bool(settings.web.trusted_proxies),
        forwarded_allow_ips=list(settings.web.trusted_proxies),
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws_max_size=LONGEST_WORD,
    )
    configuration.load()
    if settings.web.tls is not None:
        configuration.ssl = page_context(settings.web.tls)
    return configuration


def check_people(house: House) -> None:
    """Raises ConfigurationError for a page that the network reaches and nobody could sign in to."""
    web = house.settings.web
    if not is_loopback(web.host) and not house.people.any_user():
        house.engine.dispose()
        raise ConfigurationError(
            "web.host is open to the network, but there is no account yet: "
            "add the first with `hoichan user add`, or stay on loopback."
        )
    if web.stow and not is_loopback(web.host) and not house.tokens.any_token(Scope.STOW):
        house.engine.dispose()
        raise ConfigurationError(
            "web.stow is open to the network, but no program has a token to store with: "
            "make one with `hoichan token add NAME --scope stow`, or stay on loopback."
        )


class _Server(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config, ready_file: Path | None) -> None:
        super().__init__(config)
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = sockets[0].getsockname()[1] if sockets else None
        announce(self._ready_file, {"port": port})
        log.info("web_serving", port=port)


def _end_with(stop: threading.Event, server: uvicorn.Server) -> None:
    stop.wait()
    server.should_exit = True


if __name__ == "__main__":
    raise SystemExit(main())
