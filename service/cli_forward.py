"""`hoichan forward list|retry|release`: what was sent on, what was refused, and what waits for a look.

Exit code 0 done, 1 nothing fitted, 2 used wrongly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import load

if TYPE_CHECKING:
    from hoichan.adapters.forwards_sql import ForwardsSql
    from service.wiring import House

app = typer.Typer(no_args_is_help=True, help="Images that rules send on to other receivers.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]
Study = Annotated[str, typer.Argument(help="Study Instance UID.", metavar="UID")]


@app.command("list")
def list_forwards(
    study: Annotated[str | None, typer.Argument(help="Study Instance UID.", metavar="[UID]")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also what was sent.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits, was refused or is held, by study, rule and receiver."""
    found = _forwards(_house(config, data_dir)).standing(study, open_only=not every and study is None)
    if as_json:
        keys = ("study_instance_uid", "rule", "destination", "state", "instances", "detail")
        print(json.dumps({"forwards": [{key: getattr(one, key) for key in keys} for one in found]}))
        return
    for one in found:
        print(
            one.study_instance_uid, f"{one.rule} -> {one.destination}", one.state, one.instances, one.detail
        )
    if not found:
        print("Nothing waits, nothing was refused.", file=sys.stderr)


@app.command("retry")
def retry(study: Study, config: Config = None, data_dir: DataDir = None) -> None:
    """Send again, now, what a receiver refused or did not take yet."""
    house = _house(config, data_dir)
    _record(house, study, "forward retry")
    _tell(_forwards(house).retry(study), "sent again")


@app.command("release")
def release(study: Study, config: Config = None, data_dir: DataDir = None) -> None:
    """Send what is held because its pixels may name somebody. Look at the images first."""
    house = _house(config, data_dir)
    _record(house, study, "forward release")
    _tell(_forwards(house).release(study), "released")


def _tell(count: int, what: str) -> None:
    print(f"{count} instances {what}.")
    raise typer.Exit(0 if count else 1)


def _record(house: House, study: str, detail: str) -> None:
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    record(house, Audited.SENDING, study[:64], detail=detail)


def _forwards(house: House) -> ForwardsSql:
    from hoichan.adapters.forwards_sql import ForwardsSql  # noqa: PLC0415

    return ForwardsSql(house.engine, house.clock)


def _house(config: Path | None, data_dir: Path | None) -> House:
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(load(config, data_dir=data_dir))
    house.audit.check()  # nothing is done that could not be recorded
    return house
