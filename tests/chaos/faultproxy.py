"""A wire that fails on command: it stands between two programs and delays, slows, cuts, stalls or corrupts.

Only what flows from the caller is touched; answers pass. Each connection gets a fault of its own.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_CHUNK = 16_384
_NOW = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one connection. Bytes are counted from its start."""

    delay_seconds: float = 0  # before each chunk
    bytes_per_second: float = 0  # 0: as fast as it goes
    cut_at: int | None = None  # the connection is closed, as by a switched-off modality
    reset_at: int | None = None  # … with a reset, as by a firewall
    stall_at: int | None = None  # nothing passes any more, and nobody hangs up: a pulled cable
    corrupt_at: int | None = None  # one bit of this byte is turned, unseen by TCP


SOUND = Fault()


class Wire:
    """Listens on a free port of the loopback and passes on to `port` until `close`."""

    def __init__(self, port: int, fault: Callable[[int], Fault], *, seed: int = 0) -> None:
        """`fault` is asked for each connection, by its number from 0."""
        self._target = port
        self._fault = fault
        self._dice = random.Random(seed)
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.connections = 0
        self._start(self._listen)

    def close(self) -> None:
        """Everything ends."""
        self._stopped.set()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for each in list(self._sockets):
            _hang_up(each)
        for thread in list(self._threads):
            thread.join(10)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                caller, _ = self._door.accept()
            except OSError:
                return
            try:
                called = socket.create_connection(("127.0.0.1", self._target), 10)
            except OSError:
                caller.close()
                continue
            called.settimeout(None)
            for each in (caller, called):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [caller, called]
            fault = self._fault(self.connections)
            self.connections += 1
            self._start(self._forth, caller, called, fault)
            self._start(self._back, called, caller)

    def _forth(self, caller: socket.socket, called: socket.socket, fault: Fault) -> None:
        passed = 0
        stops = [at for at in (fault.cut_at, fault.reset_at, fault.stall_at) if at is not None]
        try:
            while data := caller.recv(min([_CHUNK, *(at - passed for at in stops)])):
                if fault.corrupt_at is not None and passed <= fault.corrupt_at < passed + len(data):
                    data = _turned(data, fault.corrupt_at - passed, self._dice.randrange(8))
                passed += len(data)
                self._stopped.wait(fault.delay_seconds)
                if fault.bytes_per_second:
                    self._stopped.wait(len(data) / fault.bytes_per_second)
                called.sendall(data)
                if passed in stops:
                    break
            else:
                called.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        if passed == fault.stall_at:
            self._stopped.wait()
        if passed == fault.reset_at:
            for each in (caller, called):
                with suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
        for each in (caller, called):
            _hang_up(each)

    def _back(self, called: socket.socket, caller: socket.socket) -> None:
        with suppress(OSError):
            while data := called.recv(_CHUNK):
                caller.sendall(data)
            caller.shutdown(socket.SHUT_WR)


def _turned(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def _hang_up(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
