"""Signs the page of a report with a person's certificate, and checks such pages (PAdES, ETSI EN 319 142).

The certificate's status is asked for before the signature is given, and its answers are kept in the file
(baseline B-LT with a timestamp, B-B with validation data without): without an answer there is no signature.
What failed is told by a reason of ours; texts of libraries and names in certificates stay here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from hoichan.errors import NotSignable
from hoichan.settings import Pades, SigningCertificate
from hoichan.types import Review

if TYPE_CHECKING:
    from pyhanko.sign.signers.pdf_cms import Signer
    from pyhanko_certvalidator import ValidationContext

log = structlog.get_logger()

FIELD = "Signature"
SLACK = timedelta(minutes=10)  # between the review's time and the signature's: the certificate is asked about
_DIGEST = "sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What a signed page says of itself."""

    problem: str  # "" where everything holds; else a code
    certificate_sha256: str = ""
    timestamped: bool = False


class PageSeal:
    """Signs and checks by one site's certificates; opens what it needs at each signature."""

    def __init__(self, settings: Pades) -> None:
        self._settings = settings

    def sign(self, page: bytes, review: Review) -> bytes:
        """The page with a signature over all of it, for the reviewer of this review.

        Raises NotSignable: no_certificate, certificate_unusable (file, passphrase, token), or
        certificate_refused (expired, revoked, unknown authority, no answer about its status, no timestamp).
        """
        certificate = self._settings.of(review.reviewer)
        if certificate is None:
            raise NotSignable("no_certificate")
        try:
            from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter  # noqa: PLC0415
            from pyhanko.sign import fields, signers  # noqa: PLC0415
            from pyhanko.sign.signers import pdf_signer  # noqa: PLC0415
            from pyhanko.sign.timestamps import HTTPTimeStamper  # noqa: PLC0415
        except ImportError as error:
            log.error("page_seal_missing", install="hoichan[pades]")
            raise NotSignable("certificate_unusable") from error
        with _told("certificate_unusable"):
            context = self._context()
            url = self._settings.timestamp_url
            stamper = HTTPTimeStamper(str(url), timeout=self._settings.timeout_seconds) if url else None
        together = pdf_signer.SigDSSPlacementPreference.TOGETHER_WITH_SIGNATURE
        with _opened(certificate) as signer, _told("certificate_refused"):
            meta = signers.PdfSignatureMetadata(
                field_name=FIELD,
                md_algorithm=_DIGEST,
                name=review.reviewer_name,
                reason=_bound(review),
                subfilter=fields.SigSeedSubFilter.PADES,
                embed_validation_info=True,
                validation_context=context,
                signer_key_usage={_usage(signer)},
                dss_settings=pdf_signer.DSSContentSettings(include_vri=False, placement=together),
            )
            out = BytesIO()
            signers.PdfSigner(meta, signer, timestamper=stamper).sign_pdf(
                IncrementalPdfFileWriter(BytesIO(page)), output=out
            )
        return out.getvalue()

    def check(self, page: bytes, review: Review) -> Sealed:
        """Whether a page is signed, whole, by a certificate that was good then, and belongs to this review.

        `problem`: unsigned, other_review, changed, untrusted or other_time.
        """
        try:
            from pyhanko.pdf_utils.reader import PdfFileReader  # noqa: PLC0415
        except ImportError:
            return Sealed(problem="not_checkable")
        try:
            signatures = PdfFileReader(BytesIO(page)).embedded_signatures
            if len(signatures) != 1:
                return Sealed(problem="unsigned")
            return self._judged(signatures[0], review)
        except Exception as error:  # noqa: BLE001  a damaged file raises whatever its parser meets
            log.warning("page_seal_unreadable", report=review.report_uid, error=type(error).__name__)
            return Sealed(problem="changed")

    def _judged(self, signature: Any, review: Review) -> Sealed:  # noqa: ANN401  pyHanko has no types
        from pyhanko.sign.validation import validate_pdf_signature  # noqa: PLC0415
        from pyhanko.sign.validation.dss import DocumentSecurityStore  # noqa: PLC0415
        from pyhanko.sign.validation.status import SignatureCoverageLevel  # noqa: PLC0415

        said = signature.sig_object.get("/Reason", "")
        when: datetime | None = signature.self_reported_timestamp
        if str(said) != _bound(review):
            return Sealed(problem="other_review")
        if when is None or abs(when - review.signed_at) > SLACK:
            return Sealed(problem="other_time")
        store = DocumentSecurityStore.read_dss(signature.reader)
        then = {**self._trusted(), "moment": when, "time_tolerance": SLACK}
        context = store.as_validation_context(then)
        status = validate_pdf_signature(signature, context, ts_validation_context=context)
        whole = status.coverage is SignatureCoverageLevel.ENTIRE_FILE
        if not (status.intact and status.valid and whole):
            return Sealed(problem="changed")
        if not status.trusted:
            return Sealed(problem="untrusted")
        stamp = status.timestamp_validity
        if stamp is not None and not (stamp.intact and stamp.valid and stamp.trusted):
            return Sealed(problem="untrusted")
        digest = hashlib.sha256(signature.signer_cert.dump()).hexdigest()
        return Sealed(problem="", certificate_sha256=digest, timestamped=stamp is not None)

    def _context(self) -> ValidationContext:
        """What judges a certificate now."""
        from pyhanko_certvalidator import ValidationContext  # noqa: PLC0415

        fetch: dict[str, Any] = {}
        if self._settings.fetch_status:
            from pyhanko_certvalidator.fetchers.aiohttp_fetchers import AIOHttpFetcherBackend  # noqa: PLC0415
            from pyhanko_certvalidator.fetchers.api import OwnedFetcherBackend  # noqa: PLC0415

            backend = AIOHttpFetcherBackend(per_request_timeout=self._settings.timeout_seconds)
            fetch = {"allow_fetching": True, "fetcher_backend": OwnedFetcherBackend(backend)}
        crls = [_der(path.read_bytes()) for path in self._settings.crls]
        return ValidationContext(**self._trusted(), crls=crls, **fetch)

    def _trusted(self) -> dict[str, Any]:
        """Who is trusted, and that a status nobody knows is a bad one."""
        roots = _certificates(self._settings.roots)
        chain = [path for one in self._settings.certificates for path in one.chain]
        return {"trust_roots": roots, "other_certs": _certificates(chain), "revocation_mode": "require"}


