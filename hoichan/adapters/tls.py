"""TLS towards a receiver, whose certificate is always checked, and at our page: 1.2 or later."""

from __future__ import annotations

import ssl

from hoichan.errors import ConfigurationError
from hoichan.settings import ClientTls, ServerTls


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
    context = door_context(tls, "web.tls")
    context.set_alpn_protocols(["http/1.1"])
    return context


def door_context(tls: ServerTls, section: str) -> ssl.SSLContext:
    """How a door of ours speaks TLS; mutual when `tls.ca` is given. `section` names the setting in errors.

    Raises ConfigurationError for files that cannot be used.
    """
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
