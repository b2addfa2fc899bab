"""A province on paper: 1,000 stations with thin lines and power cuts, 20 hubs that read for them.

    python -m benches.simulate [--days 30] [--seed 1] [--megabit 2] [--film-megabytes 3.5] [--json]

Event by event: films are made in working hours; a station works while it has power; its line sends one film
after the other while it is up, and begins a film anew that was cut off; a hub takes films in the order of
their arrival. What a film costs are figures of the other benches, given as arguments. Everything else is an
assumption, and stands in the table of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOUR, DAY = 3600.0, 86400.0
Window = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Numbers of one province; times in seconds."""

    stations: int = 1_000
    hubs: int = 20
    days: int = 30
    films_a_day: float = 25.0  # of one station, on average; stations differ by a factor of three
    station_seconds: float = 1.5  # to read one film on the station's own PC
    film_megabytes: float = 3.5  # a chest film of 7 MB, packed without loss
    megabit: float = 2.0  # a second, of a station's line upwards
    power_cut_every: float = 3 * DAY  # on average
    power_cut_lasts: float = 2 * HOUR
    line_cut_every: float = 1 * DAY
    line_cut_lasts: float = 0.5 * HOUR
    hub_films_a_second: float = 1.0
    hub_down: Window = (10 * DAY + 8 * HOUR, 11 * DAY + 8 * HOUR)  # every hub at once, for a whole day


def simulate(given: Assumptions, seed: int) -> dict[str, float]:
    """Delays in seconds, use of lines and hubs, and how long backlogs last."""
    rng = np.random.default_rng(seed)
    local: list[float] = []
    lines: list[float] = []
    arrivals: list[list[tuple[float, float]]] = [[] for _ in range(given.hubs)]
    line_recovery: list[float] = []
    for station in range(given.stations):
        rate = given.films_a_day * rng.choice([0.5, 1.0, 1.5])
        power = _cuts(rng, given.power_cut_every, given.power_cut_lasts, given.days)
        line = _merge(power + _cuts(rng, given.line_cut_every, given.line_cut_lasts, given.days))
        made = [t for t in _working_hours(rng, rate, given.days) if not _inside(t, power)]
        ready = _serve(made, given.station_seconds, power)
        local += [end - t for t, end in zip(made, ready, strict=True)]
        seconds = given.film_megabytes * 8 / given.megabit
        sent = _serve(made, seconds, line)
        lines.append(len(made) * seconds / (given.days * 10 * HOUR))
        line_recovery += _recoveries(made, sent, line)
        arrivals[station % given.hubs] += list(zip(sent, made, strict=True))
    delays: list[float] = []
    back: list[float] = []
    at_hub = 0.0
    for films in arrivals:
        films.sort()
        times = [t for t, _ in films]
        done = _serve(times, 1 / given.hub_films_a_second, [given.hub_down])
        delays += [end - made for end, (_, made) in zip(done, films, strict=True)]
        at_hub += len(films) / given.hub_films_a_second / (given.days * DAY) / given.hubs
        waiting = [end for end, t in zip(done, times, strict=True) if t <= given.hub_down[1] < end]
        back.append(max(waiting, default=given.hub_down[1]) - given.hub_down[1])
    return {
        "films": len(delays),
        "station_p50": _quantile(local, 0.5),
        "station_p99": _quantile(local, 0.99),
        "hub_p50": _quantile(delays, 0.5),
        "hub_p95": _quantile(delays, 0.95),
        "hub_p99": _quantile(delays, 0.99),
        "line_use_mean": round(float(np.mean(lines)), 3),
        "line_use_max": round(float(np.max(lines)), 3),
        "line_recovery_p50": _quantile(line_recovery, 0.5),
        "line_recovery_p99": _quantile(line_recovery, 0.99),
        "hub_use": round(at_hub, 3),
        "hub_recovery_max": round(max(back), 0),
    }


def _working_hours(rng: np.random.Generator, rate: float, days: int) -> list[float]:
    """When films are made: 07:00 to 17:00, twice as often in the morning, six days a week."""
    times: list[float] = []
    for day in range(days):
        if day % 7 == 6:
            continue
        count = rng.poisson(rate)
        morning = rng.random(count) < 2 / 3
        hours = np.where(morning, rng.uniform(7, 12, count), rng.uniform(12, 17, count))
        times += sorted(day * DAY + hours * HOUR)
    return [float(t) for t in times]


def _cuts(rng: np.random.Generator, every: float, lasts: float, days: int) -> list[Window]:
    found, now = [], float(rng.exponential(every))
    while now < days * DAY:
        end = now + float(rng.exponential(lasts))
        found.append((now, end))
        now = end + float(rng.exponential(every))
    return found


def _merge(windows: Sequence[Window]) -> list[Window]:
    merged: list[Window] = []
    for begin, end in sorted(windows):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _inside(t: float, windows: Sequence[Window]) -> bool:
    return any(begin <= t < end for begin, end in windows)


def _serve(times: Sequence[float], seconds: float, down: Sequence[Window]) -> list[float]:
    """When each piece is done, one after the other; a piece that a cut hits begins anew after it."""
    cuts = list(down)
    heapq.heapify(cuts)
    free, done = 0.0, []
    for t in times:
        begin = max(t, free)
        while cuts and (cuts[0][1] <= begin or cuts[0][0] < begin + seconds):
            begin = max(begin, heapq.heappop(cuts)[1])
        free = begin + seconds
        done.append(free)
    return done


def _recoveries(made: Sequence[float], sent: Sequence[float], cuts: Sequence[Window]) -> list[float]:
    """After each cut with films waiting: how long until those that were made in it are sent."""
    found = []
    for begin, end in cuts:
        held = [done for t, done in zip(made, sent, strict=True) if begin <= t < end]
        if held:
            found.append(max(held) - end)
    return found


def _quantile(values: Sequence[float], q: float) -> float:
    return round(float(np.quantile(values, q)), 1) if len(values) else 0.0


def main() -> int:
    """Simulate and print; exit code 0."""
    parser = argparse.ArgumentParser(prog="benches.simulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    for name in ("days", "stations", "hubs"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("films-a-day", "station-seconds", "film-megabytes", "megabit", "hub-films-a-second"):
        parser.add_argument(f"--{name}", type=float)
    options = vars(parser.parse_args())
    seed, as_json = options.pop("seed"), options.pop("json")
    found = simulate(Assumptions(**{key: value for key, value in options.items() if value is not None}), seed)
    if as_json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:20}{value:>12,}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
