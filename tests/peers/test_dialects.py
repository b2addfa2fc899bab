"""Cells of the dialect matrix that no other file has: see docs/conformance.md, section 6.

Vietnamese text has to come back from every partner as the same bytes, whatever way it went.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, build_role, evt

from hoichan.adapters.associations import associate
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.encoding.retraction import BY_A_READER, withdraw
from hoichan.reporting import plan
from hoichan.reporting.signed import signed_report
from hoichan.settings import DicomDestination, FhirDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_refused_report, a_report, a_study, as_bytes
from hoichan.testing.house import free_ports, wait_until
from hoichan.testing.reports import PATIENT_ID, PATIENT_NAME, REPORTED_AT
from hoichan.testing.reviews import SIGNED_AT, a_review
from hoichan.types import DocumentKind
from tests.peers import emr as emr_module
from tests.peers import orthanc as orthanc_module
from tests.peers.test_documents import run, tool
from tests.peers.test_hl7 import (
    NODE_MODULES,
    deliver,
    document,
    hl7apy_server,
)

pytestmark = pytest.mark.peers
NUMBERS = "https://hoichan.invalid/id/patient"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
DESTINATIONS = [
    {
        "name": "pacs",
        "kind": "dicom",
        "host": "127.0.0.1",
        "port": 104,
        "ae_title": "PACS",
        "send": ["sr", "sc", "gsps", "pdf"],
        "wait_for_images_seconds": 0,
        "sr_class": "comprehensive_3d",
    },
    {"name": "imr", "kind": "fhir", "url": "http://127.0.0.1/fhir", "content": "imr"},
    {"name": "emr", "kind": "fhir", "url": "http://127.0.0.1/fhir"},
]


class Made:
    """One study in each state of its report."""

    def __init__(self, folder):
        film = a_film("dialects")
        (folder / "film.dcm").write_bytes(as_bytes(film))
        self.study = a_study(film)
        self.report = a_report(self.study)
        self.review = a_review(self.report, self.study)
        self.signed = signed_report(self.report, self.review, self.study, time="08:32 20/11/2026")
        encoder = DocumentEncoder(
            FolderOfFilms(folder), Settings.model_validate({"destinations": DESTINATIONS})
        )
        self.of = {
            "machine": encoder.encode(self.study, self.report),
            "not_analysed": encoder.encode(self.study, a_refused_report(self.study)),
            "signed": encoder.encode(self.study, self.signed),
        }
        self.of["withdrawn"] = withdraw(self.of["signed"], language="vi", now=SIGNED_AT, words=BY_A_READER)

    def one(self, state, kind):
        (found,) = [one for one in self.of[state] if one.kind is kind]
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("dialects"))


# ------------------------------------------------------------------ FHIR: three validators
BUNDLES = [
    ("machine", DocumentKind.FHIR),
    ("not_analysed", DocumentKind.FHIR),
    ("signed", DocumentKind.FHIR),
    ("signed", DocumentKind.IMR),
]
# Its lists end at the first "+" of the specification: "amended +", "accepted +". R4 also has cancelled
# (observation-status) and completed (task-status).
PYFHIRCHECK_KNOWN = (
    r"terminology\.required (Observation\.status: Code 'cancelled'|Task\.status: Code 'completed')"
    r" is not in required ValueSet"
)
NPM = """
const { Fhir } = require('fhir'); const fs = require('fs');
const bundle = JSON.parse(fs.readFileSync(process.argv[2])); const fhir = new Fhir(); let told = 0;
for (const one of [bundle, ...bundle.entry.map((entry) => entry.resource)])
  for (const line of fhir.validate(one, { errorOnUnexpected: true }).messages)
    if (['error', 'fatal'].includes(line.severity)) {
      told++; console.log(one.resourceType, line.location, line.message);
    }
