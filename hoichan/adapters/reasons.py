"""Why a connection did not come about, as a stable word: whatever library the error passed through."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from hoichan.adapters.tls import client_context
from hoichan.errors import Unreachable
from hoichan.settings import ClientTls

# A delivery was planned for a receiver of another kind, which had this name then
NO_DOCUMENT = "no document for a receiver of this kind"
_NUMBERS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "disk_read_only",
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
    errno.EHOSTUNREACH: "no_route",
    errno.ENETUNREACH: "no_route",
    errno.EHOSTDOWN: "no_route",
    errno.ECONNREFUSED: "connection_refused",
    errno.ETIMEDOUT: "timeout",
    errno.EADDRNOTAVAIL: "no_route",
}


def reason_of(error: BaseException) -> str:
    """One of the words above, "dns", "certificate", "tls", "connection_reset", or the name of the class."""
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return "certificate"
        if isinstance(one, socket.gaierror | UnicodeError):
            return "dns"
        if isinstance(one, TimeoutError):
            return "timeout"
        if isinstance(one, ConnectionRefusedError):
            return "connection_refused"
        if isinstance(one, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
            return "connection_reset"
        if isinstance(one, ssl.SSLError):
            return "tls"
        if isinstance(one, OSError) and one.errno in _NUMBERS:
            return _NUMBERS[one.errno]
    return "timeout" if "Timeout" in type(error).__name__ else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the nearest first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def knock(target: str, host: str, port: int, *, timeout_seconds: float, tls: ClientTls | None = None) -> None:
    """Open a connection, with its TLS handshake, and close it again. Raises Unreachable with the reason."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as line:
            if tls is not None:
                client_context(tls).wrap_socket(line, server_hostname=host).close()
    except (OSError, UnicodeError) as error:
        raise Unreachable(target, reason_of(error)) from error
