"""The DICOM door and who may use it."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from hoichan.settings.base import AeTitle, Port, Section, is_loopback
from hoichan.settings.tls import ClientTls, ServerTls


def _fingerprint(value: str) -> str:
    return value.replace(":", "").lower()


def _private(value: str) -> str:
    if value.startswith("1.2.840.10008."):
        raise ValueError(f"{value} is no private UID: it is of the DICOM standard")
    return value


PrivateUid = Annotated[  # PS3.5 9.1
    str, Field(max_length=64, pattern=r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+$"), AfterValidator(_private)
]
Fingerprint = Annotated[str, AfterValidator(_fingerprint), Field(pattern=r"^[0-9a-f]{64}$")]


class Sender(Section):
    """Somebody who may store. AE title and network must both fit; the first entry that fits decides."""

    ae_title: str = Field(min_length=1, max_length=16)  # "*": any title from that network
    host: str  # address or network, e.g. 10.0.0.0/24
    quiet_seconds: float | None = Field(None, ge=0)  # overrides the modality's quiet time
    # How long a procedure step (MPPS) that it never ends holds a study, from its first image; None: the cap
    step_seconds: float | None = Field(None, ge=0)
    # what its texts are written in where they declare nothing that knows Vietnamese
    character_set: Literal["windows-1258", "tcvn3", "viscii", "vni"] | None = None
    certificate_sha256: tuple[Fingerprint, ...] = ()  # must show one of these; two while one is renewed
    certificate_cn: str | None = Field(None, min_length=1)  # must show a certificate with this common name
    maximum_associations: int | None = Field(None, ge=1)  # at a time, of all callers of this entry
    commitment_host: str | None = None  # where it hears storage commitment reports; None: where it asked from
    commitment_port: Port | None = None  # None: reports go through an association that it has open
    commitment_tls: ClientTls | None = None  # None: reports go in plain DICOM
    urgency: Literal["stat", "urgent", "routine", "low"] | None = None  # of its studies; None: as sent
    instances_per_minute: int | None = Field(None, ge=1)  # of all callers of this entry; more get 0xA700

    @model_validator(mode="after")
    def _reachable(self) -> Sender:
        if self.commitment_port is None and (self.commitment_host or self.commitment_tls):
            raise ValueError("commitment_host or commitment_tls without commitment_port")
        return self

    @property
    def needs_certificate(self) -> bool:
        """Whether this sender is only known by its certificate, so never on the plain port."""
        return bool(self.certificate_sha256) or self.certificate_cn is not None

    @property
    def is_anybody(self) -> bool:
        """Whether it lets in whoever calls, under any title and from any network, without a certificate."""
        everywhere = ipaddress.ip_network(self.host, strict=False).prefixlen == 0
        return self.ae_title == "*" and everywhere and not self.needs_certificate

    @field_validator("host")
    @classmethod
    def _network(cls, value: str) -> str:
        ipaddress.ip_network(value, strict=False)
        return value


LOOPBACK_SENDERS = (Sender(ae_title="*", host="127.0.0.0/8"), Sender(ae_title="*", host="::1/128"))


class Listener(Section):
    """The DICOM door."""

    ae_title: AeTitle = "HOICHAN"
    host: str = "127.0.0.1"  # loopback until somebody opens it on purpose
    port: Port = 11112
    plain: bool = True  # False: only the TLS port is open
    tls: ServerTls | None = None  # None: the TLS port is closed
    tls_port: Port = 2762  # registered for DICOM over TLS (PS3.8 9.1.1)
    senders: tuple[Sender, ...] = ()
    # False, as most receivers in the field: a wrong title is a slip, and films would be lost for it
    require_called_ae_title: bool = False
    private_sop_classes: tuple[PrivateUid, ...] = ()  # a maker's own, kept like any object; never scored
    maximum_associations: int = Field(25, ge=1)
    # that receive; None: one for two processors, at most four; on two or three two while few modalities send
    processes: int | None = Field(None, ge=1, le=16)
    maximum_pdu_size: int = Field(0, ge=0)  # bytes; 0: no limit
    commitment_retry_seconds: float = Field(5, gt=0)  # first pause; it doubles up to an hour, for a week
    network_timeout_seconds: float = Field(60, gt=0)  # an idle association is closed after this

    @property
    def allowed(self) -> tuple[Sender, ...]:
        """The configured senders; this machine itself when the door is on loopback and the list is empty."""
        return self.senders or (LOOPBACK_SENDERS if is_loopback(self.host) else ())

    def character_set_of(self, ae_title: str) -> Literal["windows-1258", "tcvn3", "viscii", "vni"] | None:
        """What a sender writes that DICOM has no term for; of the first entry that says so for its title."""
        said = (one for one in self.senders if one.ae_title in ("*", ae_title.strip()))
        return next((one.character_set for one in said if one.character_set is not None), None)

    @model_validator(mode="after")
    def _safe(self) -> Listener:
        known = [sender.needs_certificate for sender in self.senders]
        if any(known) and (self.tls is None or self.tls.ca is None):
            raise ValueError("a sender must show a certificate, but there is no tls.ca to check it with")
        if not self.plain and self.tls is None:
            raise ValueError("plain = false without tls: no port would be open")
        if self.plain and known and all(known):
            raise ValueError(
                "every sender must show a certificate, so the plain port is of no use: plain = false"
            )
        is_mutual = not self.plain and self.tls is not None and self.tls.ca is not None
        if not is_loopback(self.host) and not is_mutual and any(one.is_anybody for one in self.senders):
            raise ValueError(
                'a sender "*" from every network is as good as no list: name titles or networks, '
                "or let in who shows a certificate only (tls.ca, plain = false)"
            )
        if self.plain and self.tls is not None and self.port == self.tls_port != 0:
            raise ValueError("port and tls_port are the same")
        return self
