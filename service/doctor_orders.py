"""Where orders come from, for `hoichan doctor`: the port of the order door, and the worklists."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

from hoichan.adapters.clock import SystemClock
from hoichan.settings import Settings
from service.wiring import worklist_scu
from service.worklists import examine_worklists

CONNECT_SECONDS = 5.0


def examine_orders(settings: Settings, *, runs: bool) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it passed, and what was found or what to do. `runs`: the service runs on this folder."""
    orders = settings.orders
    if orders.enabled:
        where = f"{orders.host}:{orders.port}"
        passed, detail = _listens(where, settings) if runs else _is_free(where, settings)
        yield "order port", passed, detail
    if orders.worklists:
        now = SystemClock().now()
        yield from examine_worklists(settings, lambda one: worklist_scu(settings, one), now)


def _listens(where: str, settings: Settings) -> tuple[bool, str]:
    """Somebody takes connections there; which message he would take cannot be asked without sending one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.orders.host, settings.orders.host)
    try:
        socket.create_connection((host, settings.orders.port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return False, f"{where} takes no connection ({reason}): see the log of the process `orders`"
    return True, f"{where} takes connections"


def _is_free(where: str, settings: Settings) -> tuple[bool, str]:
    orders = settings.orders
    family = socket.AF_INET6 if ":" in orders.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((orders.host, orders.port))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return False, f"{where} cannot be opened ({reason}): end who has it, or set orders.port"
    return True, f"{where} is free"
