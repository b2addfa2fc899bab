"""`hoichan user add|list|licence|disable|enable|password`: who may sign in at the page.

A password is read from the terminal, or from the first line of standard input; never from an argument, which
every process of the machine can read. Exit code 0 done, 1 refused, 2 used wrongly.
"""

from __future__ import annotations

import json
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.errors import AccountRefused
from hoichan.guard.passwords import LONGEST, SHORTEST, weakness
from hoichan.guard.roles import ASSIGNABLE, Role
from hoichan.settings import load

if TYPE_CHECKING:
    from service.wiring import House

app = typer.Typer(no_args_is_help=True, help="Accounts of those who sign in at the page.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]
Name = Annotated[str, typer.Argument(help="User name: a-z, 0-9, dot, dash, underscore.")]
FullName = Annotated[str, typer.Option("--full-name", help="Under signatures: “Trần Thị Bình An”.")]
Licence = Annotated[str, typer.Option("--licence", help="Licence to practise (số CCHN); needed to sign.")]
_REASONS = {
    "too_short": f"The password is too short: {SHORTEST} characters at least. A sentence is good.",
    "too_long": f"The password is too long: {LONGEST} characters at most.",
    "too_simple": "The password repeats too few characters.",
    "like_the_name": "The password is the user name with little added.",
}


def _role(text: str) -> Role:
    if text not in {role.value for role in ASSIGNABLE}:
        raise typer.BadParameter(f"one of {', '.join(ASSIGNABLE)}")
    return Role(text)


@app.command("add")
def add_user(
    name: Name,
    role: Annotated[
        Role, typer.Option("--role", parser=_role, metavar="ROLE", help=f"One of {', '.join(ASSIGNABLE)}.")
    ],
    display_name: Annotated[str, typer.Option("--display-name", help="As it is shown: “BS. Trần An”.")] = "",
    full_name: FullName = "",
    licence: Licence = "",
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Add an account. From the first one on the page asks for a sign-in."""
    from hoichan.adapters.passwords import Passwords  # noqa: PLC0415

    house = _house(config, data_dir)
    password = _new_password(name)
    kept = Passwords().hashed(password)
    house.people.add(name, display_name=display_name or name, role=role, password_hash=kept)
    _record(house, f"add {name} {role}")
    if full_name or licence:
        house.people.set_licence(name, full_name=full_name, licence_number=licence)
        _record(house, f"licence {name}")
    print(f"{name} can sign in as {role}.")


@app.command("list")
def list_users(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show every account."""
    found = _house(config, data_dir).people.users()
    if as_json:
        lines = [
            {
                "user_name": user.user_name,
                "display_name": user.display_name,
                "role": user.role,
                "full_name": user.full_name,
                "licence_number": user.licence_number,
                "created_at": user.created_at.isoformat(),
                "disabled_at": user.disabled_at.isoformat() if user.disabled_at else None,
            }
            for user in found
        ]
        print(json.dumps(lines, ensure_ascii=False))
        return
    for user in found:
        state = f"disabled {user.disabled_at:%Y-%m-%d}" if user.disabled_at else ""
        print(f"{user.user_name:<24} {user.role:<12} {user.display_name}  {state}".rstrip())
    if not found:
        print("No account yet: the page needs no sign-in on this machine.", file=sys.stderr)


@app.command("licence")
def set_licence(
    name: Name,
    full_name: FullName = "",
    licence: Licence = "",
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Say who signs: full name and licence number. What was signed before keeps what it was signed with."""
    house = _house(config, data_dir)
    house.people.set_licence(name, full_name=full_name, licence_number=licence)
    _record(house, f"licence {name}")
    print(f"{name} signs as {full_name or name}, {licence}." if licence else f"{name} cannot sign.")


@app.command("disable")
def disable_user(name: Name, config: Config = None, data_dir: DataDir = None) -> None:
    """Close an account and end its sessions. Accounts are never deleted: the audit log speaks of them."""
    house = _house(config, data_dir)
    house.people.disable(name)
    _record(house, f"disable {name}")
    print(f"{name} can no longer sign in.")


@app.command("enable")
def enable_user(name: Name, config: Config = None, data_dir: DataDir = None) -> None:
    """Open a closed account again."""
    house = _house(config, data_dir)
    house.people.enable(name)
    _record(house, f"enable {name}")
    print(f"{name} can sign in again.")


@app.command("password")
def set_password(name: Name, config: Config = None, data_dir: DataDir = None) -> None:
    """Set another password, end every session and every pause of the account."""
    from hoichan.adapters.passwords import Passwords  # noqa: PLC0415

    house = _house(config, data_dir)
    house.people.user(name)
    house.people.set_password(name, Passwords().hashed(_new_password(name)))
    _record(house, f"password {name}")
    print(f"{name} has another password.")


@app.command("role")
def set_role(
    name: Name,
    role: Annotated[
        Role, typer.Argument(parser=_role, metavar="ROLE", help=f"One of {', '.join(ASSIGNABLE)}.")
    ],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Give an account another role; its sessions end."""
    house = _house(config, data_dir)
    house.people.set_role(name, role)
    _record(house, f"role {name} {role}")
    print(f"{name} is {role} now.")


@app.command("facilities")
def bind(
    name: Name,
    codes: Annotated[
        list[str] | None, typer.Argument(help="Codes of [[facilities]]; none: sees nothing.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Sees every facility.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Bind an account to facilities: it sees their studies only."""
    from hoichan.adapters.access_sql import AccessSql  # noqa: PLC0415

    if every and codes:
        raise typer.BadParameter("either codes or --all", param_hint="--all")
    house = _house(config, data_dir)
    senders = {one.code: frozenset(one.senders) for one in house.settings.facilities}
    AccessSql(house.engine, house.clock, senders).bind(name, None if every else codes or [])
    told = "all" if every else ",".join(sorted(codes or [])) or "none"
    _record(house, f"facilities {name} {told}"[:256])
    print(f"{name} sees: {told}.")


@app.command("reset-second-factor")
def reset_second_factor(name: Name, config: Config = None, data_dir: DataDir = None) -> None:
    """Ask for no code any more: where the phone and the recovery codes are lost."""
    from hoichan.adapters.second_factor_sql import SecondFactors  # noqa: PLC0415

    house = _house(config, data_dir)
    house.people.user(name)
    factors = SecondFactors(house.engine, house.clock, lambda: house.audit.derived_key("second factor"))
    had = factors.remove(name)
    _record(house, f"second_factor reset {name}")
    print(f"{name} is asked for no code any more." if had else f"{name} had no second factor.")


def _new_password(user_name: str) -> str:
    if sys.stdin.isatty():
        password = getpass("Password: ")
        if getpass("Once more: ") != password:
            raise AccountRefused("not_the_same", "The two were not the same; nothing was changed.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    reason = weakness(password, user_name)
    if reason is not None:
        raise AccountRefused(reason, _REASONS[reason])
    return password


def _record(house: House, detail: str) -> None:
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    record(house, Audited.USER_CHANGED, detail=detail)


def _house(config: Path | None, data_dir: Path | None) -> House:
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(load(config, data_dir=data_dir))
    house.audit.check()  # nothing is changed that could not be recorded
    return house
