"""`hoichan codes load|list|check`: code tables of the site, from CSV files.

Exit code 0 done, 1 refused, 2 used wrongly.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import load
from hoichan.site_codes import CodeTable, Misfit, TableUnreadable, misfits, read_table

if TYPE_CHECKING:
    from hoichan.adapters.site_codes_sql import SiteCodesSql
    from service.wiring import House

app = typer.Typer(no_args_is_help=True, help="Code tables of the site: services, indicators, ICD-10.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]
REASONS = {
    "unknown": "not in the list",
    "expired": "no longer in force",
    "not_yet": "not in force yet",
    "not_usable": "a more specific code has to be used",
    "unverified": "nobody answers for it",
}
Table = Annotated[CodeTable, typer.Argument(help="Which list.")]


@app.command("load")
def load_codes(
    table: Table,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV in UTF-8.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Put a file in force, whole; it replaces the former load of the table, which stays on record."""
    content = file.read_bytes()
    try:
        rows = read_table(table, content)
    except TableUnreadable as error:
        print(f"Not loaded: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    house = _house(config, data_dir)
    is_new = _codes(house).load(table, rows, hashlib.sha256(content).hexdigest())
    unverified = sum(1 for row in rows if not row.verified_by)
    if is_new:
        _record(house, f"codes load {table} {len(rows)}")
    print(f"{table}: {len(rows)} codes{'' if is_new else ', in force already'}.")
    if unverified:
        print(f"{unverified} of them name nobody in verified_by: they are never sent.", file=sys.stderr)
    if table is CodeTable.ICD10:
        today = house.clock.now().astimezone(house.settings.site.zone).date()
        doubtful = misfits(rows, today)
        if doubtful:
            print(f"{len(doubtful)} suggestions of ours do not fit: hoichan codes check", file=sys.stderr)


@app.command("check")
def check_codes(
    at: Annotated[str, typer.Option("--at", help="On this day, YYYY-MM-DD; else today.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare our ICD-10 suggestions with the list of the site. Exit code 1 where one does not fit."""
    house = _house(config, data_dir)
    try:
        day = date.fromisoformat(at) if at else house.clock.now().astimezone(house.settings.site.zone).date()
    except ValueError:
        raise typer.BadParameter("a day is YYYY-MM-DD") from None
    rows = _codes(house).rows(CodeTable.ICD10)
    if not rows:
        print("No ICD-10 list is loaded: hoichan codes load icd10 FILE", file=sys.stderr)
        raise typer.Exit(2)
    found = misfits(rows, day)
    if as_json:
        print(json.dumps({"at": day.isoformat(), "misfits": [asdict(one) for one in found]}))
    elif not found:
        print(f"Every suggestion is in the list and in force on {day}.")
    else:
        _tell_misfits(found)
    if found:
        raise typer.Exit(1)


def _tell_misfits(found: Sequence[Misfit]) -> None:
    for one in found:
        print(f"{one.code:8} for {one.finding_key}: {REASONS[one.reason]}")


@app.command("list")
def list_codes(
    table: Annotated[CodeTable | None, typer.Argument(help="Which list; none: all, counted.")] = None,
    at: Annotated[str, typer.Option("--at", help="Only what counts on this day, YYYY-MM-DD.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in force."""
    try:
        day = date.fromisoformat(at) if at else None
    except ValueError:
        raise typer.BadParameter("a day is YYYY-MM-DD") from None
    codes = _codes(_house(config, data_dir))
    if table is None:
        loaded = codes.loaded()
        for one in CodeTable:
            when = f"{loaded[one]:%Y-%m-%d %H:%M} UTC" if one in loaded else "never"
            print(f"{one:12} {len(codes.rows(one)):7} codes, loaded {when}")
        return
    rows = [row for row in codes.rows(table) if day is None or row.counts_on(day)]
    if as_json:
        lines = [
            {
                "code": row.code,
                "display": row.display,
                "valid_from": row.valid_from.isoformat() if row.valid_from else None,
                "valid_until": row.valid_until.isoformat() if row.valid_until else None,
                "usable": row.usable,
                "finding_key": row.finding_key,
                "verified_by": row.verified_by,
            }
            for row in rows
        ]
        print(json.dumps({"table": str(table), "codes": lines}, ensure_ascii=False))
        return
    for row in rows:
        marks = " ".join(
            [
                *([] if row.usable else ["not usable"]),
                *([f"for {row.finding_key}"] if row.finding_key else []),
                *([] if row.verified_by else ["unverified, never sent"]),
            ]
        )
        until = f"{row.valid_from or '…'} to {row.valid_until or '…'}"
        print(f"{row.code:16} {until:26} {row.display}{f'  ({marks})' if marks else ''}")


def _codes(house: House) -> SiteCodesSql:
    from hoichan.adapters.site_codes_sql import SiteCodesSql  # noqa: PLC0415

    return SiteCodesSql(house.engine, house.clock)


def _record(house: House, detail: str) -> None:
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    record(house, Audited.SETTINGS_CHANGED, detail=detail)


def _house(config: Path | None, data_dir: Path | None) -> House:
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(load(config, data_dir=data_dir))
    house.audit.check()  # nothing is changed that could not be recorded
    return house
