"""What a responder says of a sender's certificate: what is believed, for how long, and what silence means."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from hoichan.adapters.ocsp_ask import CertificateRefused, Revocations
from hoichan.settings import Orders, ServerTls, Web

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


def made(name, *, issuer=None, extensions=(), until=NOW + DAY):
    """A certificate and its key; `issuer`: such a pair, None: itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 9 * DAY)
        .not_valid_after(until)
    )
    for extension in extensions:
        built = built.add_extension(extension, critical=False)
    return built.sign(issuer[1] if issuer else key, hashes.SHA256()), key


ROOT = made("Authority")
SHOWN = made("ct-room", issuer=ROOT)
SHOWN_DER = SHOWN[0].public_bytes(Encoding.DER)
OTHER = made("mr-room", issuer=ROOT)
APPOINTED = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


def answer(status=GOOD, *, about=SHOWN, by=ROOT, with_certificate=False, begin=NOW - DAY, end=NOW + DAY):
    built = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=about[0],
            issuer=ROOT[0],
            algorithm=hashes.SHA1(),
            cert_status=status,
            this_update=begin,
            next_update=end,
            revocation_time=NOW - 2 * DAY if status is REVOKED else None,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, by[0])
    )
    if with_certificate:
        built = built.certificates([by[0]])
    return built.sign(by[1], hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture
def responder():
    """`content` is what it says, None: HTTP 503; `asked` holds the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.server.content is not None else 503)
            self.end_headers()
            self.wfile.write(self.server.content or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.asked = None, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(60)


@pytest.fixture
def ca(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_bytes(made("Another")[0].public_bytes(Encoding.PEM) + ROOT[0].public_bytes(Encoding.PEM))
    return file


def asking(ca, responder, *, hard=True, now=None):
    return Revocations(ca, hard=hard, url=responder.url, now=now or (lambda: NOW))


def refused(revocations, shown=SHOWN_DER):
    """The reason; None: let in."""
    try:
        revocations.check(shown)
    except CertificateRefused as error:
        return error.reason
    return None


def test_a_good_certificate_is_asked_about_once_until_the_answer_ends(ca, responder):
    now = [NOW]
    responder.content = answer()
    revocations = asking(ca, responder, now=lambda: now[0])
    for later in (0, 12, 11.9):
        now[0] += timedelta(hours=later)
        assert refused(revocations) is None
    assert len(responder.asked) == 1
    assert ocsp.load_der_ocsp_request(responder.asked[0]).serial_number == SHOWN[0].serial_number
    now[0] += timedelta(hours=1)
    assert refused(revocations) == "ocsp_no_answer"  # what it says has ended
    assert len(responder.asked) == 2


@pytest.mark.parametrize("hard", [True, False])
def test_a_revoked_and_a_never_issued_one_are_refused_also_softly(ca, responder, hard):
    responder.content = answer(REVOKED)
    assert refused(asking(ca, responder, hard=hard)) == "ocsp_revoked"
    responder.content = answer(UNKNOWN)
    assert refused(asking(ca, responder, hard=hard)) == "ocsp_unknown"


def test_silence_takes_no_revocation_back(ca, responder):
    now = [NOW]
    responder.content = answer(REVOKED)
    revocations = asking(ca, responder, hard=False, now=lambda: now[0])
    assert refused(revocations) == "ocsp_revoked"
    responder.content, now[0] = None, NOW + 2 * DAY
    assert refused(revocations) == "ocsp_revoked"
    responder.content, now[0] = answer(end=NOW + 9 * DAY), NOW + 3 * DAY
    assert refused(revocations) is None  # a hold that was lifted


STRANGER = made("Authority")  # the same name, another key
BELIEVED = {
    "no_next_update": lambda: answer(end=None, begin=NOW - timedelta(hours=1)),
    "appointed": lambda: answer(
        by=made("Responder", issuer=ROOT, extensions=[APPOINTED]), with_certificate=True
    ),
    "its_clock_is_ahead": lambda: answer(begin=NOW + timedelta(minutes=4)),
}
NOT_BELIEVED = {
    "another_signer": lambda: answer(by=STRANGER),
    "not_appointed": lambda: answer(by=made("Responder", issuer=ROOT), with_certificate=True),
    "appointed_by_another": lambda: answer(
        by=made("Responder", issuer=STRANGER, extensions=[APPOINTED]), with_certificate=True
    ),
    "appointed_and_ended": lambda: answer(
        by=made("Responder", issuer=ROOT, extensions=[APPOINTED], until=NOW - DAY), with_certificate=True
    ),
    "of_another_certificate": lambda: answer(about=OTHER),
    "ended": lambda: answer(begin=NOW - 2 * DAY, end=NOW - timedelta(seconds=1)),
    "old_and_without_end": lambda: answer(begin=NOW - 2 * DAY, end=None),
    "of_the_future": lambda: answer(begin=NOW + timedelta(hours=1)),
    "flipped": lambda: answer()[:-1] + bytes([answer()[-1] ^ 1]),
    "try_later": lambda: ocsp.OCSPResponseBuilder.build_unsuccessful(
        ocsp.OCSPResponseStatus.TRY_LATER
    ).public_bytes(Encoding.DER),
    "garbage": lambda: b"<html>",
    "too_large": lambda: b"0" * 100_000,
    "http_503": lambda: None,
}


@pytest.mark.parametrize("name", BELIEVED)
def test_what_is_believed(ca, responder, name):
    responder.content = BELIEVED[name]()
    assert refused(asking(ca, responder)) is None


@pytest.mark.parametrize("name", NOT_BELIEVED)
def test_what_is_not_believed_is_no_answer(ca, responder, name):
    responder.content = NOT_BELIEVED[name]()
    assert refused(asking(ca, responder, hard=True)) == "ocsp_no_answer"
    assert refused(asking(ca, responder, hard=False)) is None


def test_after_no_answer_it_is_asked_again_half_a_minute_later(ca, responder):
    now = [NOW]
    revocations = asking(ca, responder, now=lambda: now[0])
    assert refused(revocations) == refused(revocations) == "ocsp_no_answer"
    assert len(responder.asked) == 1
    responder.content, now[0] = answer(), NOW + timedelta(seconds=31)
    assert refused(revocations) is None


def test_the_responder_that_the_certificate_names_is_asked(ca, responder):
    place = x509.UniformResourceIdentifier(responder.url)
    named = x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)]
    )
    shown = made("us-room", issuer=ROOT, extensions=[named])
    responder.content = answer(about=shown)
    revocations = Revocations(ca, hard=True, now=lambda: NOW)
    assert refused(revocations, shown[0].public_bytes(Encoding.DER)) is None
    assert refused(revocations) == "ocsp_no_answer"  # this one names none
    assert len(responder.asked) == 1


def test_who_issued_it_must_stand_in_ca(ca, responder):
    shown = made("ct-room", issuer=made("Intermediate", issuer=ROOT))
    assert refused(asking(ca, responder), shown[0].public_bytes(Encoding.DER)) == "ocsp_no_answer"
    assert not responder.asked


def test_only_a_door_that_asks_takes_the_setting(tmp_path):
    tls = {"cert": tmp_path / "c", "ca": tmp_path / "ca", "ocsp": "soft"}
    assert ServerTls(**tls).ocsp == "soft"
    for section in (Web, Orders):
        with pytest.raises(ValueError, match=r"listener\.tls only"):
            section(tls=tls)
    with pytest.raises(ValueError, match=r"without tls\.ca"):
        ServerTls(cert=tmp_path / "c", ocsp="hard")
    with pytest.raises(ValueError, match=r"ocsp_url without"):
        ServerTls(cert=tmp_path / "c", ca=tmp_path / "ca", ocsp_url="http://pki.example/")
