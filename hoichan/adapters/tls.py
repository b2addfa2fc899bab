"""TLS towards a receiver: 1.2 or later, its certificate is always checked."""

from __future__ import annotations

import ssl

from hoichan.settings import ClientTls


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """How we speak TLS to a receiver. Raises OSError (an SSLError is one) for files that cannot be used."""
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context
