"""DICOM over TLS (PS3.15 B.12): who gets in, and who does not."""

import gc
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest
from pynetdicom import build_context
from structlog.testing import capture_logs

from dicom_listener import Door
from dicom_listener.scp import TURNS
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.errors import ConfigurationError, Unreachable
from hoichan.reporting import plan
from hoichan.settings import ClientTls, DicomDestination, Listener, Sender, ServerTls, Settings
from hoichan.testing import FakeSpool, FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.certificates import Authority
from hoichan.testing.datasets import film
from hoichan.testing.reports import REPORTED_AT
from tests.integration.test_listener import association, send, wait_for

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is missing")
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("authority"))
    for name in ("door", "ct-room", "mr-room"):
        made.issue(name)
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """An authority that nobody knows, with a certificate of the same name."""
    made = Authority(tmp_path_factory.mktemp("stranger"))
    made.issue("ct-room")
    return made


def pair(authority, name):
    return authority.certificate.with_name(f"{name}.crt"), authority.certificate.with_name(f"{name}.key")


def served(authority, *, mutual=True):
    cert, key = pair(authority, "door")
    return ServerTls(cert=cert, key=key, ca=authority.certificate if mutual else None)


def fingerprint(authority, name):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pair(authority, name)[0].read_text())).hexdigest()


@contextmanager
def opened(spool=None, **settings):
    door = Door(spool or FakeSpool(), Listener(port=0, tls_port=0, **settings))
    door.open()
    try:
        yield door.ports
    finally:
        door.close()


def client(authority, shown=None, *, version=None):
    context = ssl.create_default_context(cafile=authority.certificate)
    if shown:
        context.load_cert_chain(*shown)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def echo(port, context=None, title="CT"):
    """Whether a C-ECHO is answered; TLS when a context is given."""
    with association(
        port,
        title,
        contexts=[build_context(VERIFICATION)],
        timeout=60,
        tls_args=(context, "localhost") if context else None,
    ) as made:
        return made.is_established and made.send_c_echo().get("Status") == 0x0000


