"""`hoichan quarantine`: what was refused or set aside on every machine, and to take one of it in once more.

A list holds times, AE titles, UIDs, codes and sizes; nothing else of what stands in the files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import load

if TYPE_CHECKING:
    from service.wiring import House

app = typer.Typer(no_args_is_help=True, help="What could not be filed, on every machine.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


@app.command("list")
def list_quarantine(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what lies in quarantine, newest first: when, from whom, how large, of which study, and why."""
    from dataclasses import asdict  # noqa: PLC0415

    from hoichan.adapters.quarantine_disk import KEPT_REFUSED  # noqa: PLC0415
    from hoichan.adapters.quarantine_sql import QuarantineSql  # noqa: PLC0415
    from service import aside, explain  # noqa: PLC0415

    house = _house(config, data_dir)
    aside.Quarantine(house).tell()  # also while no worker runs
    found = QuarantineSql(house.engine, house.clock).listed()
    if as_json:
        print(json.dumps([{**asdict(one), "at": one.at.isoformat()} for one in found]))
        return
    words, zone = explain.words_of(house), house.settings.site.zone
    several = len({one.spool for one in found}) > 1
    for one in found:
        size = "?" if one.size_bytes is None else words.size(one.size_bytes)
        at = f"{one.at.astimezone(zone):%Y-%m-%d %H:%M}"
        sender = words.plain(one.calling_ae_title) or "?"
        machine = f"  {one.spool}" if several else ""
        print(f"{one.name}  {at}  {sender:<16}  {size:>8}  {one.study_instance_uid or '-'}{machine}")
        print(f"  {words.refused(one.reason)} ({one.reason})")
    if found:
        print(words("quarantine.bound", n=KEPT_REFUSED))
    else:
        print(words("quarantine.none"))


@app.command("retry")
def retry(
    name: Annotated[str, typer.Argument(help="As `hoichan quarantine list` says it.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Take a file of this machine's quarantine in once more, by what it says itself; exit 1: it stays."""
    from hoichan.adapters.quarantine_disk import lying_in  # noqa: PLC0415
    from hoichan.errors import IntakeError, SpoolFull  # noqa: PLC0415
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service import aside, explain, shell  # noqa: PLC0415
    from service.cli_import import counting  # noqa: PLC0415

    house = _house(config, data_dir)
    one = lying_in(house.settings.storage.spool_dir).get(f"{name}.json")
    if one is None:
        _say(f"No {name} lies in the quarantine of this machine.")
        raise typer.Exit(1)
    uids = [one.study_instance_uid] if one.study_instance_uid else []
    shell.record(house, Audited.INSTANCES_RECEIVED, *uids, detail=f"quarantine {name} again")
    try:
        with counting(house.settings) as counted:
            stored = aside.again(house, name, counted)
    except SpoolFull:
        raise
    except IntakeError as error:
        _say(f"Refused again: {explain.words_of(house).refused(error.code)} ({error.code})")
        raise typer.Exit(1) from None
    aside.Quarantine(house).tell()
    if stored.quarantined is not None:
        _say(f"It stays: {explain.words_of(house).refused(stored.quarantined)} ({stored.quarantined})")
        raise typer.Exit(1)
    print(f"{stored.study_instance_uid}: {'it was there already' if stored.duplicate else 'filed'}")


def _house(config: Path | None, data_dir: Path | None) -> House:
    from service.wiring import open_house  # noqa: PLC0415

    return open_house(load(config, data_dir=data_dir))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
