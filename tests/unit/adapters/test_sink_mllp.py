"""Every answer a receiver can give, over a real socket, and what becomes of the delivery."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
import struct
import subprocess
import time
from dataclasses import replace

import pytest

from hoichan.adapters.sink_mllp import MOST_ANSWER_BYTES, VERDICTS, MllpSink, Verdict
from hoichan.encoding.hl7 import hl7_document
from hoichan.encoding.source import document_context
from hoichan.errors import Refused, Unreachable
from hoichan.privacy import Phi
from hoichan.reporting import plan
from hoichan.settings import ClientTls, Hl7Destination, Site
from hoichan.testing import a_report, a_study
from hoichan.testing.mllp import Receiver, acknowledgement, answering, framed, taking
from hoichan.testing.reports import REPORTED_AT
from hoichan.types import Document, DocumentKind

STUDY = a_study()
REPORT = a_report(STUDY)


async def silent(frame: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def closing(frame: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def resetting(frame: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def trickling(frame: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:  # until the sender hangs up
        writer.write(b"MSA|AA|")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flooding(frame: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\x0b" + b"x" * 65536)
        await writer.drain()


def destination(port: int, timeout_seconds: float = 20) -> Hl7Destination:
    return Hl7Destination(
        name="ris", kind="hl7v2", host="127.0.0.1", port=port, timeout_seconds=timeout_seconds
    )


def document(study=STUDY) -> Document:
    context = document_context(study, REPORT, source=None, site=Site(), software_version="9.9")
    return hl7_document(context, destination(1))


def deliver(
    port: int,
    *,
    timeout_seconds: float = 20,
    message: Document | None = None,
    tls: ClientTls | None = None,
    before: str | None = None,
) -> str:
    message = message or document()
    receiver = destination(port, timeout_seconds).model_copy(update={"tls": tls})
    (delivery,) = plan(REPORT, STUDY, [receiver], [message], REPORTED_AT)
    return MllpSink(receiver).deliver(replace(delivery, acknowledgement=before), [message])


def test_what_was_written_for_a_receiver_of_another_kind_is_refused():
    receiver, message = destination(1), document()
    (delivery,) = plan(REPORT, STUDY, [receiver], [message], REPORTED_AT)
    with pytest.raises(Refused, match="of this kind"):
        MllpSink(receiver).deliver(delivery, [replace(message, kind=DocumentKind.FHIR)])


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_what_is_taken_is_done(code):
    with Receiver(answering(lambda control_id: framed(acknowledgement(code, control_id)))) as receiver:
        assert deliver(receiver.port) == code
    assert receiver.frames == [framed(document().content)]


@pytest.mark.parametrize("code", ["AE", "CE"])
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ((), ""),
        (("ERR||PID^1^3|204^Unknown key MARKER^HL70357|E|||MARKER",), " (204)"),
        (("ERR|PID^1^5^103&Table MARKER&HL70357",), " (103)"),
        (("ERR||MARKER|MARKER", "ERR|||101", "ERR|||101"), " (101)"),
    ],
)
def test_what_is_wrong_is_refused_with_its_code_and_no_text(code, more, status):
    reply = answering(lambda control_id: framed(acknowledgement(code, f"{control_id}|MARKER", *more)))
    with Receiver(reply) as receiver, pytest.raises(Refused) as caught:
        deliver(receiver.port)
    assert caught.value.status == code + status


@pytest.mark.parametrize("code", ["AE", "CE"])
@pytest.mark.parametrize("error", ["206", "207"])
def test_what_may_pass_is_tried_once_more(code, error):
    reply = answering(lambda control_id: framed(acknowledgement(code, control_id, f"ERR|||{error}^MARKER")))
    with Receiver(reply) as receiver:
        with pytest.raises(Unreachable) as caught:
            deliver(receiver.port)
        said = caught.value.detail
        assert said == f"{code} ({error})"
        with pytest.raises(Refused, match=error):
            deliver(receiver.port, before=said)
        with pytest.raises(Unreachable):  # what came before was no answer: it has its one more try
            deliver(receiver.port, before="no answer in time")
    assert len(set(receiver.frames)) == 1  # the same bytes, the same MSH-10


def test_a_fault_of_the_content_beside_one_that_may_pass_is_final():
    reply = answering(lambda control_id: framed(acknowledgement("AE", control_id, "ERR|||207", "ERR|||101")))
    with Receiver(reply) as receiver, pytest.raises(Refused):
        deliver(receiver.port)


@pytest.mark.parametrize("code", ["AR", "CR"])
def test_what_is_rejected_is_tried_again(code):
    reply = answering(lambda control_id: framed(acknowledgement(code, control_id, "ERR|||206^MARKER")))
    with Receiver(reply) as receiver, pytest.raises(Unreachable) as caught:
        deliver(receiver.port)
    assert caught.value.detail == f"{code} (206)"


def test_every_code_of_the_table_has_a_verdict():
    assert {code for code, verdict in VERDICTS.items() if verdict is Verdict.TAKEN} == {"AA", "CA"}
    assert {code for code, verdict in VERDICTS.items() if verdict is Verdict.WRONG} == {"AE", "CE"}
    assert {code for code, verdict in VERDICTS.items() if verdict is Verdict.LATER} == {"AR", "CR"}


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (lambda control_id: framed(acknowledgement("AA", "SOMEBODY ELSE")), "to another message"),
        (lambda control_id: framed(acknowledgement("AA", "")), "to another message"),
        (lambda control_id: framed(acknowledgement("AE", control_id[:-1])), "to another message"),
        (lambda control_id: framed(acknowledgement("OK", control_id)), "not an acknowledgement"),
        (lambda control_id: framed(b"MSH|^~\\&|RIS\r"), "not an acknowledgement"),
        (lambda control_id: framed(b""), "not HL7"),
        (lambda control_id: framed(b"\xff\xfe\x00MARKER"), "not HL7"),
        (lambda control_id: framed(b"HTTP/1.1 200 OK MARKER"), "not HL7"),
    ],
)
def test_another_answer_leaves_the_outcome_open(reply, detail):
    with Receiver(answering(reply)) as receiver, pytest.raises(Unreachable) as caught:
        deliver(receiver.port)
    assert detail in caught.value.detail and "MARKER" not in str(caught.value)


@pytest.mark.parametrize(
    "around", [(b"", b""), (b"noise\r\n", b""), (b"", b"\x0bMSH|next"), (b"\r", b"\r\r")]
)
def test_the_frame_is_found_among_noise(around):
    before, after = around
    reply = answering(lambda control_id: before + framed(acknowledgement("AA", control_id)) + after)
    with Receiver(reply) as receiver:
        assert deliver(receiver.port) == "AA"


def test_an_end_without_its_carriage_return_is_taken():
    reply = answering(lambda control_id: b"\x0b" + acknowledgement("AA", control_id) + b"\x1c")
    with Receiver(reply) as receiver:
        assert deliver(receiver.port) == "AA"


@pytest.mark.parametrize(
    ("behaviour", "detail"),
    [(closing, "closed without an answer"), (resetting, "connection_reset"), (flooding, "never ends")],
)
def test_a_broken_answer_is_tried_again(behaviour, detail):
    with Receiver(behaviour) as receiver, pytest.raises(Unreachable) as caught:
        deliver(receiver.port)
    assert detail in caught.value.detail


@pytest.mark.parametrize("behaviour", [silent, trickling])
def test_the_time_limit_holds_even_against_a_talker(behaviour):
    started = time.monotonic()
    with Receiver(behaviour) as receiver, pytest.raises(Unreachable, match="no answer in time"):
        deliver(receiver.port, timeout_seconds=0.5)
    assert 0.5 <= time.monotonic() - started < 60


def test_nobody_there_is_tried_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers there
        with pytest.raises(Unreachable, match="connection_refused"):
            deliver(taken.getsockname()[1])


def test_a_host_name_that_cannot_be_is_unreachable():
    wrong = destination(1).model_copy(update={"host": "a" * 70 + ".invalid"})
    (delivery,) = plan(REPORT, STUDY, [wrong], [document()], REPORTED_AT)
    with pytest.raises(Unreachable):
        MllpSink(wrong).deliver(delivery, [document()])


def test_after_no_answer_the_same_bytes_are_sent_again():
    replies = iter([closing, answering(lambda control_id: framed(acknowledgement("AA", control_id)))])

    async def second_time_lucky(frame, reader, writer):
        await next(replies)(frame, reader, writer)

    with Receiver(second_time_lucky) as receiver:
        with pytest.raises(Unreachable):
            deliver(receiver.port)
        assert deliver(receiver.port) == "AA"
    first, second = receiver.frames
    assert first == second


def test_a_report_without_a_patient_is_not_sent():
    nobody = a_study(patient_id="", patient_name="MARKER")
    nobody = type(nobody)(
        **{name: getattr(nobody, name) for name in nobody.__slots__}
        | {"patient": type(nobody.patient)(
            patient_id=Phi(""), issuer_of_patient_id=None, national_id=None, patient_name=Phi("MARKER"),
            patient_birth_date=None, patient_sex=None,
        )}
    )  # fmt: skip
    with Receiver(silent) as receiver, pytest.raises(Refused, match="no patient identifier"):
        deliver(receiver.port, message=document(nobody))
    assert receiver.frames == []


def test_nothing_of_the_patient_is_logged(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    marked = a_study(patient_name="MARKER^MARKER", patient_id="MARKER")
    reply = answering(lambda control_id: framed(acknowledgement("AE", control_id, "ERR|||MARKER|E|||MARKER")))
    with Receiver(reply) as receiver, pytest.raises(Refused) as caught:
        deliver(receiver.port, message=document(marked))
    assert b"MARKER" in receiver.frames[0]
    out, err = capfd.readouterr()
    for text in (str(caught.value), repr(caught.value), out, err, caplog.text):
        assert "MARKER" not in text


def test_the_longest_answer_is_far_beyond_an_acknowledgement():
    assert len(acknowledgement("AE", "9" * 20, "ERR|||" + "x" * 1000)) < MOST_ANSWER_BYTES


# ------------------------------------------------------------------ TLS
def openssl(folder, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """A private CA; certificates of a receiver, of one elsewhere, and of ours; and one that nobody signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("papers")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "rogue"):
        openssl(folder, "req", "-x509", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.crt", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
    for name, place in (("receiver", "IP:127.0.0.1"), ("elsewhere", "DNS:ris.invalid"), ("ours", "DNS:ai")):
        openssl(folder, "req", *curve[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")  # fmt: skip
        (folder / "extensions").write_text(f"subjectAltName={place}\n")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-days", "2", "-CAcreateserial", "-extfile", "extensions", "-out", f"{name}.crt")  # fmt: skip
    return folder


def receiver_tls(papers, name: str = "receiver", *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers / f"{name}.crt", papers / f"{name}.key")
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(papers / "ca.crt")
    return context


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_with_known_papers_is_taken(papers, mutual):
    ours = ClientTls(ca=papers / "ca.crt", cert=papers / "ours.crt", key=papers / "ours.key")
    with Receiver(answering(taking), receiver_tls(papers, mutual=mutual)) as receiver:
        assert deliver(receiver.port, tls=ours) == "AA"
    assert receiver.frames == [framed(document().content)]


@pytest.mark.parametrize("name", ["rogue", "elsewhere"])
def test_nothing_is_sent_to_a_receiver_with_other_papers(papers, name):
    theirs = receiver_tls(papers, name)
    verdict = pytest.raises(Unreachable, match="certificate")
    with Receiver(answering(taking), theirs) as receiver, verdict:
        deliver(receiver.port, tls=ClientTls(ca=papers / "ca.crt"))
    assert receiver.frames == []


def test_a_receiver_that_asks_for_our_papers_and_gets_none_takes_nothing(papers):
    theirs = receiver_tls(papers, mutual=True)
    with Receiver(answering(taking), theirs) as receiver, pytest.raises(Unreachable):
        deliver(receiver.port, tls=ClientTls(ca=papers / "ca.crt"))
    assert receiver.frames == []


def test_a_plain_receiver_is_not_spoken_to_when_tls_is_asked_for(papers):
    with Receiver(answering(taking)) as receiver, pytest.raises(Unreachable):
        deliver(receiver.port, tls=ClientTls(ca=papers / "ca.crt"), timeout_seconds=1)
    assert not any(frame.startswith(b"\x0b") for frame in receiver.frames)


def test_papers_that_are_not_there_are_told(tmp_path):
    with Receiver(silent) as receiver, pytest.raises(Unreachable, match="FileNotFoundError"):
        deliver(receiver.port, tls=ClientTls(ca=tmp_path / "none.crt"))
