"""The command `hoichan`. Exit code 0: done; 1: a check failed; 2: used wrongly or cannot start.

`--help` and shell completion must not wait for libraries: what a command needs it imports itself.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan import __version__
from hoichan.errors import ConfigurationError, HoichanError, ManifestInvalid
from hoichan.settings import Settings, load
from service import (
    cli_audit,
    cli_backup,
    cli_codes,
    cli_config,
    cli_deidentify,
    cli_film,
    cli_forward,
    cli_governance,
    cli_hold,
    cli_import,
    cli_migrate,
    cli_models,
    cli_people,
    cli_quarantine,
    cli_retention,
    cli_score,
    cli_study,
    cli_tokens,
    cli_training,
    cli_trial,
    cli_volumes,
)

if TYPE_CHECKING:
    from service.wiring import House

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Hội Chẩn: AI imaging diagnosis assistance, reviewed by a physician.",
)
app.add_typer(cli_models.app, name="model")
cli_models.app.command("score")(cli_score.score_files)
cli_governance.add_to(cli_models.app)
cli_models.app.command("segment")(cli_volumes.segment)
cli_models.app.command("draft")(cli_volumes.draft_bundle)
app.command("deidentify")(cli_deidentify.deidentify)
app.command("export-training")(cli_training.export_training)
app.command("import")(cli_import.import_files)
app.command("import-film")(cli_film.import_film)
app.add_typer(cli_people.app, name="user")
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_hold.app, name="hold")
app.add_typer(cli_retention.app, name="retention")
app.add_typer(cli_quarantine.app, name="quarantine")
app.command("migrate")(cli_migrate.migrate)
app.command("backup")(cli_backup.backup)
app.command("restore")(cli_backup.restore)
app.command("study")(cli_study.study)
app.command("replay")(cli_study.replay)
app.command("cancel")(cli_study.cancel)
app.add_typer(cli_tokens.app, name="token")
app.add_typer(cli_codes.app, name="codes")
app.add_typer(cli_forward.app, name="forward")
app.command("try")(cli_trial.try_destination)
app.command("config")(cli_config.show_config)

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]
Lifeline = Annotated[bool, typer.Option("--stdin-lifeline", hidden=True)]
ReadyFile = Annotated[Path | None, typer.Option("--ready-file", hidden=True)]


def main() -> None:
    """Run the command; a fault of ours ends in one sentence and an exit code."""
    try:
        app()
    except (ConfigurationError, ManifestInvalid) as error:
        _say(str(error))
        sys.exit(2)
    except HoichanError as error:
        _say(str(error))
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        print(f"hoichan {__version__}")
        raise typer.Exit


@app.command()
def up(config: Config = None, data_dir: DataDir = None) -> None:
    """Start listener, worker and page together, and keep them running."""
    from hoichan.adapters import logs  # noqa: PLC0415
    from service.processes import make_data_dir, stop_event  # noqa: PLC0415
    from service.supervisor import ALWAYS, Supervisor  # noqa: PLC0415

    settings = load(config, data_dir=data_dir)
    make_data_dir(settings.storage.data_dir)
    logs.configure("up")
    stop = stop_event()
    roles = (*ALWAYS, "orders") if settings.orders.enabled else ALWAYS
    supervisor = Supervisor(_arguments(config, data_dir), roles)
    try:
        facts = supervisor.start(stop)
        if facts is None:
            raise typer.Exit(2)
        if not stop.is_set():
            told = f"DICOM: {_door(settings, facts)}  Page: {_page(settings, facts)}"
            if "orders" in facts:
                told += f"  Orders: {settings.orders.host}:{facts['orders']['port']}"
            _say(f"Ready. {told}  Ctrl-C ends it.")
        supervisor.supervise(stop)
    finally:
        supervisor.close()


@app.command()
def demo(
    config: Config = None,
    data_dir: DataDir = None,
    once: Annotated[bool, typer.Option("--once", help="End when both reports are delivered.")] = False,
) -> None:
    """Show the main job on a real film: sent over DICOM, scored, delivered; then keep running."""
    from hoichan.adapters import logs  # noqa: PLC0415
    from hoichan.adapters.scu import Address  # noqa: PLC0415
    from service import demo as demonstration  # noqa: PLC0415
    from service import wiring  # noqa: PLC0415
    from service.processes import make_data_dir, stop_event  # noqa: PLC0415
    from service.supervisor import Supervisor  # noqa: PLC0415

    folder = data_dir or Path("data") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    settings = load(config, data_dir=folder)
    make_data_dir(folder)
    demonstration.films()
    logs.configure("demo")
    stop = stop_event()
    supervisor = Supervisor(_arguments(config, folder))
    try:
        facts = supervisor.start(stop)
        if facts is None:
            raise typer.Exit(2)
        door = Address.parse(_door(settings, facts))
        answers = demonstration.run(wiring.open_house(settings), door, stop, _say)
        page = _page(settings, facts)
        for answer in answers:
            _say(f"\n{answer.text or 'No report yet: look at the page.'}")
            for place in answer.places:
                _say(f"  {place}")
            _say(f"  {page}studies/{answer.study}")
        done = all(answer.delivered for answer in answers)
        if once or stop.is_set():
            raise typer.Exit(0 if done else 1)
        _say(f"\nPage: {page}   DICOM: {door}   Data: {folder}   Ctrl-C ends it.")
        supervisor.supervise(stop)
    finally:
        supervisor.close()


@app.command()
def listen(
    config: Config = None, data_dir: DataDir = None, lifeline: Lifeline = False, ready_file: ReadyFile = None
) -> None:
    """Run the DICOM listener alone."""
    load(config, data_dir=data_dir)
    command = [sys.executable, "-P", "-m", "dicom_listener", *_arguments(config, data_dir)]
    command += ["--stdin-lifeline"] if lifeline else []
    command += ["--ready-file", str(ready_file)] if ready_file else []
    os.execv(sys.executable, command)


@app.command()
def work(
    config: Config = None, data_dir: DataDir = None, lifeline: Lifeline = False, ready_file: ReadyFile = None
) -> None:
    """Run a worker alone: scores studies and delivers reports."""
    from hoichan.adapters import logs  # noqa: PLC0415
    from service import worker  # noqa: PLC0415
    from service.processes import stop_event  # noqa: PLC0415

    settings = load(config, data_dir=data_dir)
    logs.configure("work")
    worker.main(settings, stop=stop_event(stdin_lifeline=lifeline), ready_file=ready_file)


@app.command()
def web(
    config: Config = None, data_dir: DataDir = None, lifeline: Lifeline = False, ready_file: ReadyFile = None
) -> None:
    """Run the page and the API alone."""
    from service import web_main  # noqa: PLC0415

    arguments = _arguments(config, data_dir)
    arguments += ["--stdin-lifeline"] if lifeline else []
    arguments += ["--ready-file", str(ready_file)] if ready_file else []
    raise typer.Exit(web_main.main(arguments))


@app.command()
def orders(
    config: Config = None, data_dir: DataDir = None, lifeline: Lifeline = False, ready_file: ReadyFile = None
) -> None:
    """Run the order door alone: takes HL7 v2 orders and patient updates over MLLP."""
    from service import orders as door  # noqa: PLC0415
    from service.processes import stop_event  # noqa: PLC0415

    settings = load(config, data_dir=data_dir)
    door.main(settings, stop=stop_event(stdin_lifeline=lifeline), ready_file=ready_file)


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files.", exists=True)],
    to: Annotated[str, typer.Option("--to", help="AE@host:port of the receiver.")],
    calling: Annotated[str, typer.Option("--from", help="Our AE title.")] = "HOICHAN_SEND",
) -> None:
    """Send DICOM files to an AE."""
    from rich.progress import Progress  # noqa: PLC0415

    from hoichan.adapters.scu import Address, find_files  # noqa: PLC0415
    from hoichan.adapters.scu import send as send_files  # noqa: PLC0415

    try:
        address = Address.parse(to)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from error
    files = find_files(paths)
    with Progress(disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Sending", total=len(files))
        sent = send_files(files, address, calling_ae_title=calling, progress=lambda: bar.advance(task))
    refused = [one for one in sent if one.status != 0x0000 and one.status & 0xF000 != 0xB000]
    print(f"{len(sent) - len(refused)} of {len(files)} accepted by {address}")
    for one in refused:
        print(f"  {one.sop_instance_uid}  0x{one.status:04X}")
    raise typer.Exit(1 if refused or len(sent) < len(files) else 0)


@app.command()
def status(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show how much is here and what waits; works while nothing else runs."""
    from service.status import status as figures  # noqa: PLC0415

    now = figures(_house(config, data_dir))
    if as_json:
        print(json.dumps(now))
        return
    print(f"instances             {now['instances']}")
    for state, count in sorted(now["studies"].items()):
        print(f"studies {state:<13} {count}")
    for queue, count in sorted(now["queues"].items()):
        print(f"queue {queue:<15} {count}")
    print(f"dead letters          {now['dead_letters']}")
    oldest = now["oldest_undelivered_seconds"]
    print(f"oldest undelivered    {'none' if oldest is None else f'{oldest:.0f} s'}")
    for name, source in now.get("sources", {}).items():
        state = f"fails ({source['error']})" if source["failures"] else "answers"
        print(
            f"source {name:<14} {state}, last contact {source['contacted_at']}, to fetch {source['to_fetch']}"
        )


@app.command()
def doctor(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check disk, database, models, ports and receivers, and say what to do."""
    from service.doctor import examine  # noqa: PLC0415

    checks = examine(load(config, data_dir=data_dir))
    if as_json:
        print(json.dumps([{"check": c.name, "passed": c.passed, "detail": c.detail} for c in checks]))
    else:
        for check in checks:
            print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name:<24} {check.detail}")
    raise typer.Exit(0 if all(check.passed for check in checks) else 1)


def _house(config: Path | None, data_dir: Path | None) -> House:
    from service.wiring import open_house  # noqa: PLC0415

    return open_house(load(config, data_dir=data_dir))


def _arguments(config: Path | None, data_dir: Path | None) -> list[str]:
    arguments = ["--config", str(config)] if config else []
    return [*arguments, "--data-dir", str(data_dir)] if data_dir else arguments


def _door(settings: Settings, facts: dict[str, dict[str, object]]) -> str:
    return f"{settings.listener.ae_title}@{settings.listener.host}:{facts['listen']['port']}"


def _page(settings: Settings, facts: dict[str, dict[str, object]]) -> str:
    scheme = "https" if settings.web.tls else "http"
    return f"{scheme}://{settings.web.host}:{facts['web']['port']}/"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
