"""An order and a merge by MLLP into a running house: followed to the receivers, and safe from kill -9."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from pydicom import dcmread

from hoichan import er7
from hoichan.adapters.database import open_database
from hoichan.adapters.schema_orders import orders
from hoichan.testing import a_film, hl7
from hoichan.testing.house import RunningHouse, free_ports, wait_until, write_film
from hoichan.testing.mllp import exchange, msa, said


@pytest.fixture
def port():
    return free_ports(1)[0]


@pytest.fixture
def house(tmp_path: Path, port: int):
    config = (
        f"[orders]\nenabled = true\nport = {port}\n"
        '[[orders.expectations]]\nprocedure = "36554-4"\ninstances = 1\n'
        "[assembly]\nquiet_seconds = 600\n"
    )
    environment = {"HOICHAN_ASSEMBLY__QUIET_SECONDS": "600"}  # only the order closes the study
    with RunningHouse(tmp_path, config=config, environment=environment) as running:
        yield running


def patient_of(report: Path) -> str:
    return str(dcmread(report / "sr.dcm").PatientID)


def test_an_order_closes_a_study_and_a_merge_mends_it(house, port, tmp_path):
    data_set = a_film()
    data_set.PatientID, data_set.PatientName, data_set.AccessionNumber = "BN0001", "Nguyễn^An^Văn", "XR1"
    data_set.PatientBirthDate, data_set.PatientSex = "19700131", "M"
    pid = hl7.patient("BN0001", name="Nguyễn^An^Văn", born="19700131", sex="M")
    assert msa(exchange(port, hl7.order("1", pid=pid, priority="S"))) == ("AA", "1")
    house.send(write_film(data_set, tmp_path / "films"))
    first = house.wait_for_report(data_set.StudyInstanceUID)
    assert patient_of(first) == "BN0001"
    trail = house.trail(data_set.StudyInstanceUID)
    assert next(one["closed_by"] for one in trail if one["event"] == "study_assembled") == "order"
    merged = hl7.patient("BN0002", name="Nguyễn^An^Văn", born="19700131", sex="M")
    assert msa(exchange(port, hl7.merge("2", pid=merged))) == ("AA", "2")
    second = house.wait_for_report(data_set.StudyInstanceUID, number=2, seconds=90)
    assert patient_of(second) == "BN0002"
    (note,) = (house.data_dir / "outbox" / data_set.StudyInstanceUID).glob("*/withdrawn.dcm")
    assert str(dcmread(note).PatientID) == "BN0001"
    bundle = json.loads((note.parent / "report.fhir.json").read_text(encoding="utf-8"))
    assert {one["resource"]["status"] for one in bundle["entry"]} == {"entered-in-error"}
    assert "BN0001" not in house.log() and "Nguy" not in house.log()


def test_what_was_acknowledged_survives_kill_9(house, port):
    acknowledged: set[str] = set()
    ended = threading.Event()

    def send() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            name = f"P{number}"
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    content = hl7.order(str(number), placer=name, accession=name)
                    answer = said(connection, content, seconds=20)
            except OSError:
                continue  # it is being started again
            if answer and msa(er7.read(answer))[0] == "AA":
                acknowledged.add(name)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(2):
            before = len(acknowledged)
            wait_until(lambda: len(acknowledged) > before + 5, seconds=60, what="orders are taken")  # noqa: B023
            house.kill("orders")
            wait_until(lambda: "orders" in house.pids(), seconds=60, what="the door is started again")
    finally:
        ended.set()
        sender.join(60)
    engine = open_database(f"sqlite:///{house.data_dir / 'hoichan.sqlite'}")
    with engine.connect() as connection:
        kept = list(connection.execute(orders.select()).mappings())
    engine.dispose()
    names = [row["placer_order_number"] for row in kept]
    assert acknowledged <= set(names)
    assert len(names) == len(set(names))
