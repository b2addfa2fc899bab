"""Who is told of a critical finding, how, and who is told next where nobody acknowledges it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from hoichan.settings.base import AeTitle, ClosedUrl, Port, Section, is_loopback
from hoichan.settings.tls import ClientTls

Address = Annotated[str, Field(max_length=254, pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")]


class _Channel(Section):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    after_minutes: float = Field(0, ge=0, le=10_080)  # only if nobody has acknowledged it by then
    # told again every so many minutes while nobody acknowledges it; 0: told once
    remind_minutes: float = Field(0, ge=0, le=10_080)
    unconfirmed: bool = True  # also what a machine found and no doctor has signed
    # critical findings; next steps on their day; second opinions that somebody is asked for, or gets
    tells: tuple[Literal["critical", "due", "asked", "answered"], ...] = Field(("critical",), min_length=1)
    senders: tuple[AeTitle, ...] = ()  # only studies from these; (): all
    # Link to the study, of no patient; `{study_instance_uid}` is filled in. Empty: none.
    link: str = Field("", pattern=r"^(https?://[^\s{}]*\{study_instance_uid\}[^\s{}]*)?$")
    timeout_seconds: float = Field(10, gt=0, le=60)


class WebhookChannel(_Channel):
    """A pager, chat or alarm server that takes an HTTPS POST."""

    kind: Literal["webhook"]
    url: ClosedUrl
    secret: SecretStr = Field(min_length=16)  # of the HMAC-SHA256 that shows who sent it
    tls: ClientTls | None = None  # None: checked against the system's authorities


class EmailChannel(_Channel):
    """People who read mail, by the hospital's own mail server."""

    kind: Literal["email"]
    host: str = Field(min_length=1)
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    tls: ClientTls | None = None  # None: checked against the system's authorities
    username: str = ""
    password: SecretStr = SecretStr("")
    sender: str = Field(max_length=254, pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")
    to: tuple[Address, ...] = Field(min_length=1)
    # Addresses by account: who owns a next step or is asked for an opinion gets that mail; others: `to`.
    people: Mapping[str, Address] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _not_in_clear(self) -> EmailChannel:
        if self.security == "none" and self.username and not is_loopback(self.host):
            raise ValueError('a password needs security = "starttls" or "tls"')
        return self


AnyChannel = WebhookChannel | EmailChannel
Channel = Annotated[AnyChannel, Field(discriminator="kind")]


def check_channels(channels: tuple[AnyChannel, ...]) -> None:
    """Raises ValueError where two have one name: the record knows them by it."""
    names = [one.name for one in channels]
    if len(names) != len(set(names)):
        raise ValueError("notices: two of them have the same name")
