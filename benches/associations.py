"""Many associations at once, for as long as one likes: is anybody starved, does memory grow, is C-ECHO quick?

Each sender is a dcmtk `storescu` that keeps one association open and sends an image with new UIDs again and
again, as fast as it is answered; one that comes to its end is started anew. Beside them a C-ECHO is asked
five times a second on an association that stays open, and `echoscu` opens one of its own every two seconds.
All of them share the machine: what they wait for a processor counts as ours.

    python -m benches.associations [--seconds 600] [--associations 50] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import IO

from pynetdicom import AE

from benches.receive import WAIT_SECONDS, Batch, _free_port, _make_batch

IMAGE = Batch(images=1, rows=128, columns=128)
REPEATED = 2000  # images of one association
ECHO_EVERY, KNOCK_EVERY, LOOK_EVERY = 0.2, 2.0, 5.0  # seconds


def main() -> int:
    """Prints what was stored by the luckiest and the unluckiest sender, latencies and memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--associations", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which("storescu") is None:
        sys.stderr.write("storescu is needed: install dcmtk.\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as folder:
        found = _measure(Path(folder), options.associations, options.seconds)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        for name, value in found.items():
            sys.stdout.write(f"{name:34} {value}\n")
    return 0


def _measure(folder: Path, associations: int, seconds: float) -> dict[str, object]:
    port, log = _free_port(), folder / "log.jsonl"
    image = _make_batch(folder / "image", "image", IMAGE) / "0.dcm"
    with log.open("wb") as lines:
        listener = _listener(folder, port, associations, lines)
        stop = threading.Event()
        threads = [
            threading.Thread(target=_sender, args=(stop, f"SENDER{number}", port, image))
            for number in range(associations)
        ]
        echoes: list[float] = []
        knocks: list[float] = []
        threads.append(threading.Thread(target=_echo, args=(stop, port, echoes)))
        threads.append(threading.Thread(target=_knock, args=(stop, port, knocks)))
        try:
            for thread in threads:
                thread.start()
            memory = _watch(listener.pid, seconds)
        finally:
            stop.set()
            for thread in threads:
                thread.join(WAIT_SECONDS)
            listener.terminate()
            listener.wait(WAIT_SECONDS)
    stored, refused = _count(log)
    every = [stored[f"SENDER{number}"] for number in range(associations)]
    settled = memory[len(memory) // 4 :]
    return {
        "associations": associations,
        "seconds": seconds,
        "images_per_second": round(sum(every) / seconds, 1),
        "images_of_unluckiest_sender": min(every),
        "images_of_median_sender": statistics.median(every),
        "images_of_luckiest_sender": max(every),
        "refused_or_rejected": refused,
        "echo_milliseconds": _spread(echoes),
        "echo_with_new_association_milliseconds": _spread(knocks),
        "memory_mib_after_a_quarter": round(settled[0], 1),
        "memory_mib_at_the_end": round(settled[-1], 1),
        "memory_mib_at_most": round(max(memory), 1),
    }


def _listener(folder: Path, port: int, associations: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    config, ready = folder / "hoichan.toml", folder / "ready.json"
    config.write_text(
        f"[listener]\nport = {port}\nmaximum_associations = {associations + 10}\n"
        "[storage]\nreserve_bytes = 0\n"
    )
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
    listener = subprocess.Popen([*command, "--ready-file", ready], stderr=log)  # type: ignore[call-overload]
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready.exists():
        if listener.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the listener did not start")
        time.sleep(0.05)
    return listener


def _sender(stop: threading.Event, title: str, port: int, image: Path) -> None:
    while not stop.is_set():
        process = subprocess.Popen(
            [
                "storescu",
                *("-aet", title, "-aec", "HOICHAN", "+II", "--repeat", str(REPEATED)),
                *("127.0.0.1", str(port), str(image)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        while process.poll() is None and not stop.wait(0.5):
            pass
        process.terminate()
        process.wait(WAIT_SECONDS)


def _echo(stop: threading.Event, port: int, milliseconds: list[float]) -> None:
    entity = AE(ae_title="ECHO")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title="HOICHAN")
    while not stop.wait(ECHO_EVERY):
        started = time.perf_counter()
        if "Status" not in association.send_c_echo():
            milliseconds.append(float("inf"))
            break
        milliseconds.append((time.perf_counter() - started) * 1000)
    association.release()


def _knock(stop: threading.Event, port: int, milliseconds: list[float]) -> None:
    while not stop.wait(KNOCK_EVERY):
        started = time.perf_counter()
        done = subprocess.run(
            ["echoscu", "-aet", "KNOCK", "-aec", "HOICHAN", "127.0.0.1", str(port)],
            check=False,
            capture_output=True,
        )
        elapsed = (time.perf_counter() - started) * 1000
        milliseconds.append(elapsed if not done.returncode else float("inf"))


def _watch(pid: int, seconds: float) -> list[float]:
    """Memory of the listener and its helpers in MiB, what they share counted once, every few seconds."""
    memory: list[float] = []
    helpers = _below(pid)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(LOOK_EVERY, left))
        memory.append(sum(map(_proportional, (pid, *helpers))))
    return memory


def _below(pid: int | str) -> list[str]:
    """The processes that a process has started, and those that they have."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [*children, *(one for child in children for one in _below(child))]


def _proportional(pid: int | str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _count(log: Path) -> tuple[Counter[str], int]:
    stored: Counter[str] = Counter()
    refused = 0
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["event"] == "instance_stored":
                stored[entry["calling_ae_title"]] += 1
            elif entry["event"] in ("instance_refused", "association_rejected", "connection_dropped"):
                refused += 1
    return stored, refused


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [float("nan")]
    at = {"median": 0.5, "99 %": 0.99, "worst": 1.0}
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        for name, share in at.items()
    }


if __name__ == "__main__":
    sys.exit(main())
