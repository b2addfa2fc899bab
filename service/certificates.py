"""When the certificates of this service end: our own, at our doors and towards receivers."""

from __future__ import annotations

import ssl
from _ssl import _test_decode_cert  # type: ignore[attr-defined]  # the only reader in the standard library
from collections.abc import Mapping
from pathlib import Path

from hoichan.settings import Settings


def certificate_files(settings: Settings) -> Mapping[str, Path]:
    """PEM files by what they are for: `listener`, `web`, and `destination <name>` where we show one."""
    found: dict[str, Path] = {}
    if settings.listener.tls is not None:
        found["listener"] = settings.listener.tls.cert
    if settings.web.tls is not None:
        found["web"] = settings.web.tls.cert
    for destination in settings.effective_destinations:
        tls = getattr(destination, "tls", None)
        if tls is not None and tls.cert is not None:
            found[f"destination {destination.name}"] = tls.cert
    return found


def ends_at(file: Path) -> float | None:
    """When the first certificate of a file ends, in seconds since the epoch; None: it cannot be read."""
    try:
        text = _test_decode_cert(str(file)).get("notAfter")
    except (OSError, ValueError):  # an SSLError is an OSError
        return None
    return float(ssl.cert_time_to_seconds(text)) if isinstance(text, str) else None
