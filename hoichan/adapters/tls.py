"""TLS towards a receiver, whose certificate is always checked, and at our doors: 1.2 or later."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import structlog

from hoichan.errors import ConfigurationError
from hoichan.settings import ClientTls, ServerTls

if TYPE_CHECKING:
    from hoichan.adapters.crl_fetch import FetchedList

log = structlog.get_logger()


def client_args(tls: ClientTls | None, host: str) -> tuple[ssl.SSLContext, str] | None:
    """The `tls_args` of pynetdicom; None for plain DICOM. Raises OSError."""
    return None if tls is None else (client_context(tls), host)


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """How we speak TLS to a receiver. Raises OSError (an SSLError is one) for files that cannot be used."""
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def page_context(tls: ServerTls) -> ssl.SSLContext:
    """How the page speaks TLS to browsers. Raises ConfigurationError for files that cannot be used."""

    def made() -> ssl.SSLContext:
        context = _door_context(tls, "web.tls")
        context.set_alpn_protocols(["http/1.1"])
        return context

    return RenewedContext.of(tls, made)


def door_context(tls: ServerTls, section: str) -> ssl.SSLContext:
    """How a door of ours speaks TLS; mutual when `tls.ca` is given. `section` names the setting in errors.

    Raises ConfigurationError for files that cannot be used.
    """
    return RenewedContext.of(tls, lambda: _door_context(tls, section))


class RenewedContext(ssl.SSLContext):
    """Reads certificate, authority and revocation list again when their files have changed.

    For asyncio, which asks for one connection after another by `wrap_bio`: each gets the context of that
    moment, and no session of a former one can be taken up again past a new list.
    """

    _make: Callable[[], ssl.SSLContext]
    _files: tuple[Path, ...]
    _seen: list[tuple[int, int, int] | None]
    _current: ssl.SSLContext
    _lock: threading.Lock

    @classmethod
    def of(cls, tls: ServerTls, make: Callable[[], ssl.SSLContext]) -> Self:
        """`make` raises ConfigurationError for files that cannot be used, and so does this."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._make = make
        context._files = tuple(path for path in (tls.cert, tls.key, tls.ca, tls.crl) if path is not None)
        fetched = _fetched_list(tls)
        if fetched is not None and fetched.is_due():
            fetched.fetch()  # where it fails the kept list counts; without one `make` says so
        context._seen = context._versions()
        context._current = make()
        context._lock = threading.Lock()
        if fetched is not None:
            fetched.keep_fresh(context)
        return context

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401  as its base
        """The TLS side of one connection."""
        return self.now().wrap_bio(*args, **options)

    def now(self) -> ssl.SSLContext:
        """What holds now; as before while the new files cannot be used."""
        with self._lock:
            versions = self._versions()
            if versions != self._seen:
                self._seen = versions
                try:
                    self._current = self._make()
                    log.info("certificates_renewed")
                except ConfigurationError:
                    log.error("certificates_not_renewed")  # half of a pair; the other half may follow
            return self._current

    def _versions(self) -> list[tuple[int, int, int] | None]:
        return [_version(path) for path in self._files]


def _fetched_list(tls: ServerTls) -> FetchedList | None:
    if tls.crl_url is None or tls.crl is None or tls.ca is None:
        return None
    from hoichan.adapters.crl_fetch import FetchedList  # noqa: PLC0415  few sites have a list

    return FetchedList(str(tls.crl_url), tls.crl, tls.ca)


def _door_context(tls: ServerTls, section: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
        if tls.crl is not None:
            context.load_verify_locations(tls.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:  # an SSLError is one
        raise ConfigurationError(
            f"{section}: certificate, key or authority cannot be used: check that each file is there, is "
            "PEM, and that the key is that of the certificate and has no password."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    """An encrypted key would otherwise ask the terminal."""
    return ""


def _version(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