process.exit(told ? 1 : 0);
"""


@pytest.fixture
def bundle(made, tmp_path, request):
    file = tmp_path / "bundle.json"
    file.write_bytes(made.one(*request.param).content)
    return file


@pytest.mark.parametrize("bundle", BUNDLES, indirect=True, ids="-".join)
def test_the_fhir_validator_of_npm_finds_no_error(bundle, tmp_path):
    if shutil.which("node") is None or not (NODE_MODULES / "fhir").is_dir():
        pytest.skip("fhir is not installed: make .node/.fhir, and name the folder in HOICHAN_MLLP_NODE")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "validate.cjs").write_text(NPM)
    code, output = run("node", tmp_path / "validate.cjs", bundle, folder=tmp_path)
    assert code == 0, output[-3000:]


@pytest.mark.parametrize(
    ("name", "package", "verb"),
    [("pyfhircheck", "PyPI pyfhircheck", "bundle"), ("fhirkit", "PyPI fhirkit-rs", "validate")],
)
@pytest.mark.parametrize("bundle", BUNDLES[2:], indirect=True, ids="-".join)
def test_fhir_checkers_take_what_is_signed(bundle, tmp_path, name, package, verb):
    code, output = run(tool(name, package), verb, bundle, folder=tmp_path)
    told = [line for line in output.splitlines() if line.strip().startswith("- ERROR")]
    unknown = [line for line in told if not re.search(PYFHIRCHECK_KNOWN, line)]
    assert not unknown and (code == 0 or told), output[-3000:]


# ------------------------------------------------------------------ HL7: a typed reader
def test_a_typed_reader_takes_every_message():
    hl7types = pytest.importorskip("hl7types", reason="hl7types is not installed: make .venv/.peers")
    for changes in ({}, {"charset": "ascii"}, {"version": "2.5"}):
        content = document(**changes).content
        read = hl7types.decode_er7(content.decode("utf-8"))
        assert type(read).__name__ == "ORU_R01"
        again = hl7types.encode_er7(read).replace("\\S\\", "^")  # it takes OBX-5 for one text
        texts = [
            line.split("|")[5] for line in content.decode("utf-8").split("\r") if line.startswith("OBX|")
        ]
        for text in texts:
            assert text in again


# ------------------------------------------------------------------ the same bytes come back: PACS
@pytest.fixture(scope="module")
def pacs(made, tmp_path_factory):
    if not orthanc_module.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    with orthanc_module.Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        to = DicomDestination(**{**DESTINATIONS[0], "port": server.port})
        for state, report in (("machine", made.report), ("signed", made.signed)):
            (delivery,) = plan(report, made.study, [to], made.of[state], REPORTED_AT)
            DimseSink(to, "HOICHAN").deliver(delivery, made.of[state])
        yield server


def sent(made):
    """Every object that went there, by its UID."""
    kinds = {DocumentKind.SR, DocumentKind.SC, DocumentKind.GSPS, DocumentKind.PDF}
    return {
        one.uid: dcmread(BytesIO(one.content))
        for state in ("machine", "signed")
        for one in made.of[state]
        if one.kind in kinds
    }


def texts(data_set):
    """Every text of an object, with its place, as bytes."""
    found = []

    def look(place, item):
        for element in item:
            where = (*place, int(element.tag))
            if element.VR == "SQ":
                for number, child in enumerate(element.value):
                    look((*where, number), child)
            elif element.VR in ("PN", "LO", "SH", "LT", "ST", "UT", "UC"):
                found.append((where, str(element.value).encode("utf-8")))

    look((), data_set)
    return found


def get(server, made):
    """The study by C-GET."""
    found = {}

    def keep(event):
        data_set = event.dataset
        data_set.file_meta = event.file_meta
        found[str(data_set.SOPInstanceUID)] = data_set
        return 0x0000

    classes = sorted({str(one.SOPClassUID) for one in sent(made).values()})
    entity = AE(ae_title="HOICHAN")
    entity.add_requested_context(GET)
    for one in classes:
        entity.add_requested_context(one, "1.2.840.10008.1.2.1")
    association = associate(
        entity,
        "127.0.0.1",
        server.port,
        ae_title="PACS",
        ext_neg=[build_role(one, scp_role=True) for one in classes],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    assert association.is_established
    question = Dataset()
    question.QueryRetrieveLevel, question.StudyInstanceUID = "STUDY", made.study.study_instance_uid
    statuses = [int(answer.Status) for answer, _ in association.send_c_get(question, GET)]
    association.release()
    assert statuses[-1] == 0x0000
    return found


def wado(server, made):
    """The study by WADO-RS."""
    web = pytest.importorskip("dicomweb_client.api")
    client = web.DICOMwebClient(f"http://127.0.0.1:{server.http_port}/dicom-web")
    kinds = (("application/dicom", "*"),)
    return {
        str(one.SOPInstanceUID): one
        for one in client.retrieve_study(made.study.study_instance_uid, media_types=kinds)
    }


@pytest.mark.parametrize("way", [get, wado])
def test_every_text_comes_back_from_the_pacs_as_the_same_bytes(pacs, made, way):
    there, ours = way(pacs, made), sent(made)
    assert there.keys() == ours.keys()
    for uid, was in ours.items():
        assert texts(there[uid]) == texts(was)
        assert there[uid].SpecificCharacterSet == "ISO_IR 192"
        assert str(there[uid].PatientName) == PATIENT_NAME
    pdf = {uid: one for uid, one in ours.items() if "EncapsulatedDocument" in one}
    assert pdf
    for uid, was in pdf.items():
        assert there[uid].EncapsulatedDocument == was.EncapsulatedDocument


# ------------------------------------------------------------------ EMR
def test_every_text_comes_back_from_the_emr(made, tmp_path):
    if not emr_module.is_available():
        pytest.skip("sekmet-fhir is not installed: make .venv-emr/.emr")
    with emr_module.Emr(tmp_path) as emr:
        emr.create_patient(NUMBERS, PATIENT_ID)
        for state, content, report in (
            ("machine", "full", made.report),
            ("signed", "full", made.signed),
            ("signed", "imr", made.signed),
        ):
            to = FhirDestination(name="emr", kind="fhir", url=emr.url, content=content)
            (delivery,) = plan(report, made.study, [to], made.of[state], REPORTED_AT)
            for _ in range(2):  # twice is once
                assert FhirSink(to).deliver(delivery, made.of[state]) == "200"
            kind = DocumentKind.IMR if content == "imr" else DocumentKind.FHIR
            ours = json.loads(made.one(state, kind).content)
            for entry in ours["entry"]:
                compare(emr, entry["resource"])
        assert len(emr.search("DiagnosticReport")) == 2  # ours, and that for IMR


WORDS = ("conclusion", "valueCodeableConcept", "note", "code", "bodySite", "method", "presentedForm")


def compare(emr, was):
    """What the EMR gives back of one resource says the same, letter by letter."""
    if was["resourceType"] in ("Provenance", "Device", "ImagingStudy", "Media"):
        return
    identifier = was["identifier"][0]
    (held,) = emr.search(was["resourceType"], identifier=f"{identifier['system']}|{identifier['value']}")
    for name in WORDS:
        if name in was:
            mine, theirs = (
                json.dumps(one.get(name), ensure_ascii=False, sort_keys=True) for one in (was, held)
            )
            assert theirs.encode("utf-8") == mine.encode("utf-8"), name


# ------------------------------------------------------------------ HL7 receivers: an echo
def words_of(content):
    """The message as text, field by field; a receiver may end its segments as it likes."""
    return [line.split("|") for line in content.replace("\n", "\r").split("\r") if line]


def test_python_hl7_gives_every_word_back():
    hl7 = pytest.importorskip("hl7")
    from hl7.mllp import start_hl7_server

    heard = []

    async def talk():
        async def handle(reader, writer):
            message = await reader.readmessage()
            heard.append(str(message))
            writer.writemessage(message.create_ack())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await start_hl7_server(handle, host="127.0.0.1", port=0, encoding="utf-8") as server:
            return await asyncio.to_thread(deliver, server.sockets[0].getsockname()[1])

    assert hl7 is not None and asyncio.run(talk()) == "AA"
    assert words_of(heard[0]) == words_of(document().content.decode("utf-8"))


def test_hl7apy_gives_every_word_back():
    from tests.peers.test_hl7 import LostReceiver, StrictReceiver

    heard = []

    class Echo(StrictReceiver):
        def reply(self):
            heard.append(self.incoming_message)
            return super().reply()

    with hl7apy_server({"ORU^R01^ORU_R01": (Echo,), "ERR": (LostReceiver,)}) as port:
        assert deliver(port) == "AA"
    assert words_of(heard[0]) == words_of(document().content.decode("utf-8"))


SIMPLE = """
const app = require('simple-hl7').tcp();
const heard = (req) => Buffer.from(req.msg.toString()).toString('base64');
app.use((req, res, next) => { console.log('HEARD ' + heard(req)); next(); });
app.use((req, res, next) => { res.end(); });
app.start(+process.env.PORT); console.log('listening');
"""
NODE = """
import { Server } from 'node-hl7-server';
const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port: +process.env.PORT },
  async (req, res) => {
    console.log('HEARD ' + Buffer.from(req.getMessage().toString()).toString('base64'));
    await res.sendResponse('AA');
  });
