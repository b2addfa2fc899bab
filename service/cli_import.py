"""`hoichan import PATH…`: a CD, a USB stick, a folder or a ZIP archive into the spool.

It writes the spool itself, so it works whether or not anything else runs; the worker finds what came. The
same again is harmless: what is there already is counted as a duplicate. Exit code 0: everything that is DICOM
is in; 1: something was refused or set aside, there was nothing, or no room; 2: used wrongly.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import AeTitle, Settings, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoichan.intake.files import Counted
    from hoichan.ports import Spool

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


def import_files(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, drives or ZIP archives.", exists=True)],
    archives: Annotated[
        bool, typer.Option("--zip", help="Unpack ZIP archives found inside folders, too.")
    ] = False,
    sender: Annotated[str, typer.Option("--from", help="Stands for the sender's AE title.")] = "IMPORT",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take in DICOM files from a CD, a USB stick, a folder or a ZIP archive."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    from service.media import find_files, take_all  # noqa: PLC0415

    try:
        TypeAdapter(AeTitle).validate_python(sender)
    except ValidationError as error:
        raise typer.BadParameter("not an AE title", param_hint="--from") from error
    settings = load(config, data_dir=data_dir)
    spool = open_spool(settings)
    files = find_files(paths, archives=archives)
    with counting(settings) as counted, Progress(disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("Importing", total=len(files))
        tally = take_all(files, spool, sender=sender, progress=lambda: bar.advance(task), counted=counted)
    print(json.dumps(tally.as_json(), ensure_ascii=False) if as_json else "\n".join(tally.lines()))
    raise typer.Exit(0 if tally.good else 1)


@contextmanager
def counting(settings: Settings) -> Iterator[Counted]:
    """Counts what a command takes in, for `/metrics`. What was typed as the sender is no label."""
    from hoichan.adapters.vitals_disk import DiskVitals  # noqa: PLC0415
    from hoichan.intake.files import Counted  # noqa: PLC0415
    from hoichan.meters import Tally  # noqa: PLC0415

    tally = Tally()
    with DiskVitals(settings.storage.spool_dir, "import", tally, {}):
        yield Counted(tally=tally, door="import", sender="IMPORT")


def open_spool(settings: Settings) -> Spool:
    """The spool of these settings, for a command whose answer is its summary and not its log."""
    import structlog  # noqa: PLC0415

    from hoichan.adapters import logs  # noqa: PLC0415
    from hoichan.adapters.spool_disk import DiskSpool  # noqa: PLC0415
    from service.processes import make_data_dir  # noqa: PLC0415

    logs.configure("import")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    make_data_dir(settings.storage.data_dir)
    return DiskSpool(
        settings.storage.spool_dir,
        reserve_bytes=settings.storage.reserve_bytes,
        open_mark_seconds=settings.assembly.cap_seconds,
    )
