"""A private authority for signatures: certificates of invented doctors, and who answers for their status.

One HTTP server on a loopback port gives the revocation list, answers OCSP, and gives timestamps (RFC 3161).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

SECRET = "mật khẩu của tệp khóa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    def pkcs12(self, file: Path, *authorities: x509.Certificate) -> Path:
        """The two in a file that SECRET opens."""
        secret = serialization.BestAvailableEncryption(SECRET.encode())
        made = pkcs12.serialize_key_and_certificates(
            b"signer", self.key, self.certificate, authorities, secret
        )
        file.write_bytes(made)
        return file

    def pem(self, folder: Path) -> tuple[Path, Path]:
        """Key (SECRET opens it) and certificate in two files."""
        key, certificate = folder / "signer.key", folder / "signer.crt"
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(SECRET.encode()),
            )
        )
        certificate.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return key, certificate


class SigningAuthority:
    """Issues, revokes, and answers while `running` lasts. Keys of 2048 bits; nothing is kept."""

    def __init__(self, name: str = "Cơ quan chứng thực thử") -> None:
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._port = 0
        self._serial = 1
        self.revoked: set[int] = set()
        self.answers: Callable[[str], bool] = lambda path: True  # False: this address fails
        self.asked: list[str] = []
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_of_all = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # slow to make
        subject = _name(name)
        self.certificate = (
            self._begun(subject, self.key.public_key(), self._now - timedelta(days=30), 365)
            .issuer_name(subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True, digital_signature=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def root(self, file: Path) -> Path:
        """The authority's own certificate as PEM."""
        file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return file

    def issue(
        self,
        name: str,
        *,
        begins: timedelta = timedelta(days=-1),
        days: int = 30,
        timestamps: bool = False,
        status: tuple[str, ...] = ("ocsp", "crl"),
    ) -> Issued:
        """A certificate; `status`: which addresses it names."""
        key = self._key_of_all
        builder = (
            self._begun(_name(name), key.public_key(), self._now + begins, days)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, content_commitment=not timestamps), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if timestamps:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(usage, critical=True)
        if "ocsp" in status:
            place = x509.UniformResourceIdentifier(self.address("ocsp"))
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        if "crl" in status:
            place = x509.UniformResourceIdentifier(self.address("crl"))
            point = x509.DistributionPoint([place], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        return Issued(certificate=builder.sign(self.key, hashes.SHA256()), key=key)

    def address(self, path: str) -> str:
        """Where the server answers; it must run."""
        return f"http://127.0.0.1:{self._port}/{path}"

    def revoke(self, one: Issued) -> None:
        """Take a certificate back, from now on."""
        self.revoked.add(one.certificate.serial_number)

    def crl(self) -> bytes:
        """The revocation list of now, as DER."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - timedelta(hours=1))
            .next_update(now + timedelta(days=1))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        for serial in self.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(now - timedelta(minutes=59)).build()
            )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    @contextmanager
    def running(self) -> Iterator[SigningAuthority]:
        """Answer at a free loopback port until the end of the block."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, body: bytes) -> None:
                path = self.path.strip("/").partition("/")[0]
                authority.asked.append(path)
                good = authority.answers(path)
                content, kind = authority.said(path, body) if good else (b"", "text/plain")
                self.send_response(200 if good else 503)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self._port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join(60)

    def said(self, path: str, body: bytes) -> tuple[bytes, str]:
        """What an address answers, and its media type."""
        if path == "crl":
            return self.crl(), "application/pkix-crl"
        if path == "ocsp":
            return self._ocsp(body), "application/ocsp-response"
        return self._timestamp(body), "application/timestamp-reply"

    def _ocsp(self, body: bytes) -> bytes:
        asked = ocsp.load_der_ocsp_request(body)
        gone = asked.serial_number in self.revoked
        now = datetime.now(UTC)
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            asked.issuer_name_hash,
            asked.issuer_key_hash,
            asked.serial_number,
            asked.hash_algorithm,
            ocsp.OCSPCertStatus.REVOKED if gone else ocsp.OCSPCertStatus.GOOD,
            now - timedelta(hours=1),
            now + timedelta(hours=1),
            now - timedelta(minutes=59) if gone else None,
            None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        for extension in asked.extensions:
            builder = builder.add_extension(extension.value, extension.critical)  # the nonce
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _timestamp(self, body: bytes) -> bytes:
        from asn1crypto import keys, tsp  # noqa: PLC0415  extra `pades`
        from asn1crypto import x509 as asn1  # noqa: PLC0415
        from pyhanko.sign.timestamps import DummyTimeStamper  # noqa: PLC0415
        from pyhanko_certvalidator.registry import SimpleCertificateStore  # noqa: PLC0415

        issued = self._stamper
        der, pkcs8 = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
        none = serialization.NoEncryption()
        store = SimpleCertificateStore()
        store.register(asn1.Certificate.load(self.certificate.public_bytes(der)))
        stamper = DummyTimeStamper(
            asn1.Certificate.load(issued.certificate.public_bytes(der)),
            keys.PrivateKeyInfo.load(issued.key.private_bytes(der, pkcs8, none)),
            certs_to_embed=store,
        )
        answer: bytes = stamper.request_tsa_response(tsp.TimeStampReq.load(body)).dump()
        return answer

    @property
    def _stamper(self) -> Issued:
        if not hasattr(self, "_issued_stamper"):
            self._issued_stamper = self.issue("Dấu thời gian", timestamps=True)
        return self._issued_stamper

    def _begun(
        self, subject: x509.Name, key: rsa.RSAPublicKey, begins: datetime, days: int
    ) -> x509.CertificateBuilder:
        self._serial += 1
        builder = x509.CertificateBuilder().subject_name(subject).public_key(key).serial_number(self._serial)
        return builder.not_valid_before(begins).not_valid_after(begins + timedelta(days=days))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(
    *,
    digital_signature: bool = False,
    content_commitment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=content_commitment,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
