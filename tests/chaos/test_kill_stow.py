"""kill -9 of the web process while instances come by STOW-RS: what a sender was told is there, once.

CHAOS_ROUNDS sets how often (1 means three kills), CHAOS_SEED when it dies.
"""

import http.client
import json
import os
import random
import threading

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.part10 import split
from hoichan.testing.datasets import encode, film
from hoichan.testing.files import as_file
from hoichan.testing.house import wait_until
from tests.integration.test_page import Page

ROUNDS = 3 * int(os.environ.get("CHAOS_ROUNDS", "1"))
SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
SENDERS = 3
HEADERS = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=edge'}
BROKEN = (OSError, http.client.HTTPException)


def a_film(number):
    return film(instance=str(number), pixels=bytes([number % 251, 1]) * 100_000)


class Sender(threading.Thread):
    """Sends until nobody answers; knows what it was told."""

    def __init__(self, port, numbers):
        super().__init__(daemon=True)
        self.port = port
        self.numbers = numbers
        self.told = set()

    def run(self):
        for number in self.numbers:
            body = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + as_file(a_film(number))
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("POST", "/dicom-web/studies", body + b"\r\n--edge--\r\n", HEADERS)
                answer = connection.getresponse()
                text = answer.read()
            except BROKEN:
                return
            finally:
                connection.close()
            if answer.status == 200 and json.loads(text)["00081199"]["Value"]:
                self.told.add(number)


@pytest.fixture
def pages(tmp_path):
    made = []

    def start():
        made.append(Page(tmp_path / "data", tmp_path / f"ready{len(made)}", HOICHAN_WEB__STOW="true"))
        return made[-1]

    yield start
    for page in made:
        page.process.kill()
        page.process.communicate()


def test_what_was_told_is_there_once(tmp_path, pages):
    chance = random.Random(SEED)
    told = set()
    number = 0
    for _ in range(ROUNDS):
        page = pages()
        port = page.port
        senders = [Sender(port, range(number + n, number + 3000, SENDERS)) for n in range(SENDERS)]
        number += 3000
        for sender in senders:
            sender.start()
        enough = chance.randint(1, 25)
        wait_until(
            lambda senders=senders, enough=enough: sum(len(s.told) for s in senders) >= enough,
            seconds=60,
            what="some are told",
        )
        page.process.kill()
        for sender in senders:
            sender.join(60)
            told |= sender.told
    spool = DiskSpool(tmp_path / "data" / "spool")
    spool.sweep()
    kept = {
        spooled.path.stem: split(spool.file(spooled.path).read_bytes()).data_set
        for spooled in spool.listing(film().StudyInstanceUID)
    }
    assert len(told) >= ROUNDS
    for one in told:
        assert kept[a_film(one).SOPInstanceUID] == encode(a_film(one))
    assert len(kept) <= len(told) + ROUNDS * SENDERS  # stored, but killed before it could be told
    assert list((tmp_path / "data" / "spool" / "quarantine").iterdir()) == []
    assert list((tmp_path / "data" / "spool" / "part").glob("*.part")) == []
