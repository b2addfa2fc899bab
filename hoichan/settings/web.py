"""The page, the API, and the other doors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from hoichan.settings.base import AeTitle, Port, Section, is_loopback
from hoichan.settings.tls import ServerTls, not_asked_about


class ServiceLevel(Section):
    """Minutes from the first image until somebody should have read a study."""

    critical: int = Field(30, ge=1)
    urgent: int = Field(240, ge=1)
    routine: int = Field(1440, ge=1)  # also of what no model flagged: unflagged is not normal


class Web(Section):
    """The page and the API."""

    host: str = "127.0.0.1"
    port: Port = 8080
    public_names: tuple[str, ...] = ()  # host names under which a proxy reaches the page; others are refused
    # Where people outside reach the page: links for them begin with it. Empty: as the page was asked for.
    public_url: str = Field("", pattern=r"^(https?://[A-Za-z0-9.\[\]:-]+/?)?$")
    # STOW-RS at /dicom-web/studies. Beyond loopback for programs with a token only, and by TLS only.
    stow: bool = False
    stow_maximum_bytes: int = Field(2 * 1024**3, ge=1024**2)  # of one request; a CT of 2,000 slices is 1 GiB
    upload: bool = True  # films may be dropped on the page by who is signed in and may
    # Whether the page works without an account: only at this machine, and only until the first one is added.
    sign_in: Literal["with_first_user", "always"] = "with_first_user"
    session_idle_seconds: float = Field(1800, ge=60)  # an unused session ends: workstations are shared
    session_seconds: float = Field(43200, ge=60)  # whatever is done: a shift is twelve hours
    service_level: ServiceLevel = Field(default_factory=ServiceLevel)
    read_first: bool = False  # the reading room shows what the AI said only after the reader has looked
    notice_sound: bool = True  # pages ring for a new critical notice, unless the reader has switched it off
    # None: plain HTTP, for this machine or behind a proxy with TLS
    tls: Annotated[ServerTls | None, AfterValidator(not_asked_about)] = None
    # Whose X-Forwarded-For and -Proto are believed: a proxy on this machine.
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")

    @field_validator("public_url")
    @classmethod
    def _closed_on_the_way(cls, value: str) -> str:
        """A link to a report is a bearer's paper: beyond this machine it travels by TLS only."""
        if value.startswith("http://") and not is_loopback(urlsplit(value).hostname or ""):
            raise ValueError("must be https")
        return value

    @model_validator(mode="after")
    def _tokens_stay_secret(self) -> Web:
        if self.stow and not is_loopback(self.host) and self.tls is None:
            raise ValueError(
                "stow = true with a host that the network reaches needs tls: "
                "images and tokens would travel in clear"
            )
        return self


class Folder(Section):
    """A folder whose files are taken in: a gateway, a CR console or a person copies them there."""

    path: Path
    sender: AeTitle = "FOLDER"  # stands for the calling AE title, also in [[listener.senders]] quiet times
    after: Literal["keep", "delete", "move"] = "keep"  # what becomes of a file that is safe in the spool
    settled_seconds: float = Field(2, ge=0)  # unchanged for so long: whoever writes it has finished
    maximum_bytes: int = Field(4 * 1024**3, ge=1)  # of a file, and of what a ZIP archive unpacks to
