"""Whether its authority has revoked a certificate that a sender shows, asked of a responder (OCSP, RFC 6960).

The answer is believed where the authority that issued the certificate signed it, or a responder that the same
authority appointed for that (RFC 6960 4.2.2.2), where it is about this certificate, and in its time only. It
is kept until its time is over, so a sender that comes a hundred times a day is asked about once or twice.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from hoichan.settings import ServerTls

log = structlog.get_logger()

TIMEOUT_SECONDS = 5.0  # the sender waits meanwhile
MOST_BYTES = 65_536
WITHOUT_END = timedelta(minutes=5)  # how long an answer is kept that does not say when the next comes
OLDEST = timedelta(days=1)  # such an answer may be this old
SKEW = timedelta(minutes=5)  # a responder's clock may be ahead of ours
AGAIN = timedelta(seconds=30)  # after no answer
_MOST_KEPT = 1000  # certificates


class CertificateRefused(OSError):
    """A sender may not come in. `reason` is a constant for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Standing(Enum):
    """What is known of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # the responder has never heard of it: its authority did not issue it
    NO_ANSWER = "no_answer"


class _NoAnswer(Exception):
    """Nothing that can be believed came. Its text is a reason for the log."""


class _Kept(NamedTuple):
    standing: Standing
    until: datetime


class Revocations:
    """What the responders of one door's authorities say. Safe for many threads."""

    def __init__(
        self,
        ca: Path,
        *,
        hard: bool,
        url: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`ca`: PEM of the authorities. `hard`: without an answer nobody gets in.

        `url`: the responder; None: the one that the certificate names.
        """
        self._ca, self._hard, self._url, self._now = ca, hard, url, now
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, tls: ServerTls) -> Revocations | None:
        """As `[listener.tls]` says; None where nobody is asked."""
        if tls.ocsp == "off" or tls.ca is None:
            return None
        return cls(tls.ca, hard=tls.ocsp == "hard", url=str(tls.ocsp_url) if tls.ocsp_url else None)

    def check(self, shown: bytes | None) -> None:
        """Raises CertificateRefused. `shown`: DER of a certificate whose chain was checked already."""
        standing = Standing.NO_ANSWER if shown is None else self._standing(shown)
        if standing is Standing.GOOD or (standing is Standing.NO_ANSWER and not self._hard):
            return
        raise CertificateRefused(f"ocsp_{standing.value}")

    def _standing(self, shown: bytes) -> Standing:
        key = hashlib.sha256(shown).hexdigest()
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and self._now() < kept.until:
            return kept.standing
        found = self._ask(shown)
        if found.standing is Standing.NO_ANSWER and kept is not None and kept.standing is Standing.REVOKED:
            found = _Kept(Standing.REVOKED, found.until)  # silence takes nothing back
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept = {name: one for name, one in self._kept.items() if one.until > self._now()}
            self._kept[key] = found
        return found.standing

    def _ask(self, shown: bytes) -> _Kept:
        import httpx2  # noqa: PLC0415  few sites ask

        try:
            certificate = x509.load_der_x509_certificate(shown)
            issuer = self._issuer_of(certificate)
            # SHA-1 only names it (RFC 5019 2.1.1)
            request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA1()).build()
            content = _fetched(self._url or _url_of(certificate), request.public_bytes(Encoding.DER))
            return self._believed(ocsp.load_der_ocsp_response(content), request, issuer)
        except (_NoAnswer, httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            reason = str(error) if isinstance(error, _NoAnswer) else type(error).__name__
        except (ValueError, TypeError, UnsupportedAlgorithm):
            reason = "unreadable"
        log.warning("ocsp_no_answer", reason=reason, let_in=not self._hard)
        return _Kept(Standing.NO_ANSWER, self._now() + AGAIN)

    def _issuer_of(self, certificate: x509.Certificate) -> x509.Certificate:
        for authority in x509.load_pem_x509_certificates(self._ca.read_bytes()):
            if _is_issued_by(certificate, authority):
                return authority
        raise _NoAnswer("issuer_not_in_ca")

    def _believed(
        self, response: ocsp.OCSPResponse, request: ocsp.OCSPRequest, issuer: x509.Certificate
    ) -> _Kept:
        """What a response says of the certificate that was asked for. Raises _NoAnswer."""
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _NoAnswer(response.response_status.name.lower())
        now = self._now()
        if not any(_has_signed(response, one) for one in self._signers(response, issuer, now)):
            raise _NoAnswer("not_of_the_authority")
        for one in response.responses:
            if not _is_about(one, request):
                continue
            if one.this_update_utc > now + SKEW:
                raise _NoAnswer("of_the_future")
            end = one.next_update_utc
            if now >= (one.this_update_utc + OLDEST if end is None else end):
                raise _NoAnswer("ended")
            return _Kept(_STANDINGS[one.certificate_status], end or now + WITHOUT_END)
        raise _NoAnswer("of_another_certificate")

    @staticmethod
    def _signers(
        response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime
    ) -> list[x509.Certificate]:
        """The authority, and those in the response that it appointed and that have not ended."""
        return [issuer] + [
            one
            for one in response.certificates
            if _is_issued_by(one, issuer)
            and _may_answer(one)
            and one.not_valid_before_utc <= now <= one.not_valid_after_utc
        ]


_STANDINGS = {
    ocsp.OCSPCertStatus.GOOD: Standing.GOOD,
    ocsp.OCSPCertStatus.REVOKED: Standing.REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN: Standing.UNKNOWN,
}


def _fetched(url: str, request: bytes) -> bytes:
    import httpx2  # noqa: PLC0415  as above

    deadline = time.monotonic() + TIMEOUT_SECONDS
    headers = {"Content-Type": "application/ocsp-request"}
    with httpx2.stream("POST", url, content=request, headers=headers, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code != httpx2.codes.OK:
            raise _NoAnswer(f"HTTP {answer.status_code}")
        content = b""
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > MOST_BYTES:
                raise _NoAnswer("too_large")
            if time.monotonic() > deadline:
                raise _NoAnswer("too_slow")
    return content


def _url_of(certificate: x509.Certificate) -> str:
    """The responder that the certificate names (RFC 5280 4.2.2.1). Raises _NoAnswer."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        raise _NoAnswer("no_responder_named") from None
    for one in access:
        place = one.access_location
        if (
            one.access_method == AuthorityInformationAccessOID.OCSP
            and isinstance(place, x509.UniformResourceIdentifier)
            and place.value.lower().startswith(("http://", "https://"))
        ):
            return place.value
    raise _NoAnswer("no_responder_named")


def _is_about(one: ocsp.OCSPSingleResponse, request: ocsp.OCSPRequest) -> bool:
    return (
        isinstance(one.hash_algorithm, SHA1)
        and one.serial_number == request.serial_number
        and one.issuer_name_hash == request.issuer_name_hash
        and one.issuer_key_hash == request.issuer_key_hash
    )


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_answer(certificate: x509.Certificate) -> bool:
    """Whether its authority appointed it: the extended key usage OCSP signing, nothing less."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _has_signed(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, signature, signed = signer.public_key(), response.signature, response.tbs_response_bytes
    try:
        algorithm = response.signature_hash_algorithm
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
            return True
        if algorithm is None or isinstance(algorithm, SHA1 | MD5):
            return False
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(algorithm))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
