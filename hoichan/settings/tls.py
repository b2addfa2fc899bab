"""Certificates, at our doors and towards receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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


def not_asked_about(tls: ServerTls | None) -> ServerTls | None:
    """For doors that do not ask a responder: better refused than believed to be asked."""
    if tls is not None and tls.ocsp != "off":
        raise ValueError("ocsp is for listener.tls only; give a list (crl) here")
    return tls


class ServerTls(Section):
    """TLS at our door, 1.2 or later (PS3.15 B.12, BCP 195)."""

    cert: Path  # PEM of our own certificate, with the chain up to the authority
    key: Path | None = None  # PEM of its private key, without a password; None: it is in `cert`
    ca: Path | None = None  # PEM of who may sign a sender's certificate; None: senders show none
    # PEM of what that authority revoked; once it has ended nobody gets in until a newer one is there
    crl: Path | None = None
    # where the authority publishes that list, DER or PEM: fetched in time and kept in `crl`
    crl_url: AnyHttpUrl | None = None
    # The DICOM listener asks a responder about each certificate: "hard" lets nobody in without its answer
    ocsp: Literal["off", "soft", "hard"] = "off"
    ocsp_url: AnyHttpUrl | None = None  # None: the responder that the certificate names

    @model_validator(mode="after")
    def _of_an_authority(self) -> ServerTls:
        if self.crl is not None and self.ca is None:
            raise ValueError("tls.crl without tls.ca")
        if self.crl_url is not None and self.crl is None:
            raise ValueError("tls.crl_url without tls.crl, the file in which the list is kept")
        if self.ocsp != "off" and self.ca is None:
            raise ValueError("tls.ocsp without tls.ca: no certificate is asked for")
        if self.ocsp == "off" and self.ocsp_url is not None:
            raise ValueError("tls.ocsp_url without tls.ocsp")
        return self
