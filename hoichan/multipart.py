"""Takes a multipart body apart while it arrives (RFC 2046 5.1, RFC 2387), in bounded memory.

Written for what DICOMweb sends: few headers, parts of any size. Nothing is decoded. Bytes go in by `feed`,
and events come out in the order of the body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message

MAXIMUM_PREAMBLE = 16 * 1024  # bytes before the first delimiter; there should be none
MAXIMUM_HEADERS = 16 * 1024  # bytes of the headers of one part
MAXIMUM_BOUNDARY = 200  # RFC 2046 says 70; some clients are generous
_PADDING = 64  # blanks that may follow a delimiter on its line


class MultipartBroken(Exception):
    """The body is not what its Content-Type says."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """The headers of a part, names in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of a part."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is whole."""


Event = PartBegins | PartData | PartEnds


class Multipart:
    """One body."""

    def __init__(self, boundary: str) -> None:
        """Raises MultipartBroken for a boundary that none can be."""
        if not 0 < len(boundary) <= MAXIMUM_BOUNDARY or not boundary.isprintable() or not boundary.isascii():
            raise MultipartBroken("The boundary is malformed.")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._buffer = bytearray(b"\r\n")  # the first delimiter may stand at the very start
        self._searched = 0  # no delimiter begins before this place of the buffer
        self._preamble = 0  # bytes of it so far
        self._place = "preamble"  # then headers and data in turn, at last epilogue

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """What this chunk completes. Raises MultipartBroken."""
        if self._place == "epilogue":
            return
        self._buffer += chunk
        while True:
            if self._place == "headers":
                headers = self._headers()
                if headers is None:
                    return
                yield PartBegins(headers)
                self._place = "data"
                continue
            found = self._next_delimiter()
            before = self._searched if found is None else found[0]
            if self._place == "data" and before:
                yield PartData(bytes(self._buffer[:before]))
            self._forget(before)
            if found is None:
                return
            if self._place == "data":
                yield PartEnds()
            self._forget(found[1] - before)
            self._place = "epilogue" if found[2] else "headers"
            if found[2]:
                self._buffer.clear()
                return

    def close(self) -> None:
        """Says that no more comes. Raises MultipartBroken when the last delimiter has not been seen."""
        if self._place != "epilogue":
            raise MultipartBroken("The body ends before its last delimiter.")

    def _forget(self, count: int) -> None:
        if self._place == "preamble":
            self._preamble += count
            if self._preamble > MAXIMUM_PREAMBLE:
                raise MultipartBroken("The body does not begin with its delimiter.")
        del self._buffer[:count]
        self._searched = max(0, self._searched - count)

    def _next_delimiter(self) -> tuple[int, int, bool] | None:
        """Start and end of the next delimiter line, and whether it is the last; None: more bytes are needed.

        A line that only begins like a delimiter is data (RFC 2046 5.1.1).
        """
        start = self._buffer.find(self._delimiter, self._searched)
        while start >= 0:
            after = start + len(self._delimiter)
            tail = bytes(self._buffer[after : after + _PADDING + 2])
            if tail.startswith(b"--"):
                return start, after + 2, True
            rest = tail.lstrip(b" \t")
            if rest.startswith(b"\r\n"):
                return start, after + len(tail) - len(rest) + 2, False
            if tail == b"-" or (rest in (b"", b"\r") and len(tail) < _PADDING + 2):
                self._searched = start
                return None
            start = self._buffer.find(self._delimiter, start + 1)
        self._searched = max(self._searched, len(self._buffer) - len(self._delimiter) + 1, 0)
        return None

    def _headers(self) -> dict[str, str] | None:
        """The headers at the start of the buffer; None: more bytes are needed."""
        if self._buffer.startswith(b"\r\n"):
            self._forget(2)
            return {}
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAXIMUM_HEADERS or (end < 0 and len(self._buffer) > MAXIMUM_HEADERS):
            raise MultipartBroken("The headers of a part are too long.")
        if end < 0:
            return None
        text = self._buffer[:end].decode("latin-1")
        self._forget(end + 4)
        headers: dict[str, str] = {}
        for line in text.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n"):
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise MultipartBroken("A header of a part is malformed.")
            headers[name.strip().lower()] = value.strip()
        return headers


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case and its parameters, quotes undone (RFC 2045 5.1)."""
    message = Message()
    message["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    pairs = message.get_params(failobj=[])
    parameters = {  # a tuple: in the encoding of RFC 2231
        name.lower(): value if isinstance(value, str) else str(value[2]) for name, value in pairs[1:]
    }
    return message.get_content_type() if "/" in content_type else "", parameters
