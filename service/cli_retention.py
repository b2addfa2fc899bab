"""`hoichan retention`: remove now what the rules let go, or say only what would go, and why the rest stays.

Workers do the same by themselves in the hours of `retention.hours`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.errors import ConfigurationError
from hoichan.settings import load

if TYPE_CHECKING:
    from service.retention import Keeper, Plan
    from service.wiring import House

app = typer.Typer(invoke_without_command=True, help="What images may go, and when.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


@app.callback()
def retention(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove now the images that the rules let go; results and documents always stay."""
    from hoichan.adapters import logs  # noqa: PLC0415

    if context.invoked_subcommand is not None:
        return
    house, keeper = _open(config, data_dir)
    plan = keeper.plan()
    if dry_run:
        _tell(plan, as_json=as_json)
        return
    if not house.settings.retention.enabled:
        raise ConfigurationError("retention.enabled is not set: nothing may be removed. Try --dry-run first.")
    logs.configure("retention")
    done = keeper.finish() + _remove(keeper, len(plan.goes))
    if as_json:
        print(json.dumps({"removed": done, "kept": plan.reasons}))
    else:
        print(f"The images of {done} studies were removed.")


@app.command("classify")
def classify(
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    record_class: Annotated[str, typer.Argument(help="general, accident_or_psychiatry or death.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Say what kind of medical record a study belongs to: its years decide where no PACS has the images."""
    from hoichan.adapters.retention_sql import RetentionSql  # noqa: PLC0415
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from hoichan.reporting.retention import RecordClass  # noqa: PLC0415
    from service.explain import study_uid  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    try:
        chosen = RecordClass(record_class)
    except ValueError:
        raise typer.BadParameter("general, accident_or_psychiatry or death") from None
    study = study_uid(uid)
    house, _ = _open(config, data_dir)
    if house.studies.current(study) is None:
        print(f"No study {study} is known here.", file=sys.stderr)
        raise typer.Exit(1)
    record(house, Audited.SETTINGS_CHANGED, study, detail=f"record class {chosen.value}")
    RetentionSql(house.engine).classify(study, chosen, by=f"uid:{os.getuid()}", at=house.clock.now())
    print(f"{study}: {chosen.value}")


@app.command("spools")
def spools(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show whose quarantine keeps images from removal, and which of these spools is this machine's."""
    from dataclasses import asdict  # noqa: PLC0415

    from hoichan.adapters.spool_identity import identity_of  # noqa: PLC0415
    from hoichan.adapters.spools_sql import SpoolsSql  # noqa: PLC0415

    house, _ = _open(config, data_dir)
    here = identity_of(house.settings.storage.spool_dir)
    found = SpoolsSql(house.engine, house.clock).known()
    if as_json:
        told = [
            {**asdict(one), "last_at": one.last_at.isoformat(), "is_here": one.spool == here} for one in found
        ]
        print(json.dumps(told))
        return
    for one in found:
        at = f"{one.last_at.astimezone(house.settings.site.zone):%Y-%m-%d %H:%M}"
        mark = "  this machine" if one.spool == here else ""
        print(f"{one.spool}  {one.quarantined:>6} in quarantine  {one.set_aside:>4} set aside  {at}{mark}")


@app.command("forget")
def forget(
    spool: Annotated[str, typer.Argument(help="Name of the spool, as `hoichan retention spools` says it.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Forget what lay in the quarantine of a machine that is lost for good; it then holds nothing back."""
    from hoichan.adapters.spool_identity import identity_of  # noqa: PLC0415
    from hoichan.adapters.spools_sql import SpoolsSql  # noqa: PLC0415
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415

    house, _ = _open(config, data_dir)
    if spool == identity_of(house.settings.storage.spool_dir):
        raise ConfigurationError(
            "That is the spool of this machine: look at what lies in its quarantine, and take it out there."
        )
    known = SpoolsSql(house.engine, house.clock)
    if spool not in {one.spool for one in known.known()}:
        print(f"Nothing is known of a spool {spool}.", file=sys.stderr)
        raise typer.Exit(1)
    record(house, Audited.SETTINGS_CHANGED, detail=f"spool {spool} forgotten")
    gone = known.forget(spool)
    if gone is not None:
        print(f"Forgotten: {gone.quarantined} files in quarantine, {gone.set_aside} objects set aside.")


def _remove(keeper: Keeper, expected: int) -> int:
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Removing", total=expected)
        return keeper.remove(progress=lambda: bar.advance(task))


def _tell(plan: Plan, *, as_json: bool) -> None:
    size = sum(one[1] for one in plan.goes)
    if as_json:
        found = {
            "goes": [
                {"study": v.study_instance_uid, "rule": v.rule, "size_bytes": bytes_}
                for v, bytes_ in plan.goes
            ],
            "size_bytes": size,
            "kept": [
                {
                    "study": v.study_instance_uid,
                    "reason": str(v.kept),
                    "until": v.until.isoformat() if v.until else None,
                }
                for v in plan.kept
            ],
            "reasons": plan.reasons,
        }
        print(json.dumps(found))
        return
    for verdict, bytes_ in plan.goes:
        print(f"{verdict.study_instance_uid}  {verdict.rule}  {bytes_ / 1e6:.1f} MB")
    print(f"{len(plan.goes)} studies would lose their images, {size / 1e9:.2f} GB on this machine.")
    for reason, count in plan.reasons.items():
        print(f"{count} stay: {reason}")


def _open(config: Path | None, data_dir: Path | None) -> tuple[House, Keeper]:
    from hoichan.adapters.quarantine_sql import QuarantineSql  # noqa: PLC0415
    from hoichan.adapters.retention_sql import RetentionSql  # noqa: PLC0415
    from service.backup import runs  # noqa: PLC0415
    from service.retention import Keeper  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    settings = load(config, data_dir=data_dir)
    house = open_house(settings)
    house.audit.check()
    keeper = Keeper(
        RetentionSql(house.engine),
        house.spool,
        house.clock,
        settings,
        audit=house.audit,
        busy=lambda: runs(settings.storage.data_dir),
        elsewhere=QuarantineSql(house.engine, house.clock).changed,
    )
    return house, keeper
