"""Certificates of a private authority for tests, made with the openssl program."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class Authority:
    """Signs certificates for this machine; everything lies in one folder as PEM."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "authority.crt"
        self._key = folder / "authority.key"
        self._openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=Test authority"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of `name`, for localhost and the loopback addresses."""
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        request, extensions = self._folder / f"{name}.csr", self._folder / "extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", encoding="utf-8")
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key),
            *("-CAcreateserial", "-days", "30", "-extfile", extensions, "-out", certificate),
        )
        return certificate, key

    def revoke(self, *names: str, at: datetime | None = None) -> Path:
        """A list that revokes the certificates of these, for a day from now; `at`: when it was made."""
        now = at + timedelta(minutes=1) if at is not None else datetime.now(UTC)
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        built = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(now - timedelta(minutes=1))
            .next_update(now + timedelta(days=1))
        )
        for name in names:
            shown = x509.load_pem_x509_certificate((self._folder / f"{name}.crt").read_bytes())
            one = x509.RevokedCertificateBuilder().serial_number(shown.serial_number)
            built = built.add_revoked_certificate(one.revocation_date(now - timedelta(minutes=1)).build())
        key = serialization.load_pem_private_key(self._key.read_bytes(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        file = self._folder / "revoked.crl"
        file.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return file

    @contextmanager
    def responder(self, *revoked: str, names: Sequence[str]) -> Iterator[str]:
        """`openssl ocsp` as the authority's responder: its URL. It has issued `names`, and `revoked` some."""
        lines = []
        for name in names:
            shown = x509.load_pem_x509_certificate((self._folder / f"{name}.crt").read_bytes())
            state, when = ("R", "260101000000Z") if name in revoked else ("V", "")
            lines.append(f"{state}\t351231000000Z\t{when}\t{shown.serial_number:X}\tunknown\t/CN={name}\n")
        index = self._folder / f"index-{len(revoked)}.txt"
        index.write_text("".join(lines), encoding="ascii")
        command: list[str | Path] = [
            "openssl",
            "ocsp",
            "-port",
            "0",
            "-index",
            index,
            "-CA",
            self.certificate,
        ]
        command += ["-rsigner", self.certificate, "-rkey", self._key, "-nmin", "60"]
        said = self._folder / f"{index.stem}.log"
        with said.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as program:
            try:
                yield f"http://127.0.0.1:{_port_in(said, program)}/"
            finally:
                program.kill()

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _port_in(said: Path, program: subprocess.Popen[bytes]) -> int:
    """Where `openssl ocsp` listens, once it says so; a connection that asks nothing would confuse it."""
    deadline = time.monotonic() + 60
    while program.poll() is None and time.monotonic() < deadline:
        found = re.search(rb"ACCEPT .*:(\d+).*\n", said.read_bytes())
        if found:
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError("openssl ocsp did not start")
