"""How long a worker needs to start over a spool of many studies, and to compare all of them beside its work.

    python -m benches.scale_start [--studies 100000] [--folder DIR] [--json]

One file a study on the disk, one row in the record; a hundred studies have a file that the record lacks, and
no mark. Seconds of wall clock and of this process's processor. The comparison is run without its pauses.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from hoichan.adapters.recorded_sql import RecordedSql
from hoichan.adapters.schema import instances, series, studies
from hoichan.settings import Settings
from hoichan.testing.daily import one_study
from hoichan.testing.reading import Record, a_record
from hoichan.types import StudyInstanceUID
from service import left_behind, wiring
from service.left_behind import LeftBehind

LEFT = 100


def main() -> int:
    """Fill, measure, print; exit code 1 when one that was left behind is not found."""
    parser = argparse.ArgumentParser(prog="benches.scale_start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None, help="a temporary folder without it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="hoichan-start-"))
    try:
        figures = measure(folder, options.studies)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures) if options.json else "\n".join(f"{k:32}{v:>12}" for k, v in figures.items()))
    return int(figures["found"] != LEFT)


def measure(folder: Path, count: int) -> dict[str, float]:
    """Seconds of the two steps, and how many of those that were left behind were found."""
    chosen = Settings.model_validate({"storage": {"data_dir": folder, "reserve_bytes": 0}})
    record = a_record(folder, chosen)
    spool = wiring.open_house(chosen).spool
    try:
        _fill(record, folder / "spool" / "studies", count)
        recovered, _ = _time(spool.give_back)
        left_behind.REST = 0.0
        comparison = LeftBehind(spool, RecordedSql(record.engine).paths)
        compared, processor = _time(lambda: comparison.compare(threading.Event()))
        return {
            "studies": count,
            "before it works, seconds": round(recovered, 4),
            "comparison, seconds": round(compared, 2),
            "comparison, processor seconds": round(processor, 2),
            "found": len(spool.take_fresh()),
        }
    finally:
        record.engine.dispose()


def _fill(record: Record, folder: Path, count: int) -> None:
    """Studies that differ in their UIDs alone; the last ones lie on the disk only."""
    first = one_study(record, "first")
    with record.engine.begin() as connection:
        for table in (studies, series, instances):
            _copy(connection, table, first, count)
    for number in range(count + LEFT):
        place = folder / f"{number % 256:02x}" / f"{first}.{number}"
        place.mkdir(parents=True)
        (place / f"{number}.dcm").touch()


def _copy(connection: sa.Connection, table: sa.Table, first: StudyInstanceUID, count: int) -> None:
    row = dict(
        connection.execute(sa.select(table).where(table.c.study_instance_uid == first)).mappings().first()
        or {}
    )
    for begin in range(0, count, 10_000):
        rows = []
        for number in range(begin, min(count, begin + 10_000)):
            uid = f"{first}.{number}"
            own = {"study_instance_uid": uid}
            if "path" in row:
                own["path"] = f"studies/{number % 256:02x}/{uid}/{number}.dcm"
            rows.append({**row, **own})
        connection.execute(table.insert(), rows)


def _time(ask: Callable[[], object]) -> tuple[float, float]:
    began, began_processor = time.perf_counter(), time.process_time()
    ask()
    return time.perf_counter() - began, time.process_time() - began_processor


if __name__ == "__main__":
    raise SystemExit(main())
