"""Second opinions on HL7: hl7apy's STRICT validation, and receivers that nobody of us wrote."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hoichan import codes
from hoichan.adapters.sink_mllp import MllpSink
from hoichan.encoding.hl7 import hl7_document
from hoichan.encoding.source import document_context
from hoichan.errors import Refused, Unreachable
from hoichan.intake.orders import Order, PatientMerge, read_events
from hoichan.reporting import plan
from hoichan.settings import Hl7Destination, Site
from hoichan.testing import a_film, a_finding, a_refused_report, a_report, a_study
from hoichan.testing.house import free_ports, wait_until
from hoichan.testing.reports import NATIONAL_ID, PATIENT_ID, REPORTED_AT
from hoichan.types import Document, RefusalCode, ReportStatus

hl7apy_parser = pytest.importorskip("hl7apy.parser", reason="hl7apy is not installed: make .venv/.peers")
hl7 = pytest.importorskip("hl7", reason="python-hl7 is not installed: make .venv/.peers")

from hl7.mllp import start_hl7_server  # noqa: E402
from hl7apy.consts import VALIDATION_LEVEL  # noqa: E402
from hl7apy.core import Message  # noqa: E402
from hl7apy.exceptions import HL7apyException  # noqa: E402
from hl7apy.mllp import AbstractErrorHandler, AbstractHandler, MLLPServer  # noqa: E402
from hl7apy.validation import Validator  # noqa: E402

pytestmark = pytest.mark.peers

# Codes younger than hl7apy's copy of the tables; all are in the tables of today (0396, 0203, 0125).
KNOWN_WARNINGS = ("Value ISO639 not", "Value NNVNM not", "Value CWE not", "Value SCT not", "Value UCUM not",
                  "Value HD not", "Value RADLEX not")  # fmt: skip
NODE_MODULES = Path(os.environ.get("HOICHAN_MLLP_NODE", "node_modules"))
SITE = Site(name="BV Kiểm Thử", facility_code="79001")
FILM = a_film()
STUDY = a_study(FILM)
REPORT = a_report(STUDY)
EVERYTHING = a_report(STUDY, findings=[a_finding(STUDY, key, 0.9) for key in codes.FINDINGS])
NOTHING = a_report(STUDY, findings=[a_finding(STUDY, key, 0.1) for key in codes.FINDINGS])


def destination(port: int = 2575, **changes) -> Hl7Destination:
    return Hl7Destination(
        name="ris", kind="hl7v2", host="127.0.0.1", port=port, timeout_seconds=20, **changes
    )


def document(report=REPORT, study=STUDY, *, language="vi", **changes) -> Document:
    site = SITE.model_copy(update={"language": language})
    context = document_context(study, report, source=FILM, site=site, software_version="9.9")
    return hl7_document(context, destination(**changes))


def deliver(port: int, message: Document | None = None) -> str:
    message = message or document()
    (delivery,) = plan(REPORT, STUDY, [destination(port)], [message], REPORTED_AT)
    return MllpSink(destination(port)).deliver(delivery, [message])


# ------------------------------------------------------------------ what we write
@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize(
    "report",
    [REPORT, EVERYTHING, NOTHING, *(replace(REPORT, status=status) for status in ReportStatus)]
    + [a_refused_report(STUDY, code) for code in (RefusalCode.WRONG_BODY_PART, RefusalCode.NO_MODEL)],
    ids=lambda report: f"{report.outcome}-{report.status}-{len(report.positives)}",
)
@pytest.mark.parametrize(
    "changes",
    [{}, {"charset": "ascii", "unread_status": "P", "version": "2.5"},
     {"viewer_url": "https://pacs.example.vn/viewer?StudyInstanceUIDs={study_instance_uid}&a=b"}],
)  # fmt: skip
def test_the_strict_validator_finds_nothing(report, changes, language, tmp_path):
    text = document(report, language=language, **changes).content.decode("utf-8")
    parsed = hl7apy_parser.parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert Validator.validate(parsed, report_file=str(tmp_path / "report"))
    told = (tmp_path / "report").read_text(encoding="utf-8").splitlines()
    assert [
        line for line in told if not line.startswith(tuple(f"Warning: {one}" for one in KNOWN_WARNINGS))
    ] == []


def test_a_study_without_accession_number_or_name_is_valid_too():
    study = replace(a_study(FILM, patient_name=""), accession_number=None)
    text = document(study=study).content.decode("utf-8")
    parsed = hl7apy_parser.parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert Validator.validate(parsed)


def test_another_reader_reads_the_same():
    read = hl7.parse(document().content, encoding="utf-8")
    assert str(read["MSH.F10"]) == document().uid
    assert str(read["PID.F3.R1.C1"]), str(read["PID.F3.R2.C1"]) == (PATIENT_ID, NATIONAL_ID)
    assert str(read["PID.F5.R1.C1"]) == "Nguyễn"
    assert str(read.segments("OBX")[0][5]) == codes.BANNER["vi"]
    assert str(read["OBR.F18"]) == STUDY.accession_number


# ------------------------------------------------------------------ what we read
def test_an_order_that_another_library_wrote_is_read():
    order = Message("OMI_O23", version="2.5.1")
    order.msh.msh_9 = "OMI^O23^OMI_O23"
    order.msh.msh_7 = "20261120070000+0700"
    order.add_segment("PID")
    order.pid.pid_3, order.pid.pid_5 = "7^^^BV^MR", "Nguyễn^An^Văn"
    group = order.add_group("OMI_O23_ORDER")
    group.add_segment("ORC")
    group.orc.orc_1 = "NW"
    group.add_segment("OBR")
    group.obr.obr_4 = "1^X-quang ngực thẳng^L"
    group.add_segment("IPC")
    group.ipc.ipc_1, group.ipc.ipc_3, group.ipc.ipc_5 = "XR1", "1.2.3", "CR"
    (read,) = read_events(order.to_er7().encode(), zone=SITE.zone)
    assert isinstance(read, Order)
    assert (read.accession_number, read.study_instance_uid, read.modality) == ("XR1", "1.2.3", "CR")
    assert (read.region, read.patient.patient_name.reveal()) == ("CHEST", "Nguyễn^An^Văn")


def test_a_merge_that_another_library_wrote_is_read():
    merge = Message("ADT_A39", version="2.5.1")
    merge.msh.msh_9 = "ADT^A40^ADT_A39"
    group = merge.add_group("ADT_A39_PATIENT")
    group.add_segment("PID")
    group.pid.pid_3 = "7^^^BV^MR"
    group.add_segment("MRG")
    group.mrg.mrg_1 = "6^^^BV^MR"
    (read,) = read_events(merge.to_er7().encode(), zone=SITE.zone)
    assert isinstance(read, PatientMerge)
    assert (read.prior_patient_id.reveal(), read.surviving.patient_id.reveal()) == ("6", "7")


# ------------------------------------------------------------------ receivers
class StrictReceiver(AbstractHandler):
    """Answers AA when hl7apy finds the message valid, else AE with its reason."""

    def reply(self) -> str:
        control_id = self.incoming_message.split("\r")[0].split("|")[9]
        try:
            parsed = hl7apy_parser.parse_message(
                self.incoming_message, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True
            )
            Validator.validate(parsed)
        except HL7apyException as error:
            return _acknowledge("AE", control_id, str(error))
        return _acknowledge("AA", control_id)


class LostReceiver(AbstractErrorHandler):
    """Answers AR to what it has no handler for."""

    def reply(self) -> str:
        return _acknowledge("AR", self.incoming_message.split("\r")[0].split("|")[9])


def _acknowledge(code: str, control_id: str, text: str = "") -> str:
    answer = Message("ACK", version="2.5.1")
    answer.msh.msh_9 = "ACK^R01^ACK"
    answer.msa.msa_1, answer.msa.msa_2 = code, control_id
    if text:
        answer.msa.msa_3 = text[:80]
    return str(answer.to_mllp())


@contextmanager
def hl7apy_server(handlers) -> Iterator[int]:
    server = MLLPServer("127.0.0.1", 0, handlers)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


def test_hl7apy_takes_a_report_and_refuses_a_spoiled_one():
    spoiled = document()
    spoiled = replace(
        spoiled, content=spoiled.content.replace(b"OBX|2|TX|", b"OBX|2|TX|A^B^C^D^E^F^G^H^I^MARKER")
    )
    with hl7apy_server({"ORU^R01^ORU_R01": (StrictReceiver,), "ERR": (LostReceiver,)}) as port:
        assert deliver(port) == "AA"
        with pytest.raises(Refused) as caught:
            deliver(port, spoiled)
    assert caught.value.status == "AE"


def test_hl7apy_without_a_handler_is_tried_again():
    with hl7apy_server({"ERR": (LostReceiver,)}) as port, pytest.raises(Unreachable, match="AR"):
        deliver(port)


def test_python_hl7_takes_a_report():
    taken: list[str] = []

    async def talk() -> str:
        async def handle(reader, writer) -> None:
            message = await reader.readmessage()
            taken.append(str(message["PID.F5.R1.C3"]))
            writer.writemessage(message.create_ack())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await start_hl7_server(handle, host="127.0.0.1", port=0, encoding="utf-8") as server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(deliver, port)

    assert asyncio.run(talk()) == "AA"
    assert taken == ["Ổn"]


SIMPLE = """
const app = require('simple-hl7').tcp();
app.use((req, res, next) => { console.log(req.msg.getSegment('PID').getComponent(5, 1)); next(); });
app.use((req, res, next) => { res.end(); });
app.start(+process.env.PORT); console.log('listening');
"""
NODE = """
import { Server } from 'node-hl7-server';
const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port: +process.env.PORT },
  async (req, res) => {
    console.log(req.getMessage().get('PID.5.1').toString());
    await res.sendResponse('AA');
  });
inbound.on('listen', () => console.log('listening'));
"""


@pytest.mark.parametrize(
    ("package", "program", "file"), [("simple-hl7", SIMPLE, "a.cjs"), ("node-hl7-server", NODE, "a.mjs")]
)
def test_a_receiver_on_node_takes_a_report(package, program, file, tmp_path):
    if shutil.which("node") is None or not (NODE_MODULES / package).is_dir():
        pytest.skip(f"{package} is not installed: npm i {package}, and name the folder in HOICHAN_MLLP_NODE")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / file).write_text(program)
    (port,) = free_ports(1)
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["node", file], cwd=tmp_path, stdout=stream, stderr=stream, env={**os.environ, "PORT": str(port)}
        )
    try:
        wait_until(
            lambda: "listening" in log.read_text() or process.poll() is not None,
            seconds=30,
            what="the receiver",
        )
        assert process.poll() is None, log.read_text()
        assert deliver(port) == "AA"
        assert deliver(port) == "AA"  # the same message again
        assert log.read_text(encoding="utf-8").count("Nguyễn") == 2
    finally:
        process.terminate()
        process.wait(20)
