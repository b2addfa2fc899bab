"""What all sections share."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field

AeTitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$")
]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port, for tests


class Section(BaseModel):
    """A part of the configuration: unknown keys are an error, and nothing changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_loopback(host: str) -> bool:
    """Whether a host name or address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _closed(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.scheme != "https" and not is_loopback((url.host or "").strip("[]")):
        raise ValueError("must be https")
    return url


# Beyond this machine by TLS only: what goes there names people, or shows who may read.
ClosedUrl = Annotated[AnyHttpUrl, AfterValidator(_closed)]
