"""A modality that goes on until each of its films is accepted."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hoichan.adapters.scu import Address, send
from hoichan.errors import HoichanError
from hoichan.testing.house import wait_until

SUCCESS = 0x0000
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it would tell of every refused connection


class Modality:
    """Sends film after film from the moment it is made, each again and again until it is told Success."""

    def __init__(
        self,
        films: Sequence[Path],
        address: Address,
        dice: random.Random,
        *,
        pause_seconds: float = 0.6,
        calling_ae_title: str = "CR_ROOM1",
    ) -> None:
        """`pause_seconds`: the longest pause after a film."""
        self.told: list[str] = []  # Study Instance UIDs, in the order of their Success
        self.tries = 0
        self._films, self._address, self._dice, self._pause = list(films), address, dice, pause_seconds
        self._title = calling_ae_title
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all)
        self._thread.start()

    def wait(self, *, seconds: float = 180) -> None:
        """Until every film is accepted."""
        wait_until(lambda: not self._thread.is_alive(), seconds=seconds, what="every film is accepted")

    def close(self) -> None:
        """It sends no more."""
        self._stop.set()
        self._thread.join(60)

    def _send_all(self) -> None:
        for film in self._films:
            while not self._stop.is_set():
                self.tries += 1
                with suppress(HoichanError):  # no answer: once more
                    (sent,) = send([film], self._address, calling_ae_title=self._title)
                    if sent.status == SUCCESS:
                        self.told.append(sent.study_instance_uid)
                        break
                self._stop.wait(0.2)
            self._stop.wait(self._dice.uniform(0, self._pause))