def turned_away(port, context):
    """Whether TLS fails; in TLS 1.3 a client learns so only when it reads."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        try:
            with context.wrap_socket(raw, server_hostname="localhost") as line:
                return line.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_known_certificate_gets_in_on_the_tls_port_and_plain_stays_open(authority, version):
    with opened(tls=served(authority)) as ports:
        assert echo(ports["tls"], client(authority, pair(authority, "ct-room"), version=version))
        assert echo(ports["plain"])


def test_a_film_comes_through_tls_whole(authority):
    spool = FakeSpool()
    big = film(pixels=bytes(range(256)) * 20_000)
    with opened(spool, tls=served(authority)) as ports:
        context = client(authority, pair(authority, "ct-room"))
        with association(ports["tls"], tls_args=(context, "localhost")) as made:
            assert [send(made, big).Status for _ in range(3)] == [0x0000] * 3
    (spooled,) = spool.listing(big.StudyInstanceUID)
    assert spool.file(spooled.path).read_bytes().endswith(bytes(range(256)) * 20_000)
    spool.close()


def test_no_certificate_and_a_certificate_of_another_authority_are_refused(authority, stranger):
    with opened(tls=served(authority)) as ports, capture_logs() as lines:
        assert turned_away(ports["tls"], client(authority))
        assert turned_away(ports["tls"], client(authority, pair(stranger, "ct-room")))
        wait_for(lambda: len([line for line in lines if line["event"] == "tls_refused"]) == 2)
        assert echo(ports["tls"], client(authority, pair(authority, "ct-room")))


def test_without_an_authority_no_certificate_is_asked_for(authority):
    with opened(tls=served(authority, mutual=False)) as ports:
        assert echo(ports["tls"], client(authority))


def test_plaintext_on_the_tls_port_and_tls_on_the_plain_port_are_refused(authority):
    with opened(tls=served(authority)) as ports:
        assert not echo(ports["tls"])
        assert turned_away(ports["plain"], client(authority))
        assert echo(ports["plain"])


def test_old_tls_is_refused(authority):
    with opened(tls=served(authority)) as ports:
        old = client(authority, pair(authority, "ct-room"))
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        assert turned_away(ports["tls"], old)


def test_the_plain_port_may_be_closed(authority):
    with opened(tls=served(authority), plain=False) as ports:
        assert list(ports) == ["tls"]


@pytest.mark.parametrize("by", ["certificate_cn", "certificate_sha256"])
def test_a_sender_with_an_agreed_certificate_is_not_let_in_without_it(authority, by):
    agreed = {
        "certificate_cn": "ct-room",
        "certificate_sha256": (fingerprint(authority, "ct-room"),),
    }
    senders = (
        Sender(ae_title="CT", host="127.0.0.0/8", **{by: agreed[by]}),
        Sender(ae_title="CR", host="127.0.0.0/8"),
    )
    with opened(tls=served(authority), senders=senders) as ports:
        assert echo(ports["tls"], client(authority, pair(authority, "ct-room")))
        assert not echo(ports["tls"], client(authority, pair(authority, "mr-room")))
        assert not echo(ports["plain"])
        assert echo(ports["plain"], title="CR")


def test_who_is_slow_at_tls_holds_nobody_up_and_is_sent_away(authority):
    with (
        opened(tls=served(authority), network_timeout_seconds=5) as ports,
        socket.create_connection(("127.0.0.1", ports["tls"]), timeout=60) as silent,
    ):
        assert echo(ports["tls"], client(authority, pair(authority, "ct-room")))
        assert silent.recv(1) == b""


def test_certificates_that_cannot_be_used_are_said(authority, tmp_path):
    cert, _ = pair(authority, "door")
    (tmp_path / "not.pem").write_text("no certificate")
    for tls in (
        ServerTls(cert=tmp_path / "absent.crt"),
        ServerTls(cert=tmp_path / "not.pem"),
        ServerTls(cert=cert, key=pair(authority, "ct-room")[1]),
        ServerTls(cert=cert, key=pair(authority, "door")[1], ca=tmp_path / "not.pem"),
    ):
        with pytest.raises(ConfigurationError, match=r"listener\.tls"):
            Door(FakeSpool(), Listener(port=0, tls_port=0, tls=tls)).open()


def test_renewed_certificates_are_taken_up_and_broken_ones_are_not(authority, stranger, tmp_path):
    def put(source, name):
        for file, kind in zip(pair(source, name), ("door.crt", "door.key"), strict=True):
            shutil.copy(file, tmp_path / kind)

    put(authority, "door")
    tls = ServerTls(cert=tmp_path / "door.crt", key=tmp_path / "door.key")
    with opened(tls=tls) as ports, capture_logs() as lines:
        put(authority, "mr-room")
        with (
            socket.create_connection(("127.0.0.1", ports["tls"]), timeout=60) as raw,
            client(authority).wrap_socket(raw, server_hostname="localhost") as line,
        ):
            ((_, name),) = line.getpeercert()["subject"][0]
            assert name == "mr-room"
        (tmp_path / "door.key").write_text("half")
        assert echo(ports["tls"], client(authority))
    assert [line["event"] for line in lines if "renewed" in line["event"]] == [
        "certificates_renewed",
        "certificates_not_renewed",
    ]


def test_a_door_that_did_not_open_can_be_closed(authority):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        door = Door(FakeSpool(), Listener(port=0, tls_port=taken.getsockname()[1], tls=served(authority)))
        with pytest.raises(ConfigurationError):
            door.open()
        door.close()
    assert door.ports == {}


def test_a_key_with_a_password_is_said_and_not_asked_for(authority, tmp_path):
    cert, key = pair(authority, "door")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", key, "-out", locked],
        check=True,
        capture_output=True,
    )
    with pytest.raises(ConfigurationError, match="password"):
        Door(FakeSpool(), Listener(port=0, tls_port=0, tls=ServerTls(cert=cert, key=locked))).open()


@pytest.mark.skipif(shutil.which("echoscu") is None, reason="dcmtk is not installed")
def test_dcmtk_with_and_without_a_certificate(authority, stranger):
    def echoscu(port, *options):
        return subprocess.run(
            ["echoscu", "-to", "5", *options, "127.0.0.1", str(port)],
            capture_output=True,
            check=False,
            timeout=30,
        ).returncode

    cert, key = pair(authority, "ct-room")
    rogue_cert, rogue_key = pair(stranger, "ct-room")
    trust = ("+cf", authority.certificate)
    with opened(tls=served(authority)) as ports:
        assert echoscu(ports["tls"], "+tls", key, cert, *trust) == 0
        assert echoscu(ports["tls"], "+tla", *trust) != 0
        assert echoscu(ports["tls"], "+tls", rogue_key, rogue_cert, *trust) != 0
        assert echoscu(ports["tls"]) != 0
        assert echoscu(ports["plain"]) == 0


# The other direction: what we send ---------------------------------------------


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    study = a_study()
    return study, DocumentEncoder(FolderOfFilms(folder), Settings()).encode(study, a_report(study))


def deliver(documents, port, tls):
    study, encoded = documents
    destination = DicomDestination(
        name="pacs",
        kind="dicom",
        host="localhost",
        port=port,
        ae_title="PACS",
        tls=tls,
        timeout_seconds=60,
        wait_for_images_seconds=0,
    )
    (delivery,) = plan(a_report(study), study, [destination], encoded, REPORTED_AT)
    return DimseSink(destination, "HOICHAN").deliver(delivery, encoded)


def test_results_go_to_a_receiver_by_mutual_tls(authority, documents):
    cert, key = pair(authority, "ct-room")
    spool = FakeSpool()
    with opened(spool, tls=served(authority)) as ports:
        tls = ClientTls(ca=authority.certificate, cert=cert, key=key)
        assert deliver(documents, ports["tls"], tls) == "0x0000"
    assert len(spool.listing(documents[0].study_instance_uid)) == 2
    spool.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom's own socket
def test_a_receiver_that_nobody_vouches_for_gets_nothing(authority, stranger, documents, tmp_path):
    spool = FakeSpool()
    with opened(spool, tls=served(authority, mutual=False)) as ports:
        for ca in (stranger.certificate, tmp_path / "absent.pem"):
            with pytest.raises(Unreachable):
                deliver(documents, ports["tls"], ClientTls(ca=ca))
        gc.collect()
    assert spool.every_study() == []


def test_a_revoked_certificate_does_not_get_in_and_a_new_list_counts_at_once(authority):
    served_with = served(authority).model_copy(update={"crl": authority.revoke()})
    with opened(tls=served_with) as ports:
        room = client(authority, pair(authority, "ct-room"))
        assert echo(ports["tls"], room)
        authority.revoke("ct-room")
        assert not echo(ports["tls"], room)
        assert echo(ports["tls"], client(authority, pair(authority, "mr-room")))


def test_a_list_without_an_authority_is_refused(authority):
    cert, key = pair(authority, "door")
    with pytest.raises(ValueError, match=r"tls\.crl without tls\.ca"):
        ServerTls(cert=cert, key=key, crl=cert)


@contextmanager
def cut_after(port, count):
    """A line to a port that carries so many bytes of a sender and then nothing more, without an end."""
    stop, is_cut = threading.Event(), threading.Event()
    opened_sockets = []

    def carry(source, target, left):
        with suppress(OSError):
            while left and (content := source.recv(min(left, 65536))):
                target.sendall(content)
                left -= len(content)
        if not left:
            is_cut.set()

    def take(server):
        with suppress(OSError):
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", port))
            opened_sockets.extend([near, far])
            back = threading.Thread(target=carry, args=(far, near, 1 << 40))
            back.start()
            carry(near, far, count)
            stop.wait(60)
            for each in (near, far):
                each.shutdown(socket.SHUT_RDWR)
            back.join(60)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=take, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1], is_cut
        finally:
            stop.set()
            thread.join(60)
            for each in opened_sockets:
                each.close()


def test_senders_whose_line_is_cut_in_the_middle_keep_nobody_waiting(authority):
    """As many as may work at the same moment: what they wait for is the line, not the processor."""
    large = film(instance="large", pixels=bytes(1 << 20))

    def begin(port):
        with association(
            port, timeout=60, tls_args=(client(authority, pair(authority, "ct-room")), "localhost")
        ) as made:
            for each in (film(instance=str(port)), large):
                send(made, each)

    with opened(tls=served(authority)) as ports, ExitStack() as lines:
        senders = []
        for _ in range(TURNS):
            port, is_cut = lines.enter_context(cut_after(ports["tls"], 100_000))
            senders.append(threading.Thread(target=begin, args=(port,)))
            senders[-1].start()
            assert is_cut.wait(60)
        tls_args = (client(authority, pair(authority, "mr-room")), "localhost")
        with association(ports["tls"], tls_args=tls_args) as made:
            assert [send(made, film(instance=str(number))).Status for number in range(3)] == [0x0000] * 3
        lines.close()
        for sender in senders:
            sender.join(60)
