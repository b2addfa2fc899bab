"""A revocation list by its URL: what is kept, what is thrown away, and what a door does without one."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hoichan.adapters.crl_fetch import FetchedList
from hoichan.adapters.tls import door_context
from hoichan.errors import ConfigurationError
from hoichan.settings import ServerTls
from hoichan.testing.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def issued(authority):
    return authority.issue("door")


@pytest.fixture
def place():
    """Where the authority publishes: `content` is given out, `asked` counts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked += 1
            content = self.server.content
            self.send_response(200 if content is not None else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.asked = None, 0
    server.url = f"http://127.0.0.1:{server.server_address[1]}/list.crl"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(60)


def a_list(place, authority, folder, **options):
    return FetchedList(place.url, folder / "kept.crl", authority.certificate, **options)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_list_is_fetched_and_kept(place, authority, issued, tmp_path, encoding):
    published = x509.load_pem_x509_crl(authority.revoke("door").read_bytes())
    place.content = published.public_bytes(encoding)
    fetched = a_list(place, authority, tmp_path)
    assert fetched.is_due()
    assert fetched.fetch()
    assert x509.load_pem_x509_crl((tmp_path / "kept.crl").read_bytes()) == published
    assert not fetched.is_due()
    assert [one.name for one in tmp_path.iterdir()] == ["kept.crl"]


def test_it_is_asked_for_again_when_half_of_its_time_is_over(place, authority, tmp_path):
    now = [datetime.now(UTC)]
    place.content = authority.revoke().read_bytes()
    fetched = a_list(place, authority, tmp_path, now=lambda: now[0])
    assert fetched.fetch()
    now[0] += timedelta(hours=11)
    assert not fetched.is_due()
    now[0] += timedelta(hours=2)
    assert fetched.is_due()


def test_what_does_not_count_is_thrown_away(place, authority, tmp_path, tmp_path_factory):
    now = [datetime.now(UTC)]
    older = authority.revoke().read_bytes()
    fetched = a_list(place, authority, tmp_path, now=lambda: now[0])
    place.content = Authority(tmp_path_factory.mktemp("other")).revoke().read_bytes()
    assert not fetched.fetch()  # of another authority
    for content in (b"<html>", b"", b"-----BEGIN X509 CRL-----\n", older[:-60], None):
        place.content = content
        assert not fetched.fetch()
    assert list(tmp_path.iterdir()) == []
    now[0] += timedelta(days=2)
    place.content = older
    assert not fetched.fetch()  # it has ended
    now[0] -= timedelta(days=2)
    assert fetched.fetch()
    kept = (tmp_path / "kept.crl").read_bytes()
    place.content = b"<html>"
    assert not fetched.fetch()
    assert (tmp_path / "kept.crl").read_bytes() == kept


def test_an_older_list_never_takes_the_place_of_a_newer_one(place, authority, tmp_path):
    older = authority.revoke().read_bytes()
    newest = x509.load_pem_x509_crl(older)
    fetched = a_list(place, authority, tmp_path)
    later = authority.revoke(at=newest.last_update_utc + timedelta(seconds=30))
    place.content = later.read_bytes()
    assert fetched.fetch()
    place.content = older
    assert not fetched.fetch()


def test_a_door_opens_with_the_fetched_list_and_with_the_kept_one(place, authority, issued, tmp_path):
    cert, key = issued
    tls = ServerTls(
        cert=cert, key=key, ca=authority.certificate, crl=tmp_path / "kept.crl", crl_url=place.url
    )
    with pytest.raises(ConfigurationError):
        door_context(tls, "orders.tls")  # nothing was ever fetched: nobody could be told from the revoked
    place.content = authority.revoke("door").read_bytes()
    context = door_context(tls, "orders.tls")
    assert context.now().cert_store_stats()["crl"] == 1
    place.content = None
    asked = place.asked
    assert door_context(tls, "orders.tls").now().cert_store_stats()["crl"] == 1
    assert place.asked == asked  # a fresh one is there


def test_the_url_needs_a_file_to_keep_the_list_in(authority, issued):
    cert, key = issued
    with pytest.raises(ValueError, match=r"tls\.crl_url without tls\.crl"):
        ServerTls(cert=cert, key=key, ca=authority.certificate, crl_url="http://pki.example/list.crl")
