"""TLS at the door, as PS3.15 B.12 and BCP 195 (RFC 9325) want it.

TLS 1.2 or later, ciphers with forward secrecy and authenticated encryption only.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoichan.adapters.tls import RenewedContext
from hoichan.errors import ConfigurationError
from hoichan.settings import ServerTls

if TYPE_CHECKING:
    from hoichan.adapters.ocsp_ask import Revocations

TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"  # RFC 9325 4.2; those of TLS 1.3 are all fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a sender showed, and the authority in `tls.ca` vouched for."""

    sha256: str  # of the DER form, hexadecimal in lower case
    common_name: str  # of the subject; "" when it has none


class Credentials:
    """Our certificates, read again when their files have changed, so that a renewal needs no restart."""

    def __init__(self, tls: ServerTls) -> None:
        """Raises ConfigurationError."""
        self._context = RenewedContext.of(tls, lambda: server_context(tls))
        self._revocations = _revocations(tls)

    def context(self) -> ssl.SSLContext:
        """How we speak TLS now; as before while the new files cannot be used."""
        return self._context.now()

    def check(self, connection: ssl.SSLSocket) -> None:
        """Asks whether the sender's certificate was revoked, where the settings say so.

        Raises CertificateRefused. May take some seconds.
        """
        if self._revocations is not None:
            self._revocations.check(connection.getpeercert(binary_form=True))


def _revocations(tls: ServerTls) -> Revocations | None:
    if tls.ocsp == "off":
        return None
    from hoichan.adapters.ocsp_ask import Revocations  # noqa: PLC0415  few sites ask

    return Revocations.of(tls)


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """How we speak TLS; mutual when `tls.ca` is given. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(TLS_1_2_CIPHERS)
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if tls.crl is not None:
            context.load_verify_locations(tls.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:  # an SSLError is one too
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"The certificates of listener.tls cannot be used ({reason}): check cert, key, ca and crl."
        ) from error
    return context


def certificate_of(connection: ssl.SSLSocket) -> Certificate | None:
    """The sender's certificate; None when none was asked for."""
    encoded = connection.getpeercert(binary_form=True)
    if not encoded or connection.context.verify_mode != ssl.CERT_REQUIRED:
        return None
    subject: Any = (connection.getpeercert() or {}).get("subject", ())
    names = [value for group in subject for key, value in group if key == "commonName"]
    return Certificate(
        sha256=hashlib.sha256(encoded).hexdigest(), common_name=str(names[-1]) if names else ""
    )


def _no_password() -> str:
    """OpenSSL would ask on the terminal and wait."""
    raise ConfigurationError("The private key of listener.tls has a password: store it without one.")
