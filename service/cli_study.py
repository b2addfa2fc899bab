"""`hoichan study|replay|cancel`: where a study is, repeat it from a step, stop the work on it.

What is printed names studies by their UID; the identifiers of a person stay what the operator typed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import load

if TYPE_CHECKING:
    from hoichan.types import StudyInstanceUID
    from service.wiring import House

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]
Uid = Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID.")]


def study(
    which: Annotated[
        str, typer.Argument(metavar="UID", help="Study Instance UID, accession number or patient identifier.")
    ],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show where a study is and what happened to it."""
    from hoichan.adapters.records_read import ReadingSql  # noqa: PLC0415
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from hoichan.intake.door import is_uid  # noqa: PLC0415
    from service import aside, explain, shell, steering  # noqa: PLC0415

    house = _house(config, data_dir)
    found = steering.find(house, which)
    if not found and is_uid(which) and aside.Quarantine(house).tell():  # what was refused here a moment ago
        found = steering.find(house, which)
    if found and found[0] != which:  # looked for a person or an order, not for a study
        shell.record(house, Audited.QUERIED, detail="study")
    if not found:
        _say("No such study is known here.")
        raise typer.Exit(1)
    if len(found) > 1:
        for one in found:
            print(explain.head(house, one))
        return
    uid = found[0]
    entries = ReadingSql(house.engine, house.objects).told(uid)
    if as_json:
        lines = [{"at": e.at.isoformat(), "event": e.event, **e.details} for e in entries]
        print(json.dumps(lines, ensure_ascii=False))
        return
    if uid != which:
        print(uid)
    for line in explain.trail(entries, house.settings.site.language, house.settings.site.zone):
        print(line)
    print()
    for line in explain.where(house, uid):
        print(line)


def replay(
    uid: Uid,
    config: Config = None,
    data_dir: DataDir = None,
    step: Annotated[
        str, typer.Option("--from", help="assemble, analyse, compose or deliver; without it: what failed.")
    ] = "",
    to: Annotated[str, typer.Option("--to", help="With --from deliver: this receiver only.")] = "",
    now: Annotated[bool, typer.Option("--now", help="Do not wait for work.backlog_hours.")] = False,
) -> None:
    """Repeat what failed, or everything from a step on; nothing is sent twice under two names."""
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service import shell, steering  # noqa: PLC0415

    if step and step not in {one.value for one in steering.Step}:
        raise typer.BadParameter("assemble, analyse, compose or deliver", param_hint="--from")
    house, study_uid = _known(uid, config, data_dir)
    shell.record(house, Audited.SENDING, study_uid, detail=f"replay {step} {to}".strip())
    if step or to:
        chosen = steering.Step(step or "deliver")
        done = steering.replay_from(house, study_uid, chosen, to=to or None, at_once=now)
    else:
        done = steering.replay(house.studies, study_uid)
    released = house.steering.release(study_uid)
    if released:
        print(f"{released} objects that were set aside will be looked at again.")
    elif done.is_empty:
        print("Nothing to repeat: there is nothing open here, or a person has signed.")
    if done.assembled_again:
        print("The images will be put together again, as a new revision.")
    if done.analysed_again is not None:
        when = f" within {house.settings.work.backlog_hours}" if done.waits else ""
        print(f"Revision {done.analysed_again} will be analysed again{when}.")
    if done.composed is not None:
        print(f"The documents are those of the kept report; {done.composed} deliveries were added.")
    if done.deliveries:
        print(f"{done.deliveries} deliveries will be sent again, with the same bytes.")


def cancel(uid: Uid, config: Config = None, data_dir: DataDir = None) -> None:
    """Stop the work on a study: analyses without an answer, and deliveries that are not acknowledged."""
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service import shell  # noqa: PLC0415

    house, study_uid = _known(uid, config, data_dir)
    shell.record(house, Audited.WORK_CANCELLED, study_uid)
    stopped = house.steering.cancel(study_uid)
    if not stopped.revisions and not stopped.deliveries:
        print("Nothing to stop: everything is done, or the images are still coming.")
        raise typer.Exit(1)
    for revision in stopped.revisions:
        print(f"Revision {revision} will not be analysed.")
    if stopped.deliveries:
        print(f"{stopped.deliveries} deliveries will not be sent.")


def _known(uid: str, config: Path | None, data_dir: Path | None) -> tuple[House, StudyInstanceUID]:
    """The house and the UID; exit code 1 when no such study is there."""
    from service import explain  # noqa: PLC0415

    house = _house(config, data_dir)
    study_uid = explain.study_uid(uid)
    if not house.studies.trail(study_uid):
        _say(f"No study {uid} is known here.")
        raise typer.Exit(1)
    return house, study_uid


def _house(config: Path | None, data_dir: Path | None) -> House:
    from service.wiring import open_house  # noqa: PLC0415

    return open_house(load(config, data_dir=data_dir))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
