"""The MLLP door: frames in, acknowledgements out (HL7 v2 transport specification: MLLP, release 1).

One connection carries one message at a time; what a sender writes ahead waits. What is done with a message
is the caller's: `answer` gets its bytes and gives those of the acknowledgement, in a thread of its own, one
after the other. Whoever is slow, silent or frames nothing is hung up on, and costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from hoichan.adapters.tls import door_context
from hoichan.settings import Orders

log = structlog.get_logger()

START_BLOCK, END_BLOCK, CARRIAGE_RETURN = b"\x0b", b"\x1c", b"\r"
RECEIVE_BYTES = 64 * 1024
MOST_NOISE_BYTES = 1024  # before a start block; some senders put line ends between frames
GRACE_SECONDS = 5.0  # for the message in hand when the door closes

Answer = Callable[[bytes, str], bytes]  # content and address -> acknowledgement


class MllpDoor:
    """Listens until it is closed. `answer` never raises for what a message says."""

    def __init__(self, orders: Orders, door: socket.socket, answer: Answer, too_large: Answer) -> None:
        """`too_large` answers the beginning of a message over the limit. Raises ConfigurationError."""
        self._orders = orders
        self._door = door
        self._answer = answer
        self._too_large = too_large
        self._context = door_context(orders.tls, "orders.tls") if orders.tls else None
        self._one = ThreadPoolExecutor(max_workers=1, thread_name_prefix="orders")
        self._open: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Take messages until `stop` is set; the one in hand is finished and answered."""
        server = await asyncio.start_server(
            self._called,
            sock=self._door,
            ssl=self._context,
            ssl_handshake_timeout=self._orders.message_seconds if self._context else None,
        )
        try:
            await stop.wait()
        finally:
            server.close()
            for task in self._open - self._busy:
                task.cancel()
            if self._open:
                await asyncio.wait(self._open, timeout=GRACE_SECONDS)
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await asyncio.to_thread(self._one.shutdown)

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # asyncio runs this in one
        address = str((writer.get_extra_info("peername") or ("",))[0])
        self._open.add(task)
        try:
            if not self._may(address):
                log.warning("order_sender_refused", address=address)
            elif len(self._open) > self._orders.maximum_connections:
                log.warning("order_connections_full", address=address, connections=len(self._open) - 1)
            else:
                await self._talk(reader, writer, address, task)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it hung up, or is hung up on
        except asyncio.CancelledError:
            pass  # the door closes; asyncio's own wrapper would print the task
        finally:
            self._open.discard(task)
            self._busy.discard(task)
            writer.transport.abort()

    def _may(self, address: str) -> bool:
        """Whether anybody at this address may tell us something."""
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        return any(peer in ipaddress.ip_network(one.host, strict=False) for one in self._orders.allowed)

    async def _talk(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
        task: asyncio.Task[None],
    ) -> None:
        """Message after message, until the sender hangs up or does not keep to the rules."""
        held = bytearray()
        while True:
            if not await self._begun(reader, held):
                return
            async with asyncio.timeout(self._orders.message_seconds):
                content = await self._message(reader, held)
            if content is None:
                log.warning("order_message_too_large", address=address)
                await self._say(writer, self._too_large(bytes(held[:RECEIVE_BYTES]), address))
                return
            self._busy.add(task)
            acknowledgement = await asyncio.get_running_loop().run_in_executor(
                self._one, self._answer, content, address
            )
            await self._say(writer, acknowledgement)
            self._busy.discard(task)

    async def _begun(self, reader: asyncio.StreamReader, held: bytearray) -> bool:
        """Wait for a start block and drop it with what is before it; False when there will be none."""
        noise = 0
        while True:
            start = held.find(START_BLOCK)
            if start >= 0:
                del held[: start + 1]
                return True
            noise += len(held)
            held.clear()
            if noise > MOST_NOISE_BYTES:
                return False
            async with asyncio.timeout(self._orders.idle_seconds):
                chunk = await reader.read(RECEIVE_BYTES)
            if not chunk:
                return False
            held += chunk

    async def _message(self, reader: asyncio.StreamReader, held: bytearray) -> bytes | None:
        """The content up to the end block, which is dropped; None when it is too long."""
        looked = 0
        while (end := held.find(END_BLOCK, looked)) < 0:
            looked = len(held)
            if looked > self._orders.maximum_message_bytes:
                return None
            chunk = await reader.read(RECEIVE_BYTES)
            if not chunk:
                raise ConnectionResetError
            held += chunk
        if end > self._orders.maximum_message_bytes:
            return None
        content = bytes(held[:end])
        del held[: end + 1]
        return content

    async def _say(self, writer: asyncio.StreamWriter, acknowledgement: bytes) -> None:
        writer.write(START_BLOCK + acknowledgement + END_BLOCK + CARRIAGE_RETURN)
        async with asyncio.timeout(self._orders.message_seconds):
            await writer.drain()


def listen(orders: Orders) -> socket.socket:
    """The listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in orders.host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((orders.host, orders.port))
        door.listen(orders.maximum_connections)
        door.setblocking(False)
    except OSError:
        with suppress(OSError):
            door.close()
        raise
    return door