def is_sealed_page(page: bytes) -> bool:
    """Whether a page carries a signature with a certificate, good or bad. Needs no library."""
    return b"/ETSI.CAdES.detached" in page


def digest(page: bytes) -> str:
    """SHA-256 of a page, in hexadecimal."""
    return hashlib.sha256(page).hexdigest()


def _bound(review: Review) -> str:
    """What the signature says it is for: the exact content of one review."""
    return f"{review.kind.value} {review.report_uid} sha256:{review.content_sha256}"


@contextmanager
def _opened(certificate: SigningCertificate) -> Iterator[Signer]:
    """What signs with this key, until the end of the block; a token's session is closed then."""
    from pyhanko.sign import signers  # noqa: PLC0415

    if certificate.module is not None:
        with _session(certificate) as signer:
            yield signer
        return
    with _told("certificate_unusable"):
        secret = _secret(certificate).encode() or None
        others = _certificates(certificate.chain)
        if certificate.pkcs12 is not None:
            content = certificate.pkcs12.read_bytes()
            made = signers.SimpleSigner.load_pkcs12_data(content, other_certs=others, passphrase=secret)
        else:
            made = signers.SimpleSigner.load(
                str(certificate.key), str(certificate.certificate), other_certs=others, key_passphrase=secret
            )
        if made is None:
            raise ValueError
    yield made


@contextmanager
def _session(certificate: SigningCertificate) -> Iterator[Signer]:
    """A session with a PKCS#11 token: the key never leaves it."""
    with _told("certificate_unusable"):
        from pyhanko.config.pkcs11 import TokenCriteria  # noqa: PLC0415
        from pyhanko.sign.pkcs11 import PKCS11Signer, open_pkcs11_session  # noqa: PLC0415

        session = open_pkcs11_session(
            str(certificate.module),
            token_criteria=TokenCriteria(label=certificate.token),
            user_pin=_secret(certificate),
        )
    try:
        with _told("certificate_unusable"):
            label, chain = certificate.label, _certificates(certificate.chain)
            signer = PKCS11Signer(session, cert_label=label, key_label=label, ca_chain=chain)
            assert signer.signing_cert is not None  # asks the token for it
        yield signer
    finally:
        session.close()


@contextmanager
def _told(reason: str) -> Iterator[None]:
    """Whatever a library raises becomes a refusal of ours; of the error only its kind is logged."""
    try:
        yield
    except NotSignable:
        raise
    except Exception as error:  # noqa: BLE001  files, tokens, networks and parsers of others
        log.warning("page_not_sealed", reason=reason, error=type(error).__name__)
        raise NotSignable(reason) from None


def _secret(certificate: SigningCertificate) -> str:
    if certificate.secret_file is not None:
        return certificate.secret_file.read_text(encoding="utf-8").strip()
    return certificate.secret.get_secret_value()


def _usage(signer: Signer) -> str:
    """The usage that the certificate must allow: non-repudiation where it has that."""
    usage = signer.signing_cert.key_usage_value if signer.signing_cert is not None else None
    return (
        "non_repudiation" if usage is not None and "non_repudiation" in usage.native else "digital_signature"
    )


def _certificates(paths: Iterable[Path]) -> list[Any]:
    from pyhanko.keys import load_certs_from_pemder  # noqa: PLC0415

    return list(load_certs_from_pemder([str(path) for path in paths]))


def _der(content: bytes) -> bytes:
    """A revocation list as DER."""
    from asn1crypto import pem  # noqa: PLC0415

    if not pem.detect(content):
        return content
    _, _, der = pem.unarmor(content)
    return bytes(der)
