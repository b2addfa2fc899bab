"""The way of a C-STORE request from the socket into the spool (PS3.8 9.3.5, PS3.7 9.3.1), and of a C-ECHO.

Every other message goes through pynetdicom, which makes five objects and three queue entries of each PDU and
puts the whole data set together in memory before anybody may look at it. Here the fragments of a data set are
handed on as they lie in the receive buffer, and the response goes out from the same thread.

    PDU  type 04, reserved, length (4)          a P-DATA-TF holds one or more PDVs
    PDV  length (4), context, control, data     control: bit 0 command, bit 1 last fragment

Whatever is not a plain C-STORE request with a data set or a plain C-ECHO request, with its command in one
fragment, is left for pynetdicom, untouched. So is every PDU between two requests that is no P-DATA.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from dicom_listener.statuses import SUCCESS, Answer
from hoichan.intake.door import is_uid

BUFFER_BYTES = 1 << 18
_PDU, _PDV = struct.Struct(">BxI"), struct.Struct(">IBB")  # type, length; length, context, control
_ELEMENT = struct.Struct("<HHI")  # group, number, length
_P_DATA = 0x04
_COMMAND, _LAST = 0x01, 0x02
_LARGEST_COMMAND = 4096  # bytes; a C-STORE request has some 200
_C_STORE_RQ, _C_ECHO_RQ, _RESPONSE, _NO_DATA_SET = 0x0001, 0x0030, 0x8000, 0x0101


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """What a C-STORE-RQ says of the data set that follows (PS3.7 table 9.3-1)."""

    context_id: int
    message_id: int  # (0000,0110)
    sop_class_uid: str  # (0000,0002)
    sop_instance_uid: str  # (0000,1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoRequest:
    """A C-ECHO-RQ (PS3.7 table 9.3-12)."""

    context_id: int
    message_id: int  # (0000,0110)
    sop_class_uid: str  # (0000,0002)


class Reception(Protocol):
    """Takes one data set, and knows the answer at its end. Raises nothing."""

    def write(self, pieces: list[memoryview]) -> None:
        """The next bytes; they are not looked at after the return."""
        ...

    def end(self) -> Answer:
        """That was all."""
        ...

    def drop(self) -> None:
        """The rest will not come; from any thread, more than once, and after the end too."""
        ...


class Step(Enum):
    """What the bytes so far have come to."""

    MORE = auto()  # all are taken up; the peer has to say more
    OTHER = auto()  # the next PDU is for somebody else
    DONE = auto()  # an object is complete, or an echo: `response` is what to send
    BROKEN = auto()  # no fragment of the data set where one must be


class Lane:
    """The receive buffer of one association. For one thread, but for `drop`."""

    def __init__(
        self,
        begin: Callable[[StoreRequest], Reception | None],
        may_echo: Callable[[EchoRequest], bool] = lambda request: False,
    ) -> None:
        """`begin`: opens a reception; None: the request is not for this lane. `may_echo`: whether it is."""
        self.response = b""  # the P-DATA-TF of the last answer
        self.has_stored = False  # or has begun to
        self._begin = begin
        self._may_echo = may_echo
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._stop = 0  # what is not yet taken up
        self._request: StoreRequest | None = None
        self._reception: Reception | None = None
        self._pdu_left = 0  # bytes of the PDU behind the current PDV
        self._pdv_left = 0  # bytes of the current PDV
        self._is_last = False  # the current PDV is the last of its data set

    @property
    def unread(self) -> int:
        """How many bytes are here and not taken up."""
        return self._stop - self._start

    @property
    def unread_bytes(self) -> bytes:
        """They stay."""
        return bytes(self._view[self._start : self._stop])

    @property
    def is_between(self) -> bool:
        """Whether no object is half taken up."""
        return self._reception is None

    def put(self, unread: bytes) -> None:
        """What another lane, of the same size, had not taken up; before anything is received here."""
        self._start, self._stop = 0, len(unread)
        self._view[: len(unread)] = unread

    def fill(self, receive_into: Callable[[memoryview], int]) -> int:
        """Receives once; 0 when the peer has closed. Raises OSError."""
        if self._start:
            left = self.unread
            if left:
                self._view[:left] = bytes(self._view[self._start : self._stop])
            self._start, self._stop = 0, left
        count = receive_into(self._view[self._stop :])
        self._stop += count
        return count

    def take(self, count: int) -> bytes:
        """Up to `count` of the unread bytes, for somebody else."""
        taken = bytes(self._view[self._start : min(self._stop, self._start + count)])
        self._start += len(taken)
        return taken

    def advance(self) -> Step:
        """Takes up what can be."""
        if self._reception is None:
            step = self._look()
            if self._reception is None:
                return step
        pieces: list[memoryview] = []
        step = self._collect(pieces)
        reception, request = self._reception, self._request
        if reception is None or request is None:
            return step
        if pieces:
            reception.write(pieces)
        if step is Step.DONE:
            self._reception = None
            self.response = response_to(request, reception.end())
        elif step is not Step.MORE:
            self._reception = None
            reception.drop()
        return step

    def drop(self) -> None:
        """The association is over."""
        reception = self._reception
        if reception is not None:
            reception.drop()

    def forget(self) -> None:
        """Takes nothing of what is here seriously any more."""
        self._start = self._stop = 0
        self.drop()

    def _look(self) -> Step:
        """At the beginning of a PDU, between two messages."""
        here, known = self._start, self.unread
        if known < 6:
            return Step.MORE
        kind, length = _PDU.unpack_from(self._view, here)
        if kind != _P_DATA or length < 6:
            return Step.OTHER
        if known < 12:
            return Step.MORE
        size, context_id, control = _PDV.unpack_from(self._view, here + 6)
        whole_command = control & 0x03 == _COMMAND | _LAST and 2 < size <= _LARGEST_COMMAND
        if not whole_command or size + 4 > length:
            return Step.OTHER
        if known < 10 + size:
            return Step.MORE
        request = request_of(context_id, bytes(self._view[here + 12 : here + 10 + size]))
        if isinstance(request, EchoRequest):
            if size + 4 != length or not self._may_echo(request):
                return Step.OTHER
            self._start += 10 + size
            self.response = response_to(request, SUCCESS)
            return Step.DONE
        reception = self._begin(request) if request is not None else None
        if reception is None:
            return Step.OTHER
        self._start += 10 + size
        self._pdu_left, self._pdv_left, self._is_last = length - size - 4, 0, False
        self._request, self._reception = request, reception
        self.has_stored = True
        return Step.MORE

    def _collect(self, pieces: list[memoryview]) -> Step:
        """The fragments of the data set that are here."""
        while True:
            unread = self._stop - self._start
            if self._pdv_left:
                if not unread:
                    return Step.MORE
                size = min(unread, self._pdv_left)
                pieces.append(self._view[self._start : self._start + size])
                self._start += size
                self._pdv_left -= size
                continue
            if self._is_last:
                return Step.DONE if not self._pdu_left else Step.BROKEN
            if unread < 6:
                return Step.MORE
            if not self._pdu_left:
                kind, self._pdu_left = _PDU.unpack_from(self._view, self._start)
                if kind != _P_DATA:  # an abort
                    self._pdu_left = 0
                    return Step.OTHER
                self._start += 6
                if not self._pdu_left:
                    return Step.BROKEN
                continue
            if not self._next_pdv():
                return Step.BROKEN

    def _next_pdv(self) -> bool:
        """Whether the next PDV is a fragment of the data set, and fits into its PDU."""
        size, context_id, control = _PDV.unpack_from(self._view, self._start)
        if self._request is None or context_id != self._request.context_id or control & _COMMAND:
            return False
        if size < 2 or size + 4 > self._pdu_left:
            return False
        self._start += 6
        self._pdu_left -= size + 4
        self._pdv_left, self._is_last = size - 2, bool(control & _LAST)
        return True


def request_of(context_id: int, command: bytes) -> StoreRequest | EchoRequest | None:
    """A command set, implicit VR little endian (PS3.7 6.3.1); None: neither of the two requests."""
    values: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(command):
        group, number, length = _ELEMENT.unpack_from(command, position)
        position += 8
        if group or position + length > len(command):
            return None
        values[number] = command[position : position + length]
        position += length
    if position != len(command) or len(values.get(0x0110, b"")) != 2:
        return None
    field, message_id = (int.from_bytes(values.get(number, b""), "little") for number in (0x0100, 0x0110))
    has_data_set = values.get(0x0800, b"\1\1") != _NO_DATA_SET.to_bytes(2, "little")
    sop_class, instance = (
        values.get(number, b"").decode("ascii", "replace").rstrip("\0 ") for number in (0x0002, 0x1000)
    )
    if field == _C_ECHO_RQ and not has_data_set and is_uid(sop_class):
        return EchoRequest(context_id=context_id, message_id=message_id, sop_class_uid=sop_class)
    if field == _C_STORE_RQ and has_data_set and is_uid(sop_class) and is_uid(instance):
        return StoreRequest(
            context_id=context_id,
            message_id=message_id,
            sop_class_uid=sop_class,
            sop_instance_uid=instance,
        )
    return None


def response_to(request: StoreRequest | EchoRequest, answer: Answer) -> bytes:
    """The response as one P-DATA-TF of less than 400 bytes (PS3.7 tables 9.3-2 and 9.3-13)."""
    field = _C_STORE_RQ if isinstance(request, StoreRequest) else _C_ECHO_RQ
    elements = [
        _element(0x0002, _uid(request.sop_class_uid)),
        _element(0x0100, struct.pack("<H", _RESPONSE | field)),
        _element(0x0120, struct.pack("<H", request.message_id)),
        _element(0x0800, struct.pack("<H", _NO_DATA_SET)),
        _element(0x0900, struct.pack("<H", answer.status)),
    ]
    if answer.comment:
        comment = answer.comment.encode("ascii")
        elements.append(_element(0x0902, comment + b" " * (len(comment) % 2)))
    if isinstance(request, StoreRequest):
        elements.append(_element(0x1000, _uid(request.sop_instance_uid)))
    group = b"".join(elements)
    command = _element(0x0000, struct.pack("<I", len(group))) + group
    return (
        struct.pack(
            ">BxIIBB", _P_DATA, len(command) + 6, len(command) + 2, request.context_id, _COMMAND | _LAST
        )
        + command
    )


def _element(number: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, number, len(value)) + value


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
