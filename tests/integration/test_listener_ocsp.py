"""The door asks a responder, here that of OpenSSL, about the certificates of senders."""

import shutil

import pytest
from structlog.testing import capture_logs

from tests.integration.test_listener import wait_for
from tests.integration.test_listener_tls import authority, client, echo, opened, pair, served, turned_away

__all__ = ["authority"]  # a fixture
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is missing")


def test_a_sender_whose_certificate_the_responder_calls_revoked_is_refused(authority):
    names = ("ct-room", "mr-room")
    context = {name: client(authority, pair(authority, name)) for name in names}
    with authority.responder("mr-room", names=names) as url:
        asking = served(authority).model_copy(update={"ocsp": "hard", "ocsp_url": url})
        with opened(tls=asking) as ports, capture_logs() as lines:
            assert echo(ports["tls"], context["ct-room"])
            assert turned_away(ports["tls"], context["mr-room"])
            wait_for(lambda: any(line.get("reason") == "ocsp_revoked" for line in lines))


def test_without_a_responder_soft_lets_in_and_hard_does_not(authority):
    context = client(authority, pair(authority, "ct-room"))
    for ocsp in ("soft", "hard"):
        asking = served(authority).model_copy(update={"ocsp": ocsp})  # and the certificate names none
        with opened(tls=asking) as ports, capture_logs() as lines:
            assert echo(ports["tls"], context) == (ocsp == "soft")
            wait_for(lambda: any(line.get("reason") == "no_responder_named" for line in lines))