inbound.on('listen', () => console.log('listening'));
"""


@pytest.mark.parametrize(
    ("package", "program", "file"), [("simple-hl7", SIMPLE, "a.cjs"), ("node-hl7-server", NODE, "a.mjs")]
)
def test_a_receiver_on_node_gives_every_word_back(package, program, file, tmp_path):
    if shutil.which("node") is None or not (NODE_MODULES / package).is_dir():
        pytest.skip(f"{package} is not installed: make .node/.mllp")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / file).write_text(program)
    (port,) = free_ports(1)
    log = Path(tmp_path / "log")
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["node", file], cwd=tmp_path, stdout=stream, stderr=stream, env={**os.environ, "PORT": str(port)}
        )
    try:
        wait_until(
            lambda: "listening" in log.read_text() or process.poll() is not None,
            seconds=60,
            what="the receiver",
        )
        assert process.poll() is None, log.read_text()
        assert deliver(port) == "AA"
        wait_until(lambda: "HEARD " in log.read_text(), seconds=60, what="what was heard")
    finally:
        process.terminate()
        process.wait(60)
    (line,) = [one for one in log.read_text().splitlines() if one.startswith("HEARD ")]
    heard = base64.b64decode(line.removeprefix("HEARD ")).decode("utf-8")
    ours = document().content.decode("utf-8")
    assert [one[5] for one in words_of(heard) if one[0] == "OBX"] == [
        one[5] for one in words_of(ours) if one[0] == "OBX"
    ]
    assert [one[5] for one in words_of(heard) if one[0] == "PID"] == [
        one[5] for one in words_of(ours) if one[0] == "PID"
    ]
