"""How fast the door takes films and slices, beside dcmtk `storescp` and Orthanc in the same run.

The sender is always dcmtk `dcmsend` with TCP_NODELAY=1, one process an association; every batch has new UIDs.
Receivers take turns, so that a busy machine is busy for all. Ours and Orthanc fsync every object before
Success (ours its folder too), `storescp` never does; read the figures with that in mind. Receivers that are
not installed are left out.

    python -m benches.receive [--rounds 5] [--batch NAME] [--alone] [--json]

With --alone our listener is measured with one process, too (`listener.processes`, ADR-0022).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import write_meta
from hoichan.testing.datasets import encode, film


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is sent in one go; 16 bits a pixel."""

    images: int  # of one association
    rows: int
    columns: int
    associations: int = 1  # at the same time


BATCHES: Mapping[str, Batch] = {
    "CT 0.5 MB": Batch(images=150, rows=512, columns=512),
    "CT 0.5 MB x 4": Batch(images=75, rows=512, columns=512, associations=4),
    "CR 10 MB": Batch(images=20, rows=2500, columns=2000),
}
WAIT_SECONDS = 60


def main() -> int:
    """Prints medians over the rounds, in images and megabytes a second."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", choices=BATCHES, action="append", help="only this one; may be repeated")
    parser.add_argument("--alone", action="store_true", help="our listener with one process beside it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    receivers = dict(RECEIVERS)
    if options.alone:
        receivers["one process"] = "dcmsend", partial(_ours, more="processes = 1\n")
    if shutil.which("dcmsend") is None:
        sys.stderr.write("dcmsend is needed: install dcmtk.\n")
        return 1
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as folder:
        for number in range(options.rounds):
            for name in options.batch or BATCHES:
                batch = BATCHES[name]
                folders = [
                    _make_batch(Path(folder) / f"images-{n}", f"{name}-{number}-{n}", batch)
                    for n in range(batch.associations)
                ]
                for receiver, (program, start) in receivers.items():
                    if shutil.which(program) is None:
                        continue
                    with start(Path(folder) / "receiver") as port:
                        seconds.setdefault((name, receiver), []).append(_send(folders, port))
                for images in folders:
                    shutil.rmtree(images)
    _report(seconds, as_json=options.json)
    return 0


def _make_batch(folder: Path, seed: str, batch: Batch) -> Path:
    folder.mkdir()
    pixels = os.urandom(batch.rows * batch.columns * 2)
    for number in range(batch.images):
        data_set = film(study=seed, instance=str(number), pixels=pixels)
        data_set.Rows, data_set.Columns = batch.rows, batch.columns
        head = write_meta(
            sop_class_uid=data_set.SOPClassUID,
            sop_instance_uid=data_set.SOPInstanceUID,
            transfer_syntax_uid=EXPLICIT_LITTLE,
            calling_ae_title="BENCH",
        )
        (folder / f"{number}.dcm").write_bytes(head + encode(data_set))
    return folder


def _send(folders: Sequence[Path], port: int) -> float:
    """Seconds until the last of the associations has released, one for each folder."""
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["dcmsend", "-aet", "BENCH", "-aec", "PACS", "+sd", "127.0.0.1", str(port), str(images)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        for images in folders
    ]
    said = [sender.communicate(timeout=WAIT_SECONDS)[1] for sender in senders]
    elapsed = time.perf_counter() - started
    for sender, text in zip(senders, said, strict=True):
        if sender.returncode or "refused" in text.lower():
            raise RuntimeError(f"dcmsend failed: {text[-500:]}")
    return elapsed


@contextmanager
def _ours(folder: Path, more: str = "") -> Iterator[int]:
    folder.mkdir()
    port, ready = _free_port(), folder / "ready.json"
    config = folder / "hoichan.toml"
    config.write_text(f"[listener]\nport = {port}\n{more}[storage]\nreserve_bytes = 0\n")
    command = [
        sys.executable,
        "-P",
        "-m",
        "dicom_listener",
        "--config",
        config,
        "--data-dir",
        folder / "data",
    ]
    with _running([*command, "--ready-file", ready], folder, port):
        yield port


@contextmanager
def _storescp(folder: Path) -> Iterator[int]:
    (folder / "data").mkdir(parents=True)
    port = _free_port()
    with _running(["storescp", "+xa", "-od", folder / "data", "-aet", "PACS", str(port)], folder, port):
        yield port


@contextmanager
def _orthanc(folder: Path) -> Iterator[int]:
    (folder / "data").mkdir(parents=True)
    port = _free_port()
    settings = {
        "StorageDirectory": str(folder / "data"),
        "IndexDirectory": str(folder / "data"),
        "HttpServerEnabled": False,
        "DicomAet": "PACS",
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "MaximumPduLength": 131072,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with _running(["Orthanc", folder / "orthanc.json"], folder, port):
        yield port


@contextmanager
def _running(command: list[str | Path], folder: Path, port: int) -> Iterator[None]:
    """Starts a receiver, waits for its port, and leaves nothing of it behind."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TCP_NODELAY": "1"}
    )
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while subprocess.run(
            ["echoscu", "127.0.0.1", str(port)], capture_output=True, check=False
        ).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start")
        yield
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)
        shutil.rmtree(folder)


RECEIVERS: Mapping[str, tuple[str, Callable[[Path], AbstractContextManager[int]]]] = {
    "hoichan": ("dcmsend", _ours),
    "storescp": ("storescp", _storescp),
    "Orthanc": ("Orthanc", _orthanc),
}  # name -> the program that must be installed, how to start it


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _report(seconds: Mapping[tuple[str, str], list[float]], *, as_json: bool) -> None:
    rows = []
    for (name, receiver), times in seconds.items():
        batch = BATCHES[name]
        count = batch.images * batch.associations
        median = statistics.median(times)
        megabytes = count * batch.rows * batch.columns * 2 / 1e6
        orthanc = seconds.get((name, "Orthanc"))
        rows.append(
            {
                "batch": name,
                "receiver": receiver,
                "images_per_second": round(count / median, 1),
                "megabytes_per_second": round(megabytes / median, 1),
                "times_orthanc": round(statistics.median(orthanc) / median, 2) if orthanc else None,
                "seconds": [round(value, 2) for value in times],
            }
        )
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    for row in rows:
        sys.stdout.write(
            "{batch:14} {receiver:11} {images_per_second:7} images/s {megabytes_per_second:7} MB/s"
            "  {times_orthanc} x Orthanc\n".format(**row)
        )


if __name__ == "__main__":
    sys.exit(main())
