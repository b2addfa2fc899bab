"""Whose studies come from where, and how people sign in besides a name and a password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import AnyHttpUrl, Field, SecretStr, model_validator

from hoichan.settings.base import AeTitle, Section, is_loopback

RoleName = Literal["radiologist", "technician", "clinician", "ml_engineer", "it_admin", "auditor"]


class Facility(Section):
    """A hospital or station whose studies come here. Accounts may be bound to facilities."""

    code: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")  # e.g. mã cơ sở khám chữa bệnh
    name: str = Field("", max_length=120)
    senders: tuple[AeTitle, ...]  # calling AE titles, of folders and of sources too


class Oidc(Section):
    """The hospital's own sign-in: OpenID Connect, code flow with PKCE. Local accounts stay beside it."""

    issuer: AnyHttpUrl  # exactly as the provider calls itself
    client_id: str = Field(min_length=1, max_length=255)
    client_secret: SecretStr = SecretStr("")  # by HOICHAN_OIDC__CLIENT_SECRET; empty: a public client
    public_url: AnyHttpUrl  # where browsers reach this page; it is sent back to /login/oidc/back there
    label: str = Field("", max_length=60)  # on the button; empty: "the hospital's account"
    scopes: tuple[str, ...] = ("openid", "profile")
    roles_claim: str = "roles"  # of the ID token or of the userinfo; a text or a list of texts
    roles: Mapping[str, RoleName] = Field(min_length=1)  # value of the claim -> role, best first
    user_name_claim: str = "preferred_username"
    timeout_seconds: float = Field(10, gt=0, le=60)

    @model_validator(mode="after")
    def _safe(self) -> Oidc:
        for key, url in (("issuer", self.issuer), ("public_url", self.public_url)):
            if url.scheme != "https" and not is_loopback(url.host or ""):
                raise ValueError(f"{key} must be https: who signs in would be seen on the network")
        if "openid" not in self.scopes:
            raise ValueError("scopes must name openid")
        return self

    @property
    def issuer_name(self) -> str:
        """The issuer as its tokens name it: without the slash that is added to a bare host."""
        return str(self.issuer).rstrip("/") if self.issuer.path in (None, "/") else str(self.issuer)

    @property
    def redirect_uri(self) -> str:
        """Where the issuer sends people back to."""
        return f"{str(self.public_url).rstrip('/')}/login/oidc/back"


class Access(Section):
    """Who may see what, and for how long an emergency opens what else is closed."""

    emergency_seconds: float = Field(4 * 3600, ge=60, le=86400)  # of one break-glass
    second_factor: tuple[RoleName, ...] = ()  # roles that cannot work without an authenticator
    head_folder: str = ""  # where the head of the audit log is written each day: better another machine's


def check_facilities(facilities: tuple[Facility, ...]) -> None:
    """Raises ValueError where two have one code, or one sender belongs to two."""
    codes = [facility.code for facility in facilities]
    if len(codes) != len(set(codes)):
        raise ValueError("facilities: two of them have the same code")
    senders = [sender for facility in facilities for sender in facility.senders]
    if len(senders) != len(set(senders)):
        raise ValueError("facilities: a sender belongs to two of them")
