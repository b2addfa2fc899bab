"""Sends the message to an EMR or RIS over MLLP (HL7 v2 transport specification: MLLP, release 1).

One connection a delivery, plain or TLS, and one message on it. What the receiver did when no answer came is
unknown, so the same bytes under the same MSH-10 are sent again; a receiver that has them already answers AA.

| MSA-1 | meaning                                 | we                                            |
|-------|-----------------------------------------|-----------------------------------------------|
| AA CA | taken                                   | done                                          |
| AE CE | the content is wrong                    | Refused: never again by itself                |
| AE CE | only 206 or 207: locked, or its own fault | Unreachable once, then Refused              |
| AR CR | not now, or not this kind               | Unreachable: again later, for two days        |
| else  | no answer, garbage, another's answer    | Unreachable: again later, with the same MSH-10 |
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from enum import Enum

from hoichan import er7
from hoichan.adapters.reasons import NO_DOCUMENT, reason_of
from hoichan.encoding.hl7 import has_patient
from hoichan.errors import MessageUnreadable, Refused, Unreachable
from hoichan.settings import Hl7Destination
from hoichan.types import Delivery, Document, DocumentKind

START_BLOCK, END_BLOCK, CARRIAGE_RETURN = b"\x0b", b"\x1c", b"\x0d"
MOST_ANSWER_BYTES = 256 * 1024  # an acknowledgement is a few hundred
RECEIVE_BYTES = 16 * 1024

# Table 0357, message error conditions. Anything else in that place is not repeated: it may quote a patient.
ERROR_CODES = frozenset({"100", "101", "102", "103", "200", "201", "202", "203", "204", "205", "206", "207"})

PASSING = frozenset({"206", "207"})  # application record locked, application internal error


class Verdict(Enum):
    """What an acknowledgement code means for us."""

    TAKEN = "taken"
    WRONG = "wrong"
    LATER = "later"


VERDICTS: Mapping[str, Verdict] = {  # MSA-1, table 0008
    "AA": Verdict.TAKEN,
    "CA": Verdict.TAKEN,
    "AE": Verdict.WRONG,
    "CE": Verdict.WRONG,
    "AR": Verdict.LATER,
    "CR": Verdict.LATER,
}


class MllpSink:
    """One receiver."""

    def __init__(self, destination: Hl7Destination) -> None:
        self._destination = destination

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Send the message; the acknowledgement is MSA-1.

        Raises Unreachable or Refused as the table of this module says, and Refused for a report without a
        patient. The texts of an answer may quote a patient; only its codes are kept.
        """
        message = next((one for one in documents if one.kind is DocumentKind.HL7), None)
        if message is None:
            raise Refused(self._destination.name, NO_DOCUMENT)
        if not has_patient(message.content):
            raise Refused(self._destination.name, "the study has no patient identifier")
        return self._judge(self._exchange(message.content), message.uid, delivery.acknowledgement)

    def _exchange(self, content: bytes) -> bytes:
        """One message out, the first framed answer in, all within the time limit."""
        destination = self._destination
        deadline = time.monotonic() + destination.timeout_seconds
        try:
            with (
                socket.create_connection(
                    (destination.host, destination.port), timeout=destination.timeout_seconds
                ) as connection,
                self._secured(connection, deadline) as line,
            ):
                line.settimeout(_left(deadline))
                line.sendall(START_BLOCK + content + END_BLOCK + CARRIAGE_RETURN)
                return self._answer(line, deadline)
        except TimeoutError:
            raise Unreachable(destination.name, "no answer in time") from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that DNS cannot hold
            raise Unreachable(destination.name, reason_of(error)) from error

    def _secured(self, connection: socket.socket, deadline: float) -> socket.socket:
        """The connection itself, or TLS (1.2 or later) on it, with the receiver's certificate checked."""
        destination = self._destination
        if destination.tls is None:
            return connection
        context = ssl.create_default_context(cafile=destination.tls.ca)
        if destination.tls.cert is not None:
            context.load_cert_chain(destination.tls.cert, destination.tls.key)
        connection.settimeout(_left(deadline))
        return context.wrap_socket(connection, server_hostname=destination.host)

    def _answer(self, connection: socket.socket, deadline: float) -> bytes:
        received = bytearray()
        while True:
            connection.settimeout(_left(deadline))
            chunk = connection.recv(RECEIVE_BYTES)
            if not chunk:
                raise Unreachable(self._destination.name, "connection closed without an answer")
            received += chunk
            start = received.find(START_BLOCK)
            end = received.find(END_BLOCK, start + 1) if start >= 0 else -1
            if end >= 0:
                return bytes(received[start + 1 : end])
            if len(received) > MOST_ANSWER_BYTES:
                raise Unreachable(self._destination.name, "the answer never ends")

    def _judge(self, answer: bytes, control_id: str, before: str | None) -> str:
        """`before`: what the last try came to."""
        name = self._destination.name
        try:
            message = er7.read(answer)
        except MessageUnreadable:
            raise Unreachable(name, "the answer is not HL7") from None
        acknowledgement = message.first("MSA")
        code = acknowledgement.text(1).upper() if acknowledgement is not None else ""
        verdict = VERDICTS.get(code)
        if acknowledgement is None or verdict is None:
            raise Unreachable(name, "the answer is not an acknowledgement")
        if acknowledgement.text(2) != control_id:
            raise Unreachable(name, "the answer is to another message")
        if verdict is Verdict.TAKEN:
            return code
        codes = error_codes(message)
        status = code + (f" ({', '.join(codes)})" if codes else "")
        passes = bool(codes) and PASSING.issuperset(codes) and before != status
        if verdict is Verdict.WRONG and not passes:
            raise Refused(name, status)
        raise Unreachable(name, status, answered=True)


def error_codes(message: er7.Message) -> tuple[str, ...]:
    """The codes of table 0357 in ERR-3 (2.5), ERR-1.4.1 (2.3) and MSA-6, each once; never their texts."""
    found = [acknowledgement.text(6) for acknowledgement in message.all("MSA")]
    for error in message.all("ERR"):
        found += [error.text(3), error.text(1, component=4)]
    return tuple(dict.fromkeys(code for code in found if code in ERROR_CODES))


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises TimeoutError when there are none: 0 would mean "do not wait"."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
