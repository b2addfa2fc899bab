"""TLS at the page and at the order door: files that change count for the next connection."""

import ssl

import pytest

from hoichan.adapters.tls import door_context, page_context
from hoichan.errors import ConfigurationError
from hoichan.settings import ServerTls
from hoichan.testing.certificates import Authority

DOORS = {"page": page_context, "orders": lambda tls: door_context(tls, "orders.tls")}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("authority"))
    for name in ("door", "second", "ris"):
        made.issue(name)
    return made


def pair(authority, name):
    folder = authority.certificate.parent
    return folder / f"{name}.crt", folder / f"{name}.key"


def shaken(context, authority, name):
    """What the peer `name` hears at the door: the door's certificate. Raises SSLError of either side."""
    to_door, to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer_context = ssl.create_default_context(cafile=authority.certificate)
    peer_context.load_cert_chain(*pair(authority, name))
    peer = peer_context.wrap_bio(to_peer, to_door, server_hostname="localhost")
    door = context.wrap_bio(to_door, to_peer, server_side=True)
    for side in (peer, door) * 4:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert door.cipher() is not None
    return dict(item for group in peer.getpeercert()["subject"] for item in group)["commonName"]


@pytest.mark.parametrize("door", DOORS)
def test_who_is_revoked_meanwhile_does_not_get_in(authority, door):
    cert, key = pair(authority, "door")
    context = DOORS[door](ServerTls(cert=cert, key=key, ca=authority.certificate, crl=authority.revoke()))
    assert shaken(context, authority, "ris") == "door"
    authority.revoke("ris")
    with pytest.raises(ssl.SSLError, match="revoked"):
        shaken(context, authority, "ris")
    authority.revoke()
    assert shaken(context, authority, "ris") == "door"


@pytest.mark.parametrize("door", DOORS)
def test_a_renewed_certificate_of_ours_is_shown_and_half_of_a_pair_changes_nothing(authority, door, tmp_path):
    cert, key = (tmp_path / name for name in ("own.crt", "own.key"))
    for place, source in zip((cert, key), pair(authority, "door"), strict=True):
        place.write_bytes(source.read_bytes())
    context = DOORS[door](ServerTls(cert=cert, key=key, ca=authority.certificate))
    second_cert, second_key = pair(authority, "second")
    cert.write_bytes(second_cert.read_bytes())
    assert shaken(context, authority, "ris") == "door"  # the key does not fit yet
    key.write_bytes(second_key.read_bytes())
    assert shaken(context, authority, "ris") == "second"


def test_what_cannot_be_used_at_the_start_is_said(authority, tmp_path):
    cert, _ = pair(authority, "door")
    with pytest.raises(ConfigurationError, match=r"orders\.tls"):
        door_context(ServerTls(cert=cert, key=tmp_path / "missing"), "orders.tls")
