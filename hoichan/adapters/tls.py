"""TLS towards a receiver: 1.2 or later, its certificate is always checked."""

from __future__ import annotations

import ssl

from hoichan.settings import ClientTls


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
