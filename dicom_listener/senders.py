"""Who may store: AE title and network must both fit, and the certificate where one is asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from dicom_listener.tls import Certificate
from hoichan.settings import Sender


def sender_of(
    senders: Sequence[Sender], *, ae_title: str, address: str, certificate: Certificate | None = None
) -> Sender | None:
    """The entry under which somebody may store; None: not at all, or not without the right certificate.

    The first entry that fits title and network decides, so a later `*` does not waive the certificate that
    it asks for. An IPv4 address in IPv6 form counts as IPv4.
    """
    sender = entry_of(senders, ae_title=ae_title, address=address)
    return sender if sender is not None and _shows(sender, certificate) else None


def entry_of(senders: Sequence[Sender], *, ae_title: str, address: str) -> Sender | None:
    """The entry that title and network fit, whatever certificate it asks for."""
    try:
        peer = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    for sender in senders:
        fits = sender.ae_title in ("*", ae_title.strip())
        if fits and peer in ipaddress.ip_network(sender.host, strict=False):
            return sender
    return None


def _shows(sender: Sender, certificate: Certificate | None) -> bool:
    if not sender.needs_certificate:
        return True
    if certificate is None:
        return False
    if sender.certificate_sha256 and certificate.sha256 not in sender.certificate_sha256:
        return False
    return sender.certificate_cn in (None, certificate.common_name)
