"""The order door's process: HL7 v2 messages over MLLP in, kept before they are answered.

It only writes down: a message, its answer, and what it says of orders and people are one transaction. What
follows from it for studies is the worker's (`service.corrections`). So nothing that was acknowledged is lost
when either of them is killed, and the door answers while the worker is down.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from datetime import tzinfo
from errno import EADDRINUSE
from pathlib import Path

import structlog

from hoichan.adapters import logs
from hoichan.adapters.mllp_door import MllpDoor, listen
from hoichan.adapters.orders_sql import OrdersSql
from hoichan.encoding.hl7_ack import encode_ack, verdict
from hoichan.errors import (
    ConfigurationError,
    HoichanError,
    MessageTooLarge,
    PortInUse,
    RecordsUnavailable,
    UnknownSender,
)
from hoichan.intake.messages import Told, hear, unread
from hoichan.ports import Clock
from hoichan.settings import Orders, Settings
from service.processes import announce
from service.wiring import open_house

log = structlog.get_logger()


class OrderDesk:
    """Answers messages, whatever they hold."""

    def __init__(self, settings: Settings, orders: OrdersSql, clock: Clock) -> None:
        self._settings = settings
        self._orders = orders
        self._clock = clock

    def answer(self, content: bytes, address: str) -> bytes:
        """The acknowledgement of one message: AA only after it is on disk, with what it says."""
        told = _hear(content, self._settings.site.zone)
        if not knows(self._settings.orders, told, address):
            log.warning("order_sender_unknown", address=address, kind=told.kind)
            return self._acknowledge(content, UnknownSender())
        try:
            kept = self._orders.take(
                told,
                content,
                source=address,
                answer=verdict(told.error)[0],
                acknowledgement=self._acknowledge(content, told.error),
            )
        except RecordsUnavailable as error:  # nothing is kept: the sender tries again
            log.error("order_message_not_kept", address=address, code=error.code)
            return self._acknowledge(content, error)
        except Exception as error:  # noqa: BLE001  whatever a message may hold, its sender gets an answer
            log.error("order_message_not_kept", address=address, code=f"unexpected.{type(error).__name__}")
            return self._acknowledge(content, HoichanError())
        log.info(
            "order_message",
            address=address,
            kind=told.kind,
            answer=kept.answer,
            code=told.error.code if told.error else None,
            repeated=kept.repeated,
            message=told.key[:16],
        )
        return kept.acknowledgement

    def repeat(self, message_key: str) -> str | None:
        """Read a message again that was refused, e.g. after an update: its answer now; None where none is."""
        content = self._orders.content_of(message_key)
        if content is None:
            return None
        told = _hear(content, self._settings.site.zone)
        answer = verdict(told.error)[0]
        self._orders.retake(
            message_key, told, answer=answer, acknowledgement=self._acknowledge(content, told.error)
        )
        log.info("order_message_repeated", kind=told.kind, answer=answer, message=message_key[:16])
        return answer

    def too_large(self, beginning: bytes, address: str) -> bytes:
        """The answer to a message that nobody waits the end of."""
        return self._acknowledge(beginning, MessageTooLarge())

    def _acknowledge(self, content: bytes, error: HoichanError | None) -> bytes:
        return encode_ack(content, error, self._clock.now().astimezone(self._settings.site.zone))


def _hear(content: bytes, zone: tzinfo) -> Told:
    """What a message tells; one that our reader stumbles over is kept aside for a person."""
    try:
        return hear(content, zone=zone)
    except Exception as error:  # noqa: BLE001  a fault of ours must not stop what comes after it
        log.error("order_message_failed", code=f"unexpected.{type(error).__name__}")
        return unread(content, HoichanError())


def knows(orders: Orders, told: Told, address: str) -> bool:
    """Whether network, MSH-3 and MSH-4 fit one of the senders."""
    peer = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return any(
        peer in ipaddress.ip_network(sender.host, strict=False)
        and sender.application in ("*", told.application)
        and sender.facility in ("*", told.facility)
        for sender in orders.allowed
    )


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises ConfigurationError, PortInUse among them."""
    orders = settings.orders
    if not orders.enabled:
        raise ConfigurationError("The order door is closed: set orders.enabled = true to open it.")
    try:
        return listen(orders)
    except OSError as error:
        if error.errno == EADDRINUSE:
            raise PortInUse("orders", orders.host, orders.port) from error
        raise ConfigurationError(
            f"The order door cannot listen on {orders.host}:{orders.port}: {error.strerror}."
        ) from error


def main(settings: Settings, *, stop: threading.Event, ready_file: Path | None = None) -> None:
    """Take messages until `stop` is set. Raises ConfigurationError when it cannot start."""
    logs.configure("orders")
    with bind(settings) as door:
        house = open_house(settings)
        try:
            desk = OrderDesk(settings, OrdersSql(house.engine, house.clock), house.clock)
            taker = MllpDoor(settings.orders, door, desk.answer, desk.too_large)
            port = door.getsockname()[1]
            announce(ready_file, {"port": port})  # it listens; who calls now is answered in a moment
            log.info("orders_listening", port=port)
            asyncio.run(serve(taker, stop))
        finally:
            house.engine.dispose()


async def serve(door: MllpDoor, stop: threading.Event) -> None:
    """Take messages until `stop` is set by another thread."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_tell, args=(stop, loop, ended), name="stop", daemon=True).start()
    await door.serve(ended)


def _tell(stop: threading.Event, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    stop.wait()
    loop.call_soon_threadsafe(ended.set)
