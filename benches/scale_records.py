"""What one study costs when a million are stored, against a thousand: every step of its way, lists, search.

    python -m benches.scale_records [--stored 1000000] [--database URL] [--folder DIR] [--json]

The rows of a thousand studies are made by the real code. The database then copies them with other UIDs,
numbers and times until there are as many as asked for, so the long record has the shape of a short one:
names as often as they are, most studies signed, few under way. Questions go through `StudiesSql` and
`ReadingSql`. SQLite without `--database`; its rows are not analysed, as at a station.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from hoichan.adapters.figures_sql import FiguresSql
from hoichan.adapters.schema import metadata, studies
from hoichan.settings import Settings
from hoichan.testing.daily import looks, one_study, rounds
from hoichan.testing.reading import Record, a_record
from hoichan.types import StudyInstanceUID, StudyState

BASE = 1_000
_FAMILIES = (("Nguyễn", 38), ("Trần", 11), ("Lê", 10), ("Phạm", 7), ("Hoàng", 5), ("Phan", 5), ("Vũ", 4))
_FAMILIES += (("Đặng", 2), ("Bùi", 2), ("Đỗ", 2), ("Hồ", 2), ("Ngô", 2), ("Dương", 2), ("Lý", 1), ("Mai", 1))
_MIDDLES = ("Văn", "Thị", "Hữu", "Thị Thu", "Đức", "Minh", "Thanh", "Ngọc", "Quang", "Thị Bích")
_GIVEN = ("An", "Bình", "Châu", "Dũng", "Giang", "Hà", "Hùng", "Khoa", "Lan", "Linh", "Mai", "Nam", "Oanh")
_GIVEN += ("Phúc", "Quỳnh", "Sơn", "Thảo", "Tuấn", "Uyên", "Vinh", "Xuân", "Yến")
_UIDS = {"study_instance_uid", "series_instance_uid", "sop_instance_uid", "report_uid", "uid", "predecessor"}
_NUMBERS = {"patient_id", "accession_number", "idempotency_key"}
_MINUTES = 24 * 60  # the time that the base spans; each copy is so much older
_SIGNED_OF_TEN = 9


def main() -> int:
    """Fill, measure, print; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(
        prog="benches.scale_records", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--database", default="", help="an empty PostgreSQL database; SQLite without it")
    parser.add_argument("--folder", type=Path, default=None, help="where the data lies; a temporary folder")
    parser.add_argument("--repeat", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="hoichan-scale-"))
    try:
        few, many, seconds = compare(folder, options.database, options.stored, options.repeat)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps({"stored": options.stored, "fill_seconds": seconds, "few": few, "many": many}))
    else:
        _print(few, many, options.stored, seconds)
    missed = many["one study"]["p50"] > 1.2 * few["one study"]["p50"]
    missed |= any(one["p95"] > 50 for name, one in many.items() if name.startswith(("list", "search")))
    return int(missed)


Figures = dict[str, dict[str, float]]


