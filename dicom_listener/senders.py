"""Who may store: AE title and network must both fit, and nobody else gets an association."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from hoichan.settings import Sender


def is_allowed(senders: Sequence[Sender], *, ae_title: str, address: str) -> bool:
    """Whether a calling AE title may store from an address; an IPv4 address in IPv6 form counts as IPv4."""
    try:
        peer = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return any(
        sender.ae_title in ("*", ae_title.strip()) and peer in ipaddress.ip_network(sender.host, strict=False)
        for sender in senders
    )
