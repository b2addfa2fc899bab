"""Certificates that sign the page of a report (PAdES), and who is asked whether they are still good."""

from __future__ import annotations

from pathlib import Path

from pydantic import AnyHttpUrl, Field, SecretStr, model_validator

from hoichan.settings.base import Section

EVERYBODY = "*"


class SigningCertificate(Section):
    """One key with its certificate: in a PKCS#12 file, in two PEM files, or in a PKCS#11 token."""

    accounts: tuple[str, ...] = Field(min_length=1)  # whose; "*": of all without one (a seal)
    pkcs12: Path | None = None
    key: Path | None = None
    certificate: Path | None = None
    module: Path | None = None  # the PKCS#11 library of the token's maker
    token: str = ""  # label of the token
    label: str = ""  # of key and certificate in the token
    chain: tuple[Path, ...] = ()  # authorities between it and the root, PEM or DER
    # Passphrase of the file, or PIN of the token; better a file that only the service can read.
    secret: SecretStr = SecretStr("")
    secret_file: Path | None = None

    @model_validator(mode="after")
    def _one_place(self) -> SigningCertificate:
        places = [self.pkcs12 is not None, self.key is not None, self.module is not None]
        if sum(places) != 1:
            raise ValueError("say one of pkcs12, key (with certificate) and module (with token and label)")
        if (self.key is None) != (self.certificate is None):
            raise ValueError("key and certificate belong together")
        if self.module is not None and not (self.token and self.label):
            raise ValueError("module needs token and label")
        if self.secret.get_secret_value() and self.secret_file is not None:
            raise ValueError("say secret or secret_file, not both")
        return self


class Pades(Section):
    """Without this section no certificate signs pages. With it, nothing is signed without one."""

    certificates: tuple[SigningCertificate, ...] = Field(min_length=1)
    roots: tuple[Path, ...] = Field(min_length=1)  # authorities that are trusted, PEM or DER
    crls: tuple[Path, ...] = ()  # revocation lists that somebody brings here, besides those that are fetched
    fetch_status: bool = True  # ask the addresses that the certificates name: OCSP, then the revocation list
    timestamp_url: AnyHttpUrl | None = None  # RFC 3161; its authority must be under `roots` too
    timeout_seconds: float = Field(10, gt=0, le=60)  # of one question

    @model_validator(mode="after")
    def _one_each(self) -> Pades:
        names = [name for one in self.certificates for name in one.accounts]
        if len(names) != len(set(names)):
            raise ValueError("an account has two certificates")
        return self

    def of(self, user_name: str) -> SigningCertificate | None:
        """The certificate of an account; None where it has none and there is no seal for everybody."""
        by_name = {name: one for one in self.certificates for name in one.accounts}
        return by_name.get(user_name) or by_name.get(EVERYBODY)
