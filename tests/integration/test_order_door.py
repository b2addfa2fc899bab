"""The order door over real sockets: what it answers is what is on disk."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import random
import shutil
import socket
import ssl
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hoichan import er7
from hoichan.adapters.database import open_database
from hoichan.adapters.mllp_door import MllpDoor
from hoichan.adapters.orders_sql import OrdersSql
from hoichan.adapters.schema_orders import messages, orders, patient_events
from hoichan.errors import ConfigurationError, PortInUse
from hoichan.settings import Orders, OrderSender, ServerTls, Settings, load
from hoichan.testing import hl7
from hoichan.testing.certificates import Authority
from hoichan.testing.database import migrated
from hoichan.testing.mllp import exchange, framed, heard, msa, said
from hoichan.testing.ports import FakeClock
from service.orders import OrderDesk, bind, serve


@functools.cache
def empty_record():
    """A migrated database to copy: migrating takes a second."""
    file = Path(tempfile.mkdtemp(prefix="hoichan-")) / "records.sqlite"
    engine = open_database(f"sqlite:///{file}")
    migrated(engine)
    with engine.connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)
    return file


class Door:
    """An order door in a thread, over a record on SQLite."""

    def __init__(self, folder, **changes):
        self.settings = Settings(orders=Orders(enabled=True, port=0, **changes))
        shutil.copy(empty_record(), folder / "records.sqlite")
        self.engine = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        clock = FakeClock()
        self.desk = OrderDesk(self.settings, OrdersSql(self.engine, clock), clock)
        self.stop = threading.Event()
        self.listening = bind(self.settings)
        self.port = self.listening.getsockname()[1]
        door = MllpDoor(self.settings.orders, self.listening, self.desk.answer, self.desk.too_large)
        self.thread = threading.Thread(target=lambda: asyncio.run(serve(door, self.stop)))
        self.thread.start()

    def close(self):
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.listening.close()
        self.engine.dispose()

    def rows(self, table):
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(table)).mappings()]

    def call(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


@contextmanager
def a_door(folder, **changes):
    opened = Door(folder, **changes)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def door(tmp_path):
    with a_door(tmp_path) as opened:
        yield opened


# ------------------------------------------------------------------ what is taken
@pytest.mark.parametrize("kind", ["OMI^O23^OMI_O23", "ORM^O01^ORM_O01", "OMG^O19^OMG_O19"])
def test_an_order_is_kept_before_it_is_answered(door, kind):
    assert msa(exchange(door.port, hl7.order("77", kind=kind, priority="S"))) == ("AA", "77")
    (order,) = door.rows(orders)
    assert (order["accession_number"], order["placer_order_number"], order["priority"]) == (
        "XR1",
        "ORD1",
        "stat",
    )
    assert (order["patient_id"], order["patient_name"]) == ("BN0001", "Trần^Hạnh^Thị")
    assert (order["procedure"]["code_value"], order["indication"]) == ("36554-4", "Ho kéo dài")
    (kept,) = door.rows(messages)
    assert (kept["kind"], kept["answer"], kept["code"]) == (kind[:7], "AA", None)
    assert kept["content"] == hl7.order("77", kind=kind, priority="S")


@pytest.mark.parametrize("trigger", ["A08", "A31"])
def test_an_update_of_a_person_is_kept(door, trigger):
    assert msa(exchange(door.port, hl7.update(trigger=trigger)))[0] == "AA"
    (event,) = door.rows(patient_events)
    assert (event["kind"], event["patient_id"], event["applied_at"]) == ("update", "BN0001", None)


@pytest.mark.parametrize("trigger", ["A18", "A34", "A40", "A47"])
def test_a_merge_is_kept_and_moves_the_orders(door, trigger):
    exchange(door.port, hl7.order())
    assert msa(exchange(door.port, hl7.merge(trigger=trigger)))[0] == "AA"
    (event,) = door.rows(patient_events)
    assert (event["kind"], event["prior_patient_id"], event["patient_id"]) == ("merge", "BN0001", "BN0002")
    assert [order["patient_id"] for order in door.rows(orders)] == ["BN0002"]


@pytest.mark.parametrize(("charset", "page"), [("UNICODE UTF-8", "utf-8"), ("", "utf-8"), ("", "cp1258")])
def test_vietnamese_is_right_to_the_byte(door, charset, page):
    name = "Đặng^Hường^Thị Mỹ" if page == "utf-8" else "Ðô^Hân"  # what the code page has as single letters
    content = hl7.message(
        hl7.header("ADT^A08", "9", charset=charset), hl7.patient(name=name.replace("Ð", "Đ"))
    )
    content = content.decode().encode(page)
    assert msa(exchange(door.port, content)) == ("AA", "9")
    (event,) = door.rows(patient_events)
    assert event["patient_name"] == name.replace("Ð", "Đ")


def test_the_same_message_has_one_answer_and_one_effect(door):
    first, again = [said_once(door, hl7.order("5")) for _ in range(2)]
    assert first == again and msa(er7.read(first)) == ("AA", "5")
    later = hl7.order("5").replace(b"|20261120080000+0700||OMI", b"|20261120080500+0700||OMI")
    assert msa(exchange(door.port, later)) == ("AA", "5")  # sent again with a new MSH-7
    assert [row["repeated"] for row in door.rows(messages)] == [2]
    assert len(door.rows(orders)) == 1


def said_once(door, content):
    with door.call() as connection:
        return said(connection, content)


def test_a_control_id_that_begins_anew_hides_no_message(door):
    exchange(door.port, hl7.order("1", accession="XR1", placer="A"))
    exchange(door.port, hl7.order("1", accession="XR2", placer="B"))
    assert {row["accession_number"] for row in door.rows(orders)} == {"XR1", "XR2"}


def test_an_order_is_followed_through_its_messages(door):
    exchange(door.port, hl7.order("1", accession="", priority="R"))
    exchange(door.port, hl7.order("2", control="XO", priority="S", at="20261120090000+0700"))
    (order,) = door.rows(orders)
    assert (order["accession_number"], order["priority"], order["cancelled"]) == ("XR1", "stat", False)
    exchange(door.port, hl7.order("3", control="CA", at="20261120100000+0700"))
    assert [row["cancelled"] for row in door.rows(orders)] == [True]
    exchange(door.port, hl7.order("4", control="NW", at="20261120083000+0700"))  # came late
    assert [row["cancelled"] for row in door.rows(orders)] == [True]


# ------------------------------------------------------------------ what is not
@pytest.mark.parametrize(
    ("content", "answer", "code"),
    [
        (b"no message at all", ("AE", ""), "intake.message_unreadable"),
        (hl7.message(hl7.header("ADT^A08", "8")), ("AE", "8"), "intake.message_unreadable"),
        (hl7.message(hl7.header("ADT^A40", "8"), hl7.patient()), ("AE", "8"), "intake.message_unreadable"),
        (hl7.message(hl7.header("OMI^O23", ""), hl7.patient()), ("AE", ""), "intake.message_unreadable"),
        (hl7.message(hl7.header("ADT^A01", "8"), hl7.patient()), ("AR", "8"), "intake.message_unsupported"),
        (hl7.message(hl7.header("ORU^R01", "8"), hl7.patient()), ("AR", "8"), "intake.message_unsupported"),
    ],
)
def test_a_bad_message_is_refused_and_kept_aside(door, content, answer, code):
    said = exchange(door.port, content)
    assert msa(said) == answer
    assert said.first("ERR") is not None
    (kept,) = door.rows(messages)
    assert (kept["content"], kept["answer"], kept["code"]) == (content, answer[0], code)
    assert door.rows(orders) == door.rows(patient_events) == []


def test_without_a_database_the_sender_is_told_to_come_again(door):
    door.engine.dispose()
    with door.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE messages RENAME TO gone"))
    assert msa(exchange(door.port, hl7.order("6")))[0] == "AR"
    with door.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO messages"))
    assert msa(exchange(door.port, hl7.order("6"))) == ("AA", "6")
    assert len(door.rows(orders)) == 1


def test_a_message_over_the_limit_is_answered_and_not_waited_for(tmp_path):
    with a_door(tmp_path, maximum_message_bytes=2000) as door, door.call() as connection:
        connection.sendall(framed(hl7.order("7", more=["NTE|1||" + "x" * 200_000]))[:100_000])
        assert msa(er7.read(heard(connection))) == ("AE", "7")
        assert heard(connection) == b""
        assert door.rows(messages) == []


def test_a_stranger_is_not_answered(tmp_path):
    with a_door(tmp_path, senders=(OrderSender(host="10.9.9.9"),)) as door, capture_logs() as logged:
        assert said_once(door, hl7.order()) == b""
        assert door.rows(messages) == []
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["order_sender_refused"]


def test_names_of_the_sender_must_fit(tmp_path):
    senders = (OrderSender(host="127.0.0.0/8", application="RIS", facility="BV2"),)
    with a_door(tmp_path, senders=senders) as door:
        assert msa(exchange(door.port, hl7.order("4"))) == ("AE", "4")
        assert msa(exchange(door.port, hl7.order("4").replace(b"|RIS|BV|", b"|RIS|BV2|"))) == ("AA", "4")
        assert len(door.rows(messages)) == 1


# ------------------------------------------------------------------ connections
def test_messages_in_one_write_are_answered_in_order(door):
    with door.call() as connection:
        connection.sendall(b"\r\n".join(framed(hl7.update(str(number))) for number in range(5)))
        assert [msa(er7.read(heard(connection)))[1] for _ in range(5)] == list("01234")


def test_a_slow_peer_holds_nobody_up(tmp_path):
    with a_door(tmp_path, message_seconds=3) as door, door.call() as slow:
        slow.sendall(b"\x0bMSH|")
        assert msa(exchange(door.port, hl7.order()))[0] == "AA"
        assert heard(slow) == b""  # hung up on after its time


def test_connections_over_the_limit_are_closed(tmp_path):
    with a_door(tmp_path, maximum_connections=2) as door, ExitStack() as held:
        talking = [held.enter_context(door.call()) for _ in range(2)]
        for number, connection in enumerate(talking):
            assert msa(er7.read(said(connection, hl7.update(str(number)))))[0] == "AA"
        with door.call() as third:
            third.settimeout(60)
            assert third.recv(1) == b""
        assert msa(er7.read(said(talking[0], hl7.update("9"))))[0] == "AA"


def test_fifty_senders_at_once(door):
    said: list[tuple[str, str]] = []

    def send(number):
        said.append(
            msa(exchange(door.port, hl7.order(str(number), placer=f"P{number}", accession=f"X{number}")))
        )

    threads = [threading.Thread(target=send, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(said) == sorted(("AA", str(number)) for number in range(50))
    assert len(door.rows(orders)) == 50


def without_certificate(plain, context):
    try:
        with context.wrap_socket(plain, server_hostname="localhost") as line:
            return said(line, hl7.order())  # TLS 1.3 tells with the first answer
    except OSError:  # an SSLError is one
        return b""


def test_mutual_tls(tmp_path):
    authority = Authority(tmp_path)
    cert, key = authority.issue("door")
    tls = ServerTls(cert=cert, key=key, ca=authority.certificate)
    with a_door(tmp_path, tls=tls) as door:
        context = ssl.create_default_context(cafile=authority.certificate)
        with door.call() as plain:
            assert without_certificate(plain, context) == b""
        context.load_cert_chain(*authority.issue("ris"))
        with door.call() as plain, context.wrap_socket(plain, server_hostname="localhost") as line:
            assert msa(er7.read(said(line, hl7.order("3")))) == ("AA", "3")
        assert [row["answer"] for row in door.rows(messages)] == ["AA"]
        with door.call() as plain:  # no TLS at all
            assert said(plain, hl7.order()) == b""


# ------------------------------------------------------------------ start and privacy
def test_an_unsafe_start_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text('[orders]\nenabled = true\nhost = "0.0.0.0"\n')
    with pytest.raises(ConfigurationError, match="empty list of senders"):
        load(tmp_path / "a.toml", environment={})


def test_a_taken_port_is_told(door):
    taken = door.settings.model_copy(
        update={"orders": door.settings.orders.model_copy(update={"port": door.port})}
    )
    with pytest.raises(PortInUse, match="orders"):
        bind(taken)


def test_nothing_of_a_patient_is_logged(door):
    marked = hl7.patient("MARKER", name="MARKER^MARKER", citizen="079061001234")
    content = [
        hl7.order("MARKER", pid=marked, accession="MARKER", placer="MARKER", procedure="MARKER^MARKER"),
        hl7.update("MARKER1", pid=marked),
        hl7.message(hl7.header("MARKER^MARKER", "MARKER"), marked),
        hl7.message(hl7.header("ADT^A08", "MARKER2"), "PIX|MARKER"),
        b"MARKER" * 100,
    ]
    with capture_logs() as logged:
        for one in content:
            exchange(door.port, one)
    assert len(logged) == 5
    assert "MARKER" not in json.dumps(logged) and "079061001234" not in json.dumps(logged)


# ------------------------------------------------------------------ whatever comes
PARTS = st.sampled_from(
    [
        b"|",
        b"^",
        b"~",
        b"&",
        b"\\",
        b"\r",
        b"\n",
        b'""',
        b"\\X00\\",
        b"\\E",
        b"\x00",
        b"\xff",
        "ệ".encode(),
        b"MSH",
    ]
)


@st.composite
def mutants(draw):
    """A real message with bytes taken out, put in and changed."""
    kinds = [hl7.order(), hl7.update(), hl7.merge(), hl7.order(kind="ORM^O01")]
    content = bytearray(draw(st.sampled_from(kinds)))
    for _ in range(draw(st.integers(0, 8))):
        place = draw(st.integers(0, len(content)))
        removed = draw(st.integers(0, 12))
        content[place : place + removed] = draw(st.one_of(st.binary(max_size=8), PARTS))
    return bytes(content).replace(b"\x1c", b"").replace(b"\x0b", b"")


@pytest.fixture(scope="module")
def patient_door(tmp_path_factory):
    with a_door(tmp_path_factory.mktemp("fuzz")) as opened:
        yield opened


@given(st.one_of(st.binary(max_size=400), mutants()))
def test_whatever_comes_is_answered_truthfully(patient_door, content):
    answer = er7.read(patient_door.desk.answer(content, "127.0.0.1"))
    code = msa(answer)[0]
    assert code in ("AA", "AE", "AR")
    assert (answer.first("ERR") is None) == (code == "AA")
    again = patient_door.desk.answer(content, "127.0.0.1")
    assert msa(er7.read(again)) == msa(answer)


def test_noise_on_the_line_ends_that_connection_only(door):
    chance = random.Random(7)
    for _ in range(20):
        with door.call() as connection:
            connection.sendall(chance.randbytes(5000).replace(b"\x0b", b"") + b"\x0b" * chance.randrange(2))
    assert msa(exchange(door.port, hl7.order()))[0] == "AA"
