"""`hoichan hold add|remove|list`: what a court or a complaint forbids to remove.

A hold on a patient keeps the studies that come later too. Every change is in the audit log and on the trail
of the studies; the reason is kept in the database only.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import load

if TYPE_CHECKING:
    from hoichan.adapters.retention_sql import RetentionSql
    from service.wiring import House

app = typer.Typer(no_args_is_help=True, help="Legal holds: nothing of the study or patient is removed.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


@app.command("add")
def add(
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who look in ten years.")],
    study: Annotated[str | None, typer.Option("--study", help="Study Instance UID.")] = None,
    patient_id: Annotated[
        str | None, typer.Option("--patient-id", help="Patient ID; - reads it from standard input.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", help="Issuer of Patient ID; without it, whoever issued it.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Keep a study, or every study of a patient, until the hold is removed."""
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.explain import study_uid  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    if (study is None) == (patient_id is None):
        raise typer.BadParameter("either --study or --patient-id")
    uid = study_uid(study) if study is not None else None
    if patient_id == "-":  # not in the list of processes, and not in the shell's history
        patient_id = sys.stdin.readline().strip()
    if patient_id == "" or not reason.strip():
        raise typer.BadParameter("an empty patient ID or reason")
    house, retention = _open(config, data_dir)
    if uid is not None and house.studies.current(uid) is None:
        print(f"No study {uid} is known here.", file=sys.stderr)
        raise typer.Exit(1)
    number = retention.add_hold(
        study=uid,
        patient_id=patient_id,
        issuer=issuer,
        reason=reason.strip(),
        by=_who(),
        at=house.clock.now(),
    )
    record(house, Audited.SETTINGS_CHANGED, *([uid] if uid else []), detail=f"hold {number} added")
    print(f"Hold {number}: nothing of this {'study' if uid else 'patient'} will be removed.")


@app.command("remove")
def remove(
    number: Annotated[int, typer.Argument(help="Number of the hold, as `hoichan hold list` says it.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Lift a hold: the rules count again."""
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    house, retention = _open(config, data_dir)
    if not retention.lift_hold(number, by=_who(), at=house.clock.now()):
        print(f"No hold {number} is in force.", file=sys.stderr)
        raise typer.Exit(1)
    record(house, Audited.SETTINGS_CHANGED, detail=f"hold {number} removed")
    print(f"Hold {number} is lifted.")


@app.command("list")
def list_holds(
    config: Config = None,
    data_dir: DataDir = None,
    everything: Annotated[bool, typer.Option("--all", help="Those too that were lifted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the holds in force."""
    _, retention = _open(config, data_dir)
    found = retention.holds(lifted=everything)
    if as_json:
        keys = ("hold_id", "study_instance_uid", "patient_id", "issuer_of_patient_id", "reason", "added_by")
        rows = [
            {
                **{key: getattr(hold, key) for key in keys},
                "added_at": hold.added_at.isoformat(),
                "lifted_at": hold.lifted_at.isoformat() if hold.lifted_at else None,
            }
            for hold in found
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    for hold in found:
        of = f"study {hold.study_instance_uid}" if hold.study_instance_uid else f"patient {hold.patient_id}"
        lifted = f"  lifted {hold.lifted_at:%Y-%m-%d}" if hold.lifted_at else ""
        print(f"{hold.hold_id:>5}  {hold.added_at:%Y-%m-%d}  {of}  {hold.reason}{lifted}")


def _open(config: Path | None, data_dir: Path | None) -> tuple[House, RetentionSql]:
    from hoichan.adapters.retention_sql import RetentionSql  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(load(config, data_dir=data_dir))
    house.audit.check()  # nothing is changed that could not be recorded
    return house, RetentionSql(house.engine)


def _who() -> str:
    return f"uid:{os.getuid()}"
