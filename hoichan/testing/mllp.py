"""An MLLP receiver on loopback for tests: it keeps what it got, and answers as it is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from hoichan import er7

Behaviour = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECONDS = 60  # within which it must have started or ended


class Receiver:
    """Keeps the frames it got and then behaves as it is told; runs in a thread while the context is open."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None, *, port: int = 0) -> None:
        self.behaviour = behaviour
        self.tls = tls
        self.frames: list[bytes] = []  # with their MLLP block characters, oldest first
        self.port = port  # 0: a free one, once started
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Receiver:
        self._thread.start()
        assert self._ready.wait(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        with socket.create_server(("127.0.0.1", self.port)) as door:
            door.setblocking(False)
            self.port = door.getsockname()[1]
            self._ready.set()
            accepting = asyncio.create_task(self._accept(door))
            await self._end.wait()
            for task in (accepting, *self._calls):
                task.cancel()
            await asyncio.gather(accepting, *self._calls, return_exceptions=True)

    async def _accept(self, door: socket.socket) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(door)
            call = asyncio.create_task(self._called(connection))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _called(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=16 * 1024**2)  # a page as PDF fits
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self.tls)
        except OSError:  # TLS was not agreed upon
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            self.frames.append(await reader.readuntil(b"\x1c\r"))
            await self.behaviour(self.frames[-1], reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender hung up
        finally:
            transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


def acknowledgement(code: str, control_id: str, *more: str) -> bytes:
    """An ACK, with `more` segments after MSA."""
    lines = [
        r"MSH|^~\&|RIS|BV|HOICHAN|79001|20261120||ACK^R01^ACK|9|P|2.5.1",
        f"MSA|{code}|{control_id}",
        *more,
    ]
    return "".join(f"{line}\r" for line in lines).encode()


def framed(content: bytes) -> bytes:
    """The content as an MLLP block."""
    return b"\x0b" + content + b"\x1c\r"


def answering(make: Callable[[str], bytes]) -> Behaviour:
    """Answer with what `make` gives for the MSH-10 that came, then wait for the sender to hang up."""

    async def behave(frame: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(make(er7.read(frame[1:-2]).control_id))
        await writer.drain()
        await reader.read()

    return behave


def taking(control_id: str) -> bytes:
    """The answer AA, framed; for `answering`."""
    return framed(acknowledgement("AA", control_id))


# ---------------------------------------------------------------------- the sender's side
def said(connection: socket.socket, content: bytes, *, seconds: float = SECONDS) -> bytes:
    """Send one framed message and read the framed answer; b"" when the receiver hung up instead."""
    connection.settimeout(seconds)
    connection.sendall(framed(content))
    return heard(connection)


def heard(connection: socket.socket) -> bytes:
    """The next framed answer, without its frame; b"" when the receiver hung up."""
    received = bytearray()
    while not received.endswith(b"\x1c\r"):
        try:
            chunk = connection.recv(1)  # byte by byte: what follows is the next answer's
        except ConnectionResetError:
            return b""
        if not chunk:
            return b""
        received += chunk
    return bytes(received[received.find(b"\x0b") + 1 : -2])


def exchange(port: int, content: bytes, *, seconds: float = SECONDS) -> er7.Message:
    """One message on a connection of its own; the acknowledgement."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        return er7.read(said(connection, content, seconds=seconds))


def msa(message: er7.Message) -> tuple[str, str]:
    """MSA-1 and MSA-2 of an acknowledgement."""
    segment = message.first("MSA")
    assert segment is not None
    return segment.text(1), segment.text(2)
