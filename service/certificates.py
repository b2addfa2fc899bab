"""When our own certificates end, at our doors and towards others, and the revocation lists of our doors."""

from __future__ import annotations

import ssl
from _ssl import _test_decode_cert  # type: ignore[attr-defined]  # the only reader in the standard library
from collections.abc import Mapping
from pathlib import Path

from hoichan.settings import Settings


def certificate_files(settings: Settings) -> Mapping[str, Path]:
    """PEM files by what they are for: `listener`, `web`, `orders`, and to whom we show one.

    Those are `destination <name>`, `source <name>` and `commitment <AE title>`.
    """
    doors = {"listener": settings.listener.tls, "web": settings.web.tls, "orders": settings.orders.tls}
    found = {name: tls.cert for name, tls in doors.items() if tls is not None}
    towards = [
        *((f"destination {one.name}", getattr(one, "tls", None)) for one in settings.effective_destinations),
        *((f"source {one.name}", one.tls) for one in settings.sources),
        *((f"commitment {one.ae_title}", one.commitment_tls) for one in settings.listener.senders),
    ]
    found |= {name: tls.cert for name, tls in towards if tls is not None and tls.cert is not None}
    return found


def revocation_files(settings: Settings) -> Mapping[str, Path]:
    """PEM files of revocation lists, as `<door> crl`."""
    doors = {"listener": settings.listener.tls, "web": settings.web.tls, "orders": settings.orders.tls}
    return {f"{name} crl": tls.crl for name, tls in doors.items() if tls is not None and tls.crl is not None}


def ends_at(file: Path) -> float | None:
    """When the first certificate of a file ends, in seconds since the epoch; None: it cannot be read."""
    try:
        text = _test_decode_cert(str(file)).get("notAfter")
    except (OSError, ValueError):  # an SSLError is an OSError
        return None
    return float(ssl.cert_time_to_seconds(text)) if isinstance(text, str) else None


def list_ends_at(file: Path) -> float | None:
    """When the first revocation list of a file is too old; None: it cannot be read, or never is."""
    from cryptography.x509 import load_pem_x509_crl  # noqa: PLC0415  few sites have a list

    try:
        update = load_pem_x509_crl(file.read_bytes()).next_update_utc
    except (OSError, ValueError):
        return None
    return None if update is None else update.timestamp()
