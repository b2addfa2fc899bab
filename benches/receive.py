"""How fast the door takes films and slices, beside dcmtk `storescp` and Orthanc in the same run.

The sender is always dcmtk `dcmsend`, one association a batch; every batch has new UIDs. Receivers take
turns, so that a busy machine is busy for all. Ours fsyncs every object before Success, `storescp` never does,
Orthanc leaves it to its database; read the figures with that in mind. Receivers that are not installed are
left out.

    python benches/receive.py [--rounds 5] [--json]
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import write_meta
from hoichan.testing.datasets import encode, film

BATCHES = {  # name -> (images, rows, columns); 16 bits a pixel
    "CR 10 MB": (15, 2500, 2000),
    "CT 0.5 MB": (100, 512, 512),
}
WAIT_SECONDS = 60


def main() -> int:
    """Prints medians over the rounds, in images and megabytes a second."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("dcmsend") is None:
        sys.stderr.write("dcmsend is needed: install dcmtk.\n")
        return 1
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as folder:
        for number in range(options.rounds):
            for batch, (count, rows, columns) in BATCHES.items():
                images = _make_batch(Path(folder) / "images", f"{batch}-{number}", count, rows, columns)
                for name, (program, start) in RECEIVERS.items():
                    if shutil.which(program) is None:
                        continue
                    with start(Path(folder) / "receiver") as port:
                        seconds.setdefault((batch, name), []).append(_send(images, port))
                shutil.rmtree(images)
    _report(seconds, as_json=options.json)
    return 0


def _make_batch(folder: Path, seed: str, count: int, rows: int, columns: int) -> Path:
    folder.mkdir()
    pixels = os.urandom(rows * columns * 2)
    for number in range(count):
        data_set = film(study=seed, instance=str(number), pixels=pixels)
        data_set.Rows, data_set.Columns = rows, columns
        head = write_meta(
            sop_class_uid=data_set.SOPClassUID,
            sop_instance_uid=data_set.SOPInstanceUID,
            transfer_syntax_uid=EXPLICIT_LITTLE,
            calling_ae_title="BENCH",
        )
        (folder / f"{number}.dcm").write_bytes(head + encode(data_set))
    return folder


def _send(images: Path, port: int) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        ["dcmsend", "-aet", "BENCH", "-aec", "PACS", "+sd", "127.0.0.1", str(port), str(images)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    elapsed = time.perf_counter() - started
    if done.returncode or "refused" in done.stderr.lower():
        raise RuntimeError(f"dcmsend failed: {done.stderr[-500:]}")
    return elapsed


@contextmanager
def _ours(folder: Path) -> Iterator[int]:
    folder.mkdir()
    port, ready = _free_port(), folder / "ready.json"
    config = folder / "hoichan.toml"
    config.write_text(f"[listener]\nport = {port}\n[storage]\nreserve_bytes = 0\n")
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
    for (batch, name), times in seconds.items():
        count, height, width = BATCHES[batch]
        median = statistics.median(times)
        megabytes = count * height * width * 2 / 1e6
        rows.append(
            {
                "batch": batch,
                "receiver": name,
                "images_per_second": round(count / median, 1),
                "megabytes_per_second": round(megabytes / median, 1),
                "seconds": [round(value, 2) for value in times],
            }
        )
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    for row in rows:
        sys.stdout.write(
            "{batch:10} {receiver:9} {images_per_second:7} images/s {megabytes_per_second:7} MB/s\n".format(
                **row
            )
        )


if __name__ == "__main__":
    sys.exit(main())
