"""Certificates, at our doors and towards receivers."""

from __future__ import annotations

from pathlib import Path

from pydantic import AnyHttpUrl, model_validator

from hoichan.settings.base import Section


class ClientTls(Section):
    """TLS towards a receiver: its certificate is always checked, ours is shown where it asks."""

    ca: Path | None = None  # PEM of who may sign the receiver's certificate; None: those the system trusts
    cert: Path | None = None  # PEM of our own certificate, for mutual TLS
    key: Path | None = None  # PEM of its private key; None: it is in `cert`

    @model_validator(mode="after")
    def _paired(self) -> ClientTls:
        if self.key is not None and self.cert is None:
            raise ValueError("tls.key without tls.cert")
        return self


class ServerTls(Section):
    """TLS at our door, 1.2 or later (PS3.15 B.12, BCP 195)."""

    cert: Path  # PEM of our own certificate, with the chain up to the authority
    key: Path | None = None  # PEM of its private key, without a password; None: it is in `cert`
    ca: Path | None = None  # PEM of who may sign a sender's certificate; None: senders show none
    # PEM of what that authority revoked; once it has ended nobody gets in until a newer one is there
    crl: Path | None = None
    # where the authority publishes that list, DER or PEM: fetched in time and kept in `crl`
    crl_url: AnyHttpUrl | None = None

    @model_validator(mode="after")
    def _of_an_authority(self) -> ServerTls:
        if self.crl is not None and self.ca is None:
            raise ValueError("tls.crl without tls.ca")
        if self.crl_url is not None and self.crl is None:
            raise ValueError("tls.crl_url without tls.crl, the file in which the list is kept")
        return self
