"""`hoichan config`: which receivers and forwarding rules count at the next start, and where each was written.

Exit code 0: all that was written counts; 1: something is passed over; 2: used wrongly.
"""

from __future__ import annotations

import json

import typer

from hoichan.settings import load
from hoichan.settings.overlay import Overlaid
from service.cli_import import AsJson, Config, DataDir

PLACES = {
    "file": "configuration file",
    "page": "page (/receivers)",
    "kept": "page, removed: kept until all is sent",
    "default": "default",
}


def show_config(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show receivers and forwarding rules, and where each was written."""
    from service.receivers import at_the_next_start  # noqa: PLC0415

    laid = at_the_next_start(load(config, data_dir=data_dir))
    if as_json:
        typer.echo(json.dumps(_told(laid), ensure_ascii=False))
    else:
        typer.echo(f"Version of the page: {laid.version or 'none'}")
        for part, entries in (
            ("destination", laid.settings.effective_destinations),
            ("forward", laid.settings.forward),
        ):
            for one in entries:
                place = laid.places["forward" if part == "forward" else "destinations", one.name]
                kind = getattr(one, "kind", "")
                state = "" if one.active else "  off: gets nothing new"
                typer.echo(f"  {part:<12}{one.name:<24}{kind:<10}{PLACES[place]}{state}")
        for wrong in laid.passed_over:
            typer.echo(f"  PASSED OVER {wrong.name:<24}{wrong.code}  {wrong.detail}".rstrip())
    if laid.passed_over:
        raise typer.Exit(1)


def _told(laid: Overlaid) -> dict[str, object]:
    return {
        "version": laid.version,
        "destinations": [
            {
                "name": one.name,
                "kind": one.kind,
                "active": one.active,
                "place": laid.places["destinations", one.name],
            }
            for one in laid.settings.effective_destinations
        ],
        "forward": [
            {
                "name": one.name,
                "to": list(one.to),
                "active": one.active,
                "place": laid.places["forward", one.name],
            }
            for one in laid.settings.forward
        ],
        "passed_over": [
            {"part": one.part, "name": one.name, "code": one.code, "detail": one.detail}
            for one in laid.passed_over
        ],
    }
