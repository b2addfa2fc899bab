"""The order door: who may tell us about orders and patients, over HL7 v2 MLLP."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from hoichan.settings.base import AeTitle, Port, Section, is_loopback
from hoichan.settings.sources import Modality
from hoichan.settings.tls import ClientTls, ServerTls, not_asked_about


class OrderSender(Section):
    """A RIS or HIS that may tell. Network and names must all fit."""

    host: str  # address or network, e.g. 10.0.0.0/24
    application: str = Field("*", min_length=1)  # MSH-3; "*": any
    facility: str = Field("*", min_length=1)  # MSH-4; "*": any

    @field_validator("host")
    @classmethod
    def _network(cls, value: str) -> str:
        ipaddress.ip_network(value, strict=False)
        return value


class Expectation(Section):
    """What an ordered procedure consists of, so that its study is complete as soon as it is here."""

    procedure: str = Field(min_length=1)  # code of OBR-44 or OBR-4, as the RIS sends it
    instances: int = Field(ge=1)  # images in all


class Worklist(Section):
    """A RIS whose Modality Worklist is asked for orders (C-FIND)."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    host: str
    port: Port
    ae_title: AeTitle
    calling_ae_title: AeTitle | None = None  # None: the listener's own title
    tls: ClientTls | None = None  # None: plain DICOM
    modalities: tuple[Modality, ...] = ()  # one question each; empty: one for all
    every_seconds: float = Field(60, ge=5)
    timeout_seconds: float = Field(30, gt=0)


LOOPBACK_ORDER_SENDERS = (OrderSender(host="127.0.0.0/8"), OrderSender(host="::1/128"))


class Orders(Section):
    """The MLLP door for ORM, OMG, OMI and ADT messages."""

    enabled: bool = False  # closed until somebody opens it on purpose
    host: str = "127.0.0.1"
    port: Port = 2575  # registered for HL7 (MLLP)
    # None: plain MLLP; with `ca` every sender must show a certificate
    tls: Annotated[ServerTls | None, AfterValidator(not_asked_about)] = None
    senders: tuple[OrderSender, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    # An accession number that images lack is taken from the order that is certainly theirs; else proposed.
    fill_accession: bool = True
    worklists: tuple[Worklist, ...] = ()  # asked whether the door is open or not
    maximum_message_bytes: int = Field(1024**2, ge=1024)  # an order is a few thousand
    maximum_connections: int = Field(50, ge=1)
    message_seconds: float = Field(30, gt=0)  # from the first byte of a message to its last
    idle_seconds: float = Field(3600, gt=0)  # senders keep a connection open between messages

    @property
    def allowed(self) -> tuple[OrderSender, ...]:
        """The configured senders; this machine itself when the door is on loopback and the list is empty."""
        return self.senders or (LOOPBACK_ORDER_SENDERS if is_loopback(self.host) else ())

    @model_validator(mode="after")
    def _safe(self) -> Orders:
        if self.enabled and not is_loopback(self.host) and not self.senders:
            raise ValueError("open to the network with an empty list of senders; add [[orders.senders]]")
        names = [worklist.name for worklist in self.worklists]
        if len(names) != len(set(names)):
            raise ValueError("worklists: two of them have the same name")
        return self
