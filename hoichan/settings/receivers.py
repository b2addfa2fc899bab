"""What the page may say of receivers: where they may be, and which secrets of the file they may name."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hoichan.settings.base import Section
from hoichan.settings.destinations import Auth
from hoichan.settings.tls import ClientTls

# This machine and private networks (RFC 1918, RFC 4193). Names and public addresses have to be listed.
PRIVATE = (
    "localhost",
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
)
Hosts = Annotated[tuple[str, ...], Field(min_length=1)]  # networks, addresses or names; `*` in a name
# Lower case: HOICHAN_CREDENTIALS__EMR__AUTH__TOKEN sets the token of `emr`.
CredentialsName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_]+$")]


class Credentials(Section):
    """Secrets and certificates that an entry of the page names and never sees."""

    hosts: Hosts  # to whom they may be shown: whoever changes an address cannot have them sent elsewhere
    auth: Auth = Auth()
    tls: ClientTls | None = None


class Receivers(Section):
    """Whether receivers may be written at the page, and where they may be."""

    at_page: bool = True  # False: those of the file only, and what the page said is passed over
    hosts: Hosts = PRIVATE
    folders: tuple[Path, ...] = ()  # besides the outbox of the data folder


def is_among(host: str, hosts: Sequence[str]) -> bool:
    """Whether a host is one of some networks, addresses or patterns of names. Nothing is resolved."""
    bare = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return any(fnmatchcase(bare, one.lower()) for one in hosts if _network(one) is None)
    networks = [network for one in hosts if (network := _network(one)) is not None]
    return any(address in network for network in networks if network.version == address.version)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
