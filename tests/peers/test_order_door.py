"""Second opinions on the order door: senders nobody of us wrote, and messages that other libraries built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hoichan.adapters.schema_orders import messages, orders, patient_events
from hoichan.testing import hl7 as spoken
from tests.integration.test_order_door import a_door

hl7 = pytest.importorskip("hl7", reason="python-hl7 is not installed: make .venv/.peers")
hl7apy_core = pytest.importorskip("hl7apy.core", reason="hl7apy is not installed: make .venv/.peers")
hl7apy_parser = pytest.importorskip("hl7apy.parser")

from hl7.client import MLLPClient  # noqa: E402
from hl7apy.consts import VALIDATION_LEVEL  # noqa: E402
from hl7apy.validation import Validator  # noqa: E402

pytestmark = pytest.mark.peers
NODE_MODULES = Path(os.environ.get("HOICHAN_MLLP_NODE", "node_modules"))


@pytest.fixture
def door(tmp_path):
    with a_door(tmp_path) as opened:
        yield opened


def test_python_hl7_sends_and_reads_our_answer(door):
    with MLLPClient("127.0.0.1", door.port, encoding="utf-8") as client:
        for number in ("1", "2"):
            answer = hl7.parse(client.send_message(spoken.order(number)), encoding="utf-8")
            assert (str(answer["MSA.F1"]), str(answer["MSA.F2"])) == ("AA", number)
        refused = hl7.parse(
            client.send_message(spoken.message(spoken.header("ADT^A01", "3"))), encoding="utf-8"
        )
        assert (str(refused["MSA.F1"]), str(refused["ERR.F3.R1.C1"])) == ("AR", "200")
    assert [row["patient_name"] for row in door.rows(orders)] == [spoken.NAME]


def test_the_command_mllp_send_is_taken(door, tmp_path):
    command = Path(sys.executable).with_name("mllp_send")
    (tmp_path / "order.hl7").write_bytes(spoken.order("7"))
    done = subprocess.run(
        [command, "--loose", "-p", str(door.port), "-f", tmp_path / "order.hl7", "127.0.0.1"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b"MSA|AA|7" in done.stdout
    assert [row["accession_number"] for row in door.rows(orders)] == ["XR1"]


@pytest.mark.parametrize(
    "content", [spoken.order("1"), spoken.message(spoken.header("ADT^A08^ADT_A01", "1"))], ids=len
)
def test_a_validator_takes_our_answers(door, content):
    answer = door.desk.answer(content, "127.0.0.1").decode("utf-8")
    parsed = hl7apy_parser.parse_message(answer, validation_level=VALIDATION_LEVEL.TOLERANT)
    assert Validator.validate(parsed)


def test_a_merge_that_hl7apy_built_is_taken(door):
    merge = hl7apy_core.Message("ADT_A39", version="2.5.1")
    merge.msh.msh_9, merge.msh.msh_10 = "ADT^A40^ADT_A39", "55"
    group = merge.add_group("ADT_A39_PATIENT")
    group.add_segment("PID")
    group.pid.pid_3, group.pid.pid_5 = "7^^^BV^MR", "Đặng^Hường^Thị Mỹ"
    group.add_segment("MRG")
    group.mrg.mrg_1 = "6^^^BV^MR"
    assert b"MSA|AA|55" in door.desk.answer(merge.to_er7().encode(), "127.0.0.1")
    (event,) = door.rows(patient_events)
    assert (event["prior_patient_id"], event["patient_name"]) == ("6", "Đặng^Hường^Thị Mỹ")


SIMPLE = """
const hl7 = require('simple-hl7');
const client = hl7.Server.createTcpClient('127.0.0.1', +process.env.PORT);
const text = require('fs').readFileSync('order.hl7', 'utf-8');
client.send(text, (err, ack) => {
  if (err) throw err;
  console.log(ack.getSegment('MSA').getField(1), ack.getSegment('MSA').getField(2));
});
"""
NODE = """
import { Client, Message } from 'node-hl7-client';
import { readFileSync } from 'fs';
const client = new Client({ host: '127.0.0.1' });
const line = client.createConnection({ port: +process.env.PORT }, async (res) => {
  const msa = res.getMessage();
  console.log(msa.get('MSA.1').toString(), msa.get('MSA.2').toString());
  await line.close();
  client.closeAll();
});
await line.sendMessage(new Message({ text: readFileSync('order.hl7', 'utf-8') }));
"""


@pytest.mark.parametrize(
    ("package", "program", "file"), [("simple-hl7", SIMPLE, "a.cjs"), ("node-hl7-client", NODE, "a.mjs")]
)
def test_a_sender_on_node_is_taken(door, package, program, file, tmp_path):
    if shutil.which("node") is None or not (NODE_MODULES / package).is_dir():
        pytest.skip(f"{package} is not installed: npm i {package}, and name the folder in HOICHAN_MLLP_NODE")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES.absolute())
    (tmp_path / file).write_text(program)
    (tmp_path / "order.hl7").write_bytes(spoken.order("42"))
    done = subprocess.run(
        ["node", file],
        cwd=tmp_path,
        capture_output=True,
        timeout=90,
        check=False,
        env={**os.environ, "PORT": str(door.port)},
    )
    assert done.stdout.split()[:2] == [b"AA", b"42"], done.stderr[-600:]
    assert [row["answer"] for row in door.rows(messages)] == ["AA"]
    assert [row["patient_name"] for row in door.rows(orders)] == [spoken.NAME]
