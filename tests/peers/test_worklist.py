"""Orders from dcmtk's worklist server, a RIS that nobody of us wrote."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hoichan.adapters.worklist_dimse import WorklistScu
from hoichan.errors import Refused, Unreachable
from hoichan.intake.worklist import read_item
from hoichan.settings import Settings, Worklist
from hoichan.testing.house import free_ports, wait_until

SERVER, WRITER = shutil.which("wlmscpfs"), shutil.which("dump2dcm")
pytestmark = pytest.mark.skipif(SERVER is None or WRITER is None, reason="dcmtk is not installed")
ENTRY = """
(0008,0005) CS ISO_IR 192
(0008,0050) SH {accession}
(0010,0010) PN Nguyễn^An^Văn
(0010,0020) LO BN0012345
(0010,0030) DA 19850315
(0010,0040) CS M
(0020,000d) UI 1.2.840.99.{number}
(0032,1060) LO X-quang ngực thẳng
(0040,1001) SH RP{number}
(0040,1003) SH {priority}
(0040,0100) SQ
(fffe,e000) -
(0008,0060) CS {modality}
(0040,0001) AE CR1
(0040,0002) DA {day}
(0040,0003) TM 080000
(0040,0007) LO X-quang ngực thẳng
(0040,0009) SH SPS{number}
(fffe,e00d) -
(fffe,e0dd) -
"""


class Ris:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "RIS"
        self.folder.mkdir(parents=True)
        (self.folder / "lockfile").touch()
        (self.port,) = free_ports(1)
        with (folder / "ris.log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(SERVER), "-dfp", folder, str(self.port)], stdout=log, stderr=log
            )

    def add(self, number: int, **values: str) -> None:
        said = {"priority": "STAT", "modality": "DX", "day": "20261120", **values}
        dump = self.folder.parent / f"{number}.dump"
        dump.write_text(ENTRY.format(number=number, accession=f"XR{number}", **said), encoding="utf-8")
        subprocess.run([str(WRITER), "+te", dump, self.folder / f"{number}.wl"], check=True)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def answers(self) -> bool:
        assert self.process.poll() is None
        import socket

        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


@pytest.fixture
def ris(tmp_path):
    made = Ris(tmp_path)
    try:
        wait_until(made.answers, seconds=60, what="the worklist server answers")
        yield made
    finally:
        made.close()


def ask(ris, title="RIS", **changes):
    zone = Settings().site.zone
    worklist = Worklist(name="ris", host="127.0.0.1", port=ris.port, ae_title=title, **changes)
    scu = WorklistScu(worklist, our_title="HOICHAN", zone=zone)
    found = [read_item(one, zone) for one in scu.items(datetime(2026, 11, 20, 1, 30, tzinfo=UTC))]
    return sorted((one for one in found if one), key=lambda one: one.accession_number or "")


def test_what_is_ordered_from_yesterday_to_tomorrow_is_heard_to_the_letter(ris):
    ris.add(1)
    ris.add(2, priority="ROUTINE", day="20261121", modality="CT")
    ris.add(3, day="20261101")
    one, two = ask(ris)
    assert (one.accession_number, one.study_instance_uid, one.modality) == ("XR1", "1.2.840.99.1", "DX")
    assert (one.patient.patient_name.reveal(), one.patient.patient_id.reveal()) == (
        "Nguyễn^An^Văn",
        "BN0012345",
    )
    assert (one.region, one.priority, two.priority) == ("CHEST", "stat", "routine")
    assert one.scheduled_at == datetime(2026, 11, 20, 1, tzinfo=UTC)
    assert [order.accession_number for order in ask(ris, modalities=("CT",))] == ["XR2"]


def test_an_empty_worklist_is_no_fault(ris):
    assert ask(ris) == []


def test_another_title_is_refused(ris):
    with pytest.raises((Refused, Unreachable)):  # it hangs up without a word
        ask(ris, title="NOBODY")
