"""dcmtk's senders, and what they say that they were told."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SEND_SECONDS = 120
PATIENCE = ("-ta", "20", "-td", "20", "-to", "10")  # seconds: ACSE, DIMSE, connection
_STORESCU = re.compile(r"Sending file: (?P<file>.+)|Received Store Response \((?P<status>[^)]*)\)")
_DCMSEND = re.compile(r"C-STORE Request \(MsgID (?P<id>\d+),|C-STORE Response \((?P<status>[^)]*)\)")


@functools.cache
def is_available() -> bool:
    """Whether dcmtk's programs come first on the path; pynetdicom has some of the same names."""
    return all(_is_dcmtk(name) for name in ("dcmsend", "storescu", "echoscu"))


def _is_dcmtk(name: str) -> bool:
    path = shutil.which(name)
    if path is None:
        return False
    said = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False)
    return b"dcmtk" in said.stdout


class Sending:
    """One run of a sender, under way from the moment it is made."""

    def __init__(self, program: str, port: int, files: Sequence[Path], *, called: str = "HOICHAN") -> None:
        self._files = [str(file) for file in files]
        options = ["-dn"] if program == "dcmsend" else ["-xs"]
        titles = ["-aet", "CR_ROOM1", "-aec", called]
        self._read = _told_dcmsend if program == "dcmsend" else told_storescu
        self._process = subprocess.Popen(
            [program, "-v", *options, *PATIENCE, *titles, "127.0.0.1", str(port), *self._files],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    @property
    def is_done(self) -> bool:
        """Whether it has nothing left to send."""
        return self._process.poll() is not None

    def told(self) -> dict[Path, str]:
        """What was answered to each file that got an answer; waits for the end of the run."""
        try:
            said, _ = self._process.communicate(timeout=SEND_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        return self._read(said, self._files)

    def kill(self) -> None:
        """End it at once, as when the modality is switched off."""
        self._process.kill()
        self._process.communicate()


def told_storescu(said: str, _: Sequence[str] = ()) -> dict[Path, str]:
    """What storescu was told, from what it printed."""
    found: dict[Path, str] = {}
    file = ""
    for line in _STORESCU.finditer(said):
        if line["file"]:
            file = line["file"].strip()
        else:
            found[Path(file)] = line["status"]
    return found


def _told_dcmsend(said: str, files: Sequence[str]) -> dict[Path, str]:
    """Message identifiers count the files in their order."""
    found: dict[Path, str] = {}
    number = 0
    for line in _DCMSEND.finditer(said):
        if line["id"]:
            number = int(line["id"])
        else:
            found[Path(files[number - 1])] = line["status"]
    return found


def echo(port: int) -> bool:
    """Whether C-ECHO is answered."""
    done = subprocess.run(
        ["echoscu", *PATIENCE, "-aec", "HOICHAN", "127.0.0.1", str(port)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0
