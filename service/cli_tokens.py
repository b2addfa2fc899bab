"""`hoichan token add|list|revoke`: which programs may ask at the page's port, and for what.

A token is shown once, on standard output; only its digest is kept. Exit code 0 done, 1 refused, 2 used
wrongly.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.guard.scopes import Scope, is_token_name
from hoichan.settings import load

if TYPE_CHECKING:
    from service.wiring import House

app = typer.Typer(no_args_is_help=True, help="Tokens of programs that store, find and retrieve over HTTP.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


def _name(text: str) -> str:
    if not is_token_name(text):
        raise typer.BadParameter("2 to 32 of a-z, 0-9, dot, dash, underscore; a letter first")
    return text


def _scopes(text: str) -> tuple[Scope, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or any(word not in {scope.value for scope in Scope} for word in words):
        raise typer.BadParameter(f"one or more of {', '.join(Scope)}, with commas between")
    return tuple(dict.fromkeys(Scope(word) for word in words))


Name = Annotated[
    str, typer.Argument(help="What the audit log calls the program.", parser=_name, metavar="NAME")
]


@app.command("add")
def add_token(
    name: Name,
    scope: Annotated[
        str, typer.Option("--scope", help=f"What it is for: one or more of {', '.join(Scope)}.")
    ],
    days: Annotated[int, typer.Option("--days", min=0, help="Until when; 0: until it is revoked.")] = 365,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Make a token and show it, this once."""
    scopes = _scopes(scope)
    house = _house(config, data_dir)
    text = house.tokens.add(name, scopes, lifetime=timedelta(days=days) if days else None)
    _record(house, f"token add {name} {','.join(scopes)}")
    print(text)
    print(f"{name} may use it for: {', '.join(scopes)}. It is not shown again.", file=sys.stderr)


@app.command("list")
def list_tokens(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show every token: what it is for, until when, and when it was last used."""
    found = _house(config, data_dir).tokens.tokens()
    if as_json:
        lines = [
            {
                "name": token.name,
                "scopes": list(token.scopes),
                **{
                    when: at.isoformat(timespec="seconds") if (at := getattr(token, when)) else None
                    for when in ("created_at", "expires_at", "last_used_at", "revoked_at")
                },
            }
            for token in found
        ]
        print(json.dumps({"tokens": lines}, ensure_ascii=False))
        return
    for token in found:
        until = f"until {token.expires_at:%Y-%m-%d}" if token.expires_at else "until revoked"
        used = f"used {token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never used"
        state = "revoked" if token.revoked_at else until
        print(f"{token.name:20} {','.join(token.scopes):24} {state:18} {used}")


@app.command("revoke")
def revoke_token(name: Name, config: Config = None, data_dir: DataDir = None) -> None:
    """End a token, at once and for good. Its name is not used again."""
    house = _house(config, data_dir)
    house.tokens.revoke(name)
    _record(house, f"token revoke {name}")
    print(f"{name} can no longer ask.")


def _record(house: House, detail: str) -> None:
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    record(house, Audited.USER_CHANGED, detail=detail)


def _house(config: Path | None, data_dir: Path | None) -> House:
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(load(config, data_dir=data_dir))
    house.audit.check()  # nothing is changed that could not be recorded
    return house
