"""Film after film at full speed: does memory grow, does a film take longer in the end than at the beginning?

    python -m benches.soak [--films 20000] [--waiting 20] [--rows 256] [--samples FILE] [--json]

The whole house in its processes, its default model, a real film made small that this model answers, one
folder as destination, from which what arrived is taken away. The sender keeps so many films waiting, never
more, so the house is always busy and a report's delay is that of the work, not of a queue. Slopes are
straight lines through what was sampled after the first tenth: megabytes and milliseconds for each thousand
films. With --samples, FILE takes what was seen as it is seen; Ctrl-C sums up what there is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benches.real_films import SmallFilms
from hoichan.adapters.scu import Address, send
from hoichan.testing.house import RunningHouse, wait_until, write_film

BATCH = 10
WAIT_SECONDS = 600
TAKEN_SECONDS = 120.0
NOT_ANALYSED = 'hoichan_studies{state="not_analysed"}'


def main() -> int:
    """Measure and print; exit code 1 when memory or delay grows by more than a tenth over the whole soak."""
    parser = argparse.ArgumentParser(prog="benches.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--films", type=int, default=20_000)
    parser.add_argument("--waiting", type=int, default=20, help="films in the house at a time")
    parser.add_argument(
        "--rows", type=int, default=256, help="of a film; its columns follow from the real one"
    )
    parser.add_argument("--samples", type=Path, help="a file that takes each sample as it is seen")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoichan-soak-") as name:
        samples: list[Sample] = []
        try:
            for sample in soak(Path(name), options.films, options.waiting, options.rows):
                samples.append(sample)
                if options.samples:
                    with options.samples.open("a", encoding="utf-8") as lines:
                        print(json.dumps(sample), file=lines)
        except KeyboardInterrupt:
            print(f"stopped after {len(samples) * BATCH} films", file=sys.stderr)
    seen = {name: samples[-1][name] for name in ("films", "not_analysed")}
    figures = {**seen, **summary(samples)}
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:40}{value:>12,.3f}")
    grown = [value for key, value in figures.items() if key.endswith("grown")]
    return int(any(value > 0.1 for value in grown))


Sample = dict[str, float]


def soak(folder: Path, films: int, waiting: int, rows: int) -> Iterator[Sample]:
    """What was seen after each batch."""
    films_of = SmallFilms(rows)
    with RunningHouse(folder / "house") as house:
        to = Address.parse(house.address)
        began = time.monotonic()
        for first in range(0, films, BATCH):
            numbers = range(first, min(first + BATCH, films))
            paths = [write_film(films_of.film(f"soak {number}"), folder / "films") for number in numbers]
            send(paths, to)
            for path in paths:
                path.unlink()
            sent = numbers.stop
            _take_away(folder / "house" / "data" / "outbox")
            metrics = wait_until(
                lambda: _enough(house, sent - waiting),  # noqa: B023  asked before the loop goes on
                seconds=WAIT_SECONDS,
                what="films are reported",
            )
            yield {
                "films": metrics["hoichan_report_delay_seconds_count"],
                "delay_sum": metrics["hoichan_report_delay_seconds_sum"],
                "seconds": time.monotonic() - began,
                "not_analysed": metrics.get(NOT_ANALYSED, 0.0),
                **{f"{role}_mb": _resident(pid) for role, pid in house.pids().items()},
            }
        wait_until(lambda: _enough(house, films), seconds=WAIT_SECONDS, what="the last films are reported")


def summary(samples: list[Sample]) -> dict[str, float]:
    """Rate, slopes for each thousand films, and growth over the soak as a share."""
    kept = samples[len(samples) // 10 :]
    films = np.array([one["films"] for one in kept])
    rate = (kept[-1]["films"] - kept[0]["films"]) / (kept[-1]["seconds"] - kept[0]["seconds"])
    found = {"films_per_second": rate}
    for name in sorted(key for key in kept[0] if key.endswith("_mb")):
        slope, start = np.polyfit(films, [one[name] for one in kept], 1)
        found[f"{name}_each_thousand"] = float(slope) * 1000
        found[f"{name}_grown"] = float(slope * (films[-1] - films[0]) / (start + slope * films[0]))
    steps = [
        (after["films"], (after["delay_sum"] - before["delay_sum"]) / (after["films"] - before["films"]))
        for before, after in itertools.pairwise(kept)
        if after["films"] > before["films"]
    ]
    at, delays = np.array(steps).T
    slope, start = np.polyfit(at, delays, 1)
    found["delay_ms_mean"] = float(delays.mean()) * 1000
    found["delay_ms_each_thousand"] = float(slope) * 1e6
    found["delay_grown"] = float(slope * (at[-1] - at[0]) / (start + slope * at[0]))
    return found


def _take_away(outbox: Path) -> None:
    """What the receiver has had for a while: else a soak ends with the disk."""
    if outbox.is_dir():
        for study in outbox.iterdir():
            if time.time() - study.stat().st_mtime > TAKEN_SECONDS:
                shutil.rmtree(study)


def _enough(house: RunningHouse, wanted: int) -> dict[str, float]:
    """The page's metrics once so many films are reported; empty before."""
    values = {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in house.get("metrics").splitlines())
        if name == NOT_ANALYSED or (name.startswith("hoichan_report_delay_seconds_") and "{" not in name)
    }
    return values if values.get("hoichan_report_delay_seconds_count", 0) >= max(1, wanted) else {}


def _resident(pid: int) -> float:
    """Megabytes in memory."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
