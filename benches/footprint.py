"""What the service takes: room on the disk, memory when idle, time from the start to the page.

    python -m benches.footprint [--size] [--json]

`--size` makes a virtual environment of its own and installs the serving part into it, without development
tools (some minutes, from the package index that pip is set up with). Memory is the resident set of each
process once the house is quiet, after a first film, and its fair share of what all have in common (PSS).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, write_film

ROOT = Path(__file__).parents[1]
STARTS = 5
IDLE_SECONDS = 20
TICKS = 100  # of the processor's clock in a second, as /proc counts them (USER_HZ)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benches.footprint", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", action="store_true", help="also install into a fresh environment")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as name:
        figures: dict[str, object] = {
            "start_to_page_seconds": start_times(Path(name) / "starts"),
            "idle": idle(Path(name) / "idle"),
        }
        if options.size:
            figures["install_megabytes"] = install_size(Path(name) / "venv")
    if options.json:
        print(json.dumps(figures))
        return 0
    for label, value in figures.items():
        print(f"{label}: {json.dumps(value)}")
    return 0


def start_times(folder: Path) -> list[float]:
    """Seconds from `hoichan up` until the page answers: the first in an empty folder, then the others."""
    house = RunningHouse(folder)
    seconds = []
    for _ in range(STARTS):
        began = time.monotonic()
        house.start()
        house.get()
        seconds.append(round(time.monotonic() - began, 2))
        house.stop()
    return seconds


def idle(folder: Path) -> dict[str, dict[str, float]]:
    """Of each process: resident and proportional megabytes, and the share of one core it takes."""
    house = RunningHouse(folder)
    film = a_film("footprint", rows=2000, columns=2000)
    with house:
        house.send(write_film(film, folder / "films"))
        house.wait_for_event(film.StudyInstanceUID, "delivery_acknowledged")
        house.get(f"studies/{film.StudyInstanceUID}")
        pids = {**house.pids(), "up": house.pid}
        before = {role: cpu_seconds(pid) for role, pid in pids.items()}
        time.sleep(IDLE_SECONDS)
        return {
            role: {
                **memory(pid),
                "cpu_percent": round(100 * (cpu_seconds(pid) - before[role]) / IDLE_SECONDS, 1),
            }
            for role, pid in pids.items()
        }


def memory(pid: int) -> dict[str, float]:
    """Resident and proportional set size of a process, in megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines}
    return {"rss_mb": round(kilobytes["Rss:"] / 1024, 1), "pss_mb": round(kilobytes["Pss:"] / 1024, 1)}


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def install_size(folder: Path) -> dict[str, float]:
    """Megabytes of a fresh environment with the serving part, and of its largest packages."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", ROOT], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    sizes = {entry.name: used(entry) for entry in packages.iterdir()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:8]
    return {"all": used(folder), **{name: sizes[name] for name in largest}}


def used(folder: Path) -> float:
    """Megabytes that a file or folder takes on the disk."""
    files = folder.rglob("*") if folder.is_dir() else [folder]
    return round(sum(f.lstat().st_blocks * 512 for f in files if f.is_file()) / 1e6, 1)


if __name__ == "__main__":
    raise SystemExit(main())
