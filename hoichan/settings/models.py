"""Which model packages a site trusts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AnyHttpUrl, Field, field_validator, model_validator

from hoichan.settings.base import Section, is_loopback
from hoichan.settings.destinations import Auth, not_smart
from hoichan.settings.tls import ClientTls

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RemoteModel(Section):
    """A package whose network runs on a model server that speaks KServe v2 (REST)."""

    package: str  # name of the package here: its limits, thresholds and golden cases count
    url: AnyHttpUrl  # of the server, without /v2
    model: str = Field("", pattern=r"^[A-Za-z0-9._-]*$")  # its name there; empty: as the package's
    version: str = Field("", pattern=r"^[A-Za-z0-9._-]*$")  # its version there; empty: which the server picks
    timeout_seconds: float = Field(30.0, gt=0, le=600)  # of each step of a question
    tries: int = Field(3, ge=1, le=10)  # before a film counts as failed
    check_seconds: float = Field(600.0, gt=0)  # between two proofs that the server holds this version
    auth: Auth = Auth()
    tls: ClientTls | None = None

    _auth = field_validator("auth")(not_smart)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.url.scheme != "https" and not is_loopback(self.url.host or ""):
            raise ValueError("url: films leave this machine; https is needed beyond loopback")
        return self


class Models(Section):
    """Trust in packages, and how they are watched."""

    # Packages without a signature of a trusted key are not loaded. Off: a site's own models need no key.
    require_signature: bool = False
    trusted_keys: tuple[Path, ...] = ()  # Ed25519 public keys as PEM files
    # Package name -> digest: any other content of that package is not loaded.
    pins: dict[str, Digest] = Field(default_factory=dict)
    # Image statistics of what models read, for drift; each film is decoded a second time, at an idle moment.
    watch_inputs: bool = True
    # A network for volumes runs in a process of its own, which is ended after so long, and which the system
    # gives no more memory than this (0: as much as there is; needed where a graphics card is used).
    volume_seconds: float = Field(600, gt=0)
    volume_memory_bytes: int = Field(8 * 1024**3, ge=0)
    # What runs ONNX packages for films: the processor, or a graphics card (extra `gpu`). Where there is no
    # card the processor does it, and /readyz says so.
    provider: Literal["cpu", "cuda"] = "cpu"
    remote: tuple[RemoteModel, ...] = ()  # packages that run on a model server; the others run here

    @model_validator(mode="after")
    def _safe(self) -> Models:
        if self.require_signature and not self.trusted_keys:
            raise ValueError("require_signature without trusted_keys: no package could be loaded")
        names = [one.package for one in self.remote]
        if len(names) != len(set(names)):
            raise ValueError("remote: two entries for the same package")
        return self
