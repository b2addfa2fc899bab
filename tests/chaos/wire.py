"""The DICOM upper layer and DIMSE as bytes (PS3.8 9.3, PS3.7 6.3 and 9.3), for a peer that may send nonsense.

No library in between: what a test makes goes out as it is, and what comes back is read strictly.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030
AFFECTED_CLASS, COMMAND, MESSAGE_ID, ANSWERED_ID = 0x0002, 0x0100, 0x0110, 0x0120
PRIORITY, DATA_SET_TYPE, STATUS, COMMENT, AFFECTED_INSTANCE = 0x0700, 0x0800, 0x0900, 0x0902, 0x1000
NO_DATA_SET = 0x0101
_NUMBERS = (COMMAND, MESSAGE_ID, ANSWERED_ID, PRIORITY, DATA_SET_TYPE, STATUS)

Kind = tuple[str, str]  # SOP class, transfer syntax


class Answered(NamedTuple):
    """A DIMSE response."""

    status: int
    comment: str


class Ended(Exception):
    """The other side ended the association: "abort", "release" or "closed"."""


def pdu(kind: int, body: bytes) -> bytes:
    """One PDU."""
    return struct.pack(">BxI", kind, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate(contexts: Sequence[Kind], *, calling: str = "FUZZER", called: str = "HOICHAN") -> bytes:
    """A-ASSOCIATE-RQ; context identifiers are 1, 3, 5 …"""
    items = [_item(0x10, APPLICATION_CONTEXT)]
    for number, (sop_class, syntax) in enumerate(contexts):
        names = _item(0x30, sop_class.encode()) + _item(0x40, syntax.encode())
        items.append(_item(0x20, struct.pack("B3x", 2 * number + 1) + names))
    user = _item(0x51, struct.pack(">I", 131072)) + _item(0x52, b"1.2.3.4")
    items.append(_item(0x50, user))
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    return pdu(ASSOCIATE_RQ, struct.pack(">H2x", 1) + titles + bytes(32) + b"".join(items))


def command(values: Mapping[int, int | str]) -> bytes:
    """A command set, implicit little endian, group length in front (PS3.7 6.3.1)."""
    elements = []
    for number, value in sorted(values.items()):
        if isinstance(value, int):
            body = struct.pack("<H", value)
        else:
            body = value.encode() + b"\0" * (len(value) % 2)
        elements.append(struct.pack("<HHI", 0, number, len(body)) + body)
    whole = b"".join(elements)
    return struct.pack("<HHII", 0, 0, 4, len(whole)) + whole


def store_command(sop_class: str, sop_instance: str, *, message_id: int = 1) -> bytes:
    """The command set of a C-STORE request."""
    return command(
        {
            AFFECTED_CLASS: sop_class,
            COMMAND: C_STORE_RQ,
            MESSAGE_ID: message_id,
            PRIORITY: 0,
            DATA_SET_TYPE: 1,
            AFFECTED_INSTANCE: sop_instance,
        }
    )


def echo_command() -> bytes:
    """The command set of a C-ECHO request."""
    return command(
        {AFFECTED_CLASS: VERIFICATION, COMMAND: C_ECHO_RQ, MESSAGE_ID: 1, DATA_SET_TYPE: NO_DATA_SET}
    )


def message(context: int, command_set: bytes, data_set: bytes | None = None, *, room: int = 65536) -> bytes:
    """The PDUs of one message; `room`: bytes of a fragment."""
    found = [_fragments(context, command_set, 1, room)]
    if data_set is not None:
        found.append(_fragments(context, data_set, 0, room))
    return b"".join(found)


def _fragments(context: int, content: bytes, is_command: int, room: int) -> bytes:
    parts = [content[at : at + room] for at in range(0, len(content), room)] or [b""]
    found = []
    for number, part in enumerate(parts):
        last = 2 if number == len(parts) - 1 else 0
        body = bytes([context, is_command | last]) + part
        found.append(pdu(P_DATA, struct.pack(">I", len(body)) + body))
    return b"".join(found)


class Peer:
    """A socket with an association on it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.accepted: dict[Kind, int] = {}

    def associate(self, contexts: Sequence[Kind], *, calling: str = "FUZZER") -> None:
        """Raises Ended where the association is rejected."""
        self.connection.sendall(associate(contexts, calling=calling))
        kind, body = self.read()
        if kind != ASSOCIATE_AC:
            raise Ended("rejected")
        at = 68
        while at < len(body):
            item, length = struct.unpack_from(">BxH", body, at)
            if item == 0x21 and body[at + 6] == 0:
                number = body[at + 4]
                self.accepted[contexts[number // 2]] = number
            at += 4 + length

    def store(self, kind: Kind, data_set: bytes, *, sop_class: str, sop_instance: str) -> Answered:
        """The answer to one C-STORE."""
        request = store_command(sop_class, sop_instance)
        self.connection.sendall(message(self.accepted[kind], request, data_set))
        return self.answer()

    def echo(self) -> Answered:
        """The answer to C-ECHO, which must be among the contexts."""
        self.connection.sendall(message(self.accepted[VERIFICATION, IMPLICIT_LITTLE], echo_command()))
        return self.answer()

    def answer(self) -> Answered:
        """The next DIMSE response. Raises Ended."""
        found = b""
        last = False
        while not last:
            kind, body = self.read()
            if kind == RELEASE_RQ:
                raise Ended("release")
            assert kind == P_DATA, f"PDU {kind} instead of an answer"
            at = 0
            while at < len(body):
                (length,) = struct.unpack_from(">I", body, at)
                assert body[at + 5] & 1, "an answer with a data set"
                last = bool(body[at + 5] & 2)
                found += body[at + 6 : at + 4 + length]
                at += 4 + length
        return _answered(found)

    def release(self) -> None:
        """End as the standard wants it."""
        self.connection.sendall(pdu(RELEASE_RQ, bytes(4)))
        kind, _ = self.read()
        assert kind == RELEASE_RP

    def read(self) -> tuple[int, bytes]:
        """The next PDU's kind and body. Raises Ended, and TimeoutError where nothing comes."""
        kind, length = struct.unpack(">BxI", self._exactly(6))
        assert 1 <= kind <= 7, f"no PDU: {kind}"
        assert length < 1 << 20, f"a PDU of {length} bytes"
        body = self._exactly(length)
        if kind == ABORT:
            raise Ended("abort")
        return kind, body

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            try:
                more = self.connection.recv(count - len(found))
            except ConnectionError:
                more = b""
            if not more:
                raise Ended("closed")
            found += more
        return found


def _answered(command_set: bytes) -> Answered:
    values: dict[int, int | str] = {}
    at = 0
    while at < len(command_set):
        group, number, length = struct.unpack_from("<HHI", command_set, at)
        assert group == 0
        body = command_set[at + 8 : at + 8 + length]
        values[number] = struct.unpack("<H", body)[0] if number in _NUMBERS else body.decode("latin-1")
        at += 8 + length
    status = values[STATUS]
    assert isinstance(status, int)
    return Answered(status, str(values.get(COMMENT, "")).rstrip(" \0"))
