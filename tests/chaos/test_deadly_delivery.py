"""A report that kills who hands it over takes two workers with it, and then nobody any more."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, wait_until, write_film
from hoichan.testing.mllp import Receiver, answering, taking
from tests.acceptance.packages import write_package


def holder_of(port: int) -> int:
    """The process on this machine that has the other end of a connection: its port on loopback."""
    here = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    (inode,) = [line.split()[9] for line in lines if line.split()[1] == here]
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(link.readlink()) == f"socket:[{inode}]":
                return int(link.parts[2])
    raise AssertionError(f"nobody holds port {port}")


class Deadly:
    """A RIS that kills who brings a message of one kind: what that says, or nobody."""

    def __init__(self):
        self.marks, self.killed = [], []

    async def behave(self, frame, reader, writer):
        if not any(mark in frame for mark in self.marks):
            await answering(taking)(frame, reader, writer)
            return
        self.killed.append(holder_of(writer.get_extra_info("peername")[1]))
        os.kill(self.killed[-1], signal.SIGKILL)
        await reader.read()


def test_a_deadly_report_is_set_aside_and_the_next_ones_arrive(tmp_path):
    ris = Deadly()
    deadly, harmless = (a_film(f"deadly{number}", rows=32, columns=32) for number in range(2))
    ris.marks = [str(deadly.StudyInstanceUID).encode()]
    with Receiver(ris.behave) as server:
        config = f'[[destinations]]\nname = "ris"\nkind = "hl7v2"\nhost = "127.0.0.1"\nport = {server.port}\n'
        house = RunningHouse(tmp_path / "house", config=config)
        write_package(house.data_dir / "models")
        with house:
            house.send(write_film(deadly, tmp_path / "films"))
            house.wait_for_event(deadly.StudyInstanceUID, "delivery_set_aside", seconds=180)
            assert len(ris.killed) == len(set(ris.killed)) == 3
            worker = house.pids()["work"]
            assert worker not in ris.killed
            house.send(write_film(harmless, tmp_path / "films"))
            house.wait_for_event(harmless.StudyInstanceUID, "delivery_acknowledged")
            assert (house.pids()["work"], house.status()["dead_letters"]) == (worker, 1)
            ris.marks = []
            house.run("replay", str(deadly.StudyInstanceUID), check=True)
            house.wait_for_event(deadly.StudyInstanceUID, "delivery_acknowledged")
            wait_until(lambda: house.status()["dead_letters"] == 0, seconds=60, what="no dead letter")
            assert house.events(deadly.StudyInstanceUID).count("report_saved") == 1
