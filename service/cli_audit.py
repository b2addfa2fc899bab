"""`hoichan audit verify|head`: whether the log of who did what is as it was written.

Export the head from time to time and keep it elsewhere: records cut off at the end are seen only by it. Exit
code 0 all is well, 1 it is not, 2 used wrongly.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import load

if TYPE_CHECKING:
    from hoichan.adapters.audit_sql import AuditSql
    from hoichan.guard.audit import Head

app = typer.Typer(no_args_is_help=True, help="The log of who did what.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]
_HEAD = re.compile(r"([0-9]+):([0-9a-f]{64})")


@app.command("verify")
def verify(
    head: Annotated[
        str, typer.Option("--head", help="What `hoichan audit head` said once: LENGTH:HASH.")
    ] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check every record against the one before it; says the first that is not as it was written."""
    exported = _parse(head) if head else None
    log = _audit(config, data_dir)
    broken = log.verify(exported)
    length = log.head().length
    if as_json:
        position = None if broken is None else log.position(broken)
        print(json.dumps({"intact": broken is None, "records": length, "first_broken": position}))
    elif broken is None:
        print(f"All {length} records are as they were written.")
    elif broken >= length and exported is not None:
        print(f"Records are missing at the end: {length} are here, {exported.length} were there.")
    else:
        print(f"Record {log.position(broken)} is not as it was written, or one before it is missing.")
    raise typer.Exit(0 if broken is None else 1)


@app.command("head")
def show_head(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the end of the log, to be kept on paper or in another system."""
    head = _audit(config, data_dir).head()
    if as_json:
        print(json.dumps({"length": head.length, "hash": head.hash.hex()}))
    else:
        print(f"{head.length}:{head.hash.hex()}")


def _parse(text: str) -> Head:
    from hoichan.guard.audit import Head  # noqa: PLC0415

    found = _HEAD.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter("LENGTH:HASH, as `hoichan audit head` says it", param_hint="--head")
    return Head(length=int(found[1]), hash=bytes.fromhex(found[2]))


def _audit(config: Path | None, data_dir: Path | None) -> AuditSql:
    from service.wiring import open_house  # noqa: PLC0415

    return open_house(load(config, data_dir=data_dir)).audit
