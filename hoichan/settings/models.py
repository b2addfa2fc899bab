"""Which model packages a site trusts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from hoichan.settings.base import Section

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Models(Section):
    """Trust in packages, and how they are watched."""

    # Packages without a signature of a trusted key are not loaded. Off: a site's own models need no key.
    require_signature: bool = False
    trusted_keys: tuple[Path, ...] = ()  # Ed25519 public keys as PEM files
    # Package name -> digest: any other content of that package is not loaded.
    pins: dict[str, Digest] = Field(default_factory=dict)
    # Image statistics of what models read, for drift; each film is decoded a second time, at an idle moment.
    watch_inputs: bool = True

    @model_validator(mode="after")
    def _safe(self) -> Models:
        if self.require_signature and not self.trusted_keys:
            raise ValueError("require_signature without trusted_keys: no package could be loaded")
        return self