def compare(folder: Path, database: str, stored: int, repeat: int) -> tuple[Figures, Figures, float]:
    """Milliseconds by question over a thousand studies and over `stored`, and the seconds to copy them."""
    storage = {"data_dir": folder, "reserve_bytes": 0, "database": database}
    record = a_record(folder, Settings.model_validate({"storage": storage}))
    try:
        _hasten(record.engine, yes=True)
        base = list(_base(record))
        _hasten(record.engine, yes=False)
        _sign(record, copies=0)
        _tidy(record)
        few = measure(record, base[BASE // 2], "few", repeat)
        began = time.monotonic()
        copies = stored // BASE - 1
        copy(record.engine, copies)
        _sign(record, copies=copies)
        _tidy(record)
        seconds = round(time.monotonic() - began, 1)
        middle = StudyInstanceUID(f"{base[BASE // 2]}.{copies // 2 or 1}")
        return few, measure(record, middle, "many", repeat), seconds
    finally:
        record.engine.dispose()


def _base(record: Record) -> Iterator[StudyInstanceUID]:
    """A thousand studies by the real code, over one day."""
    rng = np.random.default_rng(7)
    weights = np.array([weight for _, weight in _FAMILIES], dtype=float)
    for number in range(BASE):
        family = _FAMILIES[rng.choice(len(_FAMILIES), p=weights / weights.sum())][0]
        name = f"{family}^{rng.choice(_GIVEN)}^{rng.choice(_MIDDLES)}"
        person = (name, "MF"[number % 2], int(rng.integers(1930, 2008)), f"BN-{number:06d}")
        record.clock.advance(_MINUTES * 60 / BASE)
        yield one_study(record, f"base {number}", person=person)


def _hasten(engine: sa.Engine, *, yes: bool) -> None:
    """Wait for no disk while the base is made: nothing of it is measured."""
    with engine.connect() as opened:
        connection = opened.execution_options(isolation_level="AUTOCOMMIT")
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA synchronous={'OFF' if yes else 'FULL'}")
        else:
            connection.exec_driver_sql(f"SET synchronous_commit = {'off' if yes else 'on'}")


def copy(engine: sa.Engine, copies: int) -> None:
    """Copy every row so often, with UIDs and numbers of its own, each copy a day older."""
    with engine.connect() as opened:
        connection = opened.execution_options(isolation_level="AUTOCOMMIT")
        sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql(
            "PRAGMA foreign_keys=OFF" if sqlite else "SET session_replication_role = replica"
        )
        connection.exec_driver_sql("CREATE TEMP TABLE copy_numbers (n integer PRIMARY KEY)")
        connection.execute(
            sa.text("INSERT INTO copy_numbers (n) VALUES (:n)"), [{"n": n} for n in range(1, copies + 1)]
        )
        for table in metadata.sorted_tables:
            if "study_instance_uid" in table.c or "report_uid" in table.c:
                _copy_table(connection, table, sqlite=sqlite)
        if sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.exec_driver_sql("DROP TABLE copy_numbers")


def _copy_table(connection: sa.Connection, table: sa.Table, *, sqlite: bool) -> None:
    columns = [column for column in table.columns if column.autoincrement is not True]
    chosen = ", ".join(f'"{column.name}"' for column in columns)
    values = ", ".join(_copied(column, sqlite=sqlite) for column in columns)
    for index in table.indexes:
        index.drop(connection)
    order = "ORDER BY base.rowid, n" if sqlite else ""
    connection.exec_driver_sql(f'CREATE TEMP TABLE base AS SELECT * FROM "{table.name}"')
    connection.exec_driver_sql(
        f'INSERT INTO "{table.name}" ({chosen}) SELECT {values} FROM base CROSS JOIN copy_numbers {order}'
    )
    connection.exec_driver_sql("DROP TABLE base")
    for index in table.indexes:
        index.create(connection)


def _copied(column: sa.Column[object], *, sqlite: bool) -> str:
    name = f'base."{column.name}"'
    if column.name in _UIDS:
        return f"{name} || '.' || n"
    if column.name in _NUMBERS:
        return f"{name} || '-' || n"
    if column.name == "key" and column.table.name == "search_keys":
        return f"CASE WHEN base.kind = 'number' THEN {name} || n ELSE {name} END"
    if isinstance(column.type, sa.TypeDecorator):  # a time
        if sqlite:
            shifted = f"strftime('%Y-%m-%d %H:%M:%S', {name}, '-' || (n * {_MINUTES}) || ' minutes')"
            return f"{shifted} || substr({name}, 20)"
        return f"{name} - n * interval '{_MINUTES} minutes'"
    return name


def _sign(record: Record, *, copies: int) -> None:
    """Nine of ten old studies are signed, and some are flagged; the newest day stays as it was left."""
    sqlite = record.engine.dialect.name == "sqlite"
    digits = _number("substr(patient_id, 4, 6)", sqlite=sqlite)  # of the study that was copied
    copy = _number("substr(patient_id, 11)", sqlite=sqlite)  # 0 of an original
    spread = digits if not copies else f"({digits} * 7 + length(study_instance_uid) + {copy})"
    with record.engine.begin() as connection:
        connection.execute(
            sa.text(
                f"UPDATE studies SET tier = CASE WHEN {spread} % 50 = 0 THEN 0 WHEN {spread} % 17 = 0 THEN 1 "
                f"WHEN {spread} % 8 = 0 THEN 2 ELSE 9 END"
            )
        )
        connection.execute(
            sa.text(
                f"UPDATE studies SET state = 'signed' WHERE {spread} % 10 < {_SIGNED_OF_TEN} "
                "AND patient_id LIKE 'BN-%-%'"
            )
        )


def _number(text: str, *, sqlite: bool) -> str:
    """The digits that a text begins with; 0 without any. PostgreSQL casts only what is all digits."""
    if sqlite:
        return f"CAST({text} AS integer)"
    return f"COALESCE(CAST(substring({text} from '^[0-9]+') AS integer), 0)"


def _tidy(record: Record) -> None:
    """PostgreSQL's autovacuum would have done it; SQLite does nothing by itself but fold its log in."""
    with record.engine.connect() as opened:
        connection = opened.execution_options(isolation_level="AUTOCOMMIT")
        sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if sqlite else "VACUUM ANALYZE")


def measure(record: Record, middle: StudyInstanceUID, label: str, repeat: int) -> Figures:
    """Milliseconds by question: of the wall clock, and of this process's processor ("cpu")."""
    numbers = iter(range(1_000_000))
    asked: dict[str, Callable[[], object]] = {
        "one study": lambda: one_study(record, f"{label} {next(numbers)}"),
        **{f"poll: {name}": ask for name, ask in rounds(record).items()},
        **{f"look: {name}": ask for name, ask in looks(record, middle).items()},
        **_lists(record),
        **_searches(record, middle),
    }
    figures = FiguresSql(record.engine)
    asked["metrics: waiting"] = figures.waiting
    found = {name: _time(ask, repeat) for name, ask in asked.items()}
    found["metrics: all totals"] = _time(lambda: FiguresSql(record.engine).totals(), 3)
    return found


def _lists(record: Record) -> dict[str, Callable[[], object]]:
    reading = record.reading
    with record.engine.connect() as connection:
        deep = connection.execute(
            sa.select(studies.c.study_instance_uid).where(studies.c.state != "signed", studies.c.tier == 9)
        ).first()
    assert deep is not None
    place = reading.place(StudyInstanceUID(deep[0]))
    return {
        "list: open, first page": reading.reading_list,
        "list: open, far down": lambda: reading.reading_list(after=place),
        "list: open, back up": lambda: reading.reading_list(before=place),
        "list: signed": lambda: reading.reading_list(state=StudyState.SIGNED),
        "list: failed (none)": lambda: reading.reading_list(state=StudyState.FAILED),
    }


def _searches(record: Record, middle: StudyInstanceUID) -> dict[str, Callable[[], object]]:
    patient = record.reading.study(middle).entry.patient
    family, _, rest = patient.patient_name.reveal().partition("^")
    given, _, middle_name = rest.partition("^")
    texts = {
        "search: UID": str(middle),
        "search: patient ID": patient.patient_id.reveal(),
        "search: whole name": f"{family} {middle_name} {given}",
        "search: commonest family name": "nguyen",
        "search: family name, first letters": "ngu",
        "search: two common words": "nguyen an",
        "search: nobody": "zzyzx",
    }
    return {name: lambda text=text: record.reading.search(text) for name, text in texts.items()}  # type: ignore[misc]


def _time(ask: Callable[[], object], repeat: int) -> dict[str, float]:
    ask()
    wall, cpu = [], []
    for _ in range(repeat):
        began, began_cpu = time.perf_counter(), time.process_time()
        ask()
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - began_cpu) * 1000)
    return {
        "p50": round(float(np.median(wall)), 2),
        "p95": round(float(np.quantile(wall, 0.95)), 2),
        "cpu": round(float(np.median(cpu)), 2),
    }


def _print(few: Figures, many: Figures, stored: int, seconds: float) -> None:
    print(f"milliseconds over 1,000 and over {stored:,} stored studies ({seconds:g} s to copy them)")
    print(f"{'':36}" + "   ".join([f"{'p50':>8}{'p95':>8}{'cpu':>8}"] * 2) + f"{'p50 x':>8}{'cpu x':>8}")
    for name, after in many.items():
        before = few[name]
        columns = [f"{one['p50']:8.2f}{one['p95']:8.2f}{one['cpu']:8.2f}" for one in (before, after)]
        ratios = [after[key] / before[key] if before[key] else 0.0 for key in ("p50", "cpu")]
        print(f"{name:36}" + "   ".join(columns) + "".join(f"{ratio:8.2f}" for ratio in ratios))


if __name__ == "__main__":
    raise SystemExit(main())
