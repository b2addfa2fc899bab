"""`hoichan backup PATH` while the house runs, `hoichan restore PATH` into nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hoichan.errors import RecordsError
from hoichan.settings import Settings, load

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


def backup(
    path: Annotated[Path, typer.Argument(help="A new folder; it will hold patients' data.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole house into a new folder, also while it runs."""
    from service import backup as work  # noqa: PLC0415

    settings = load(config, data_dir=data_dir)
    with _progress("Copying", work.expected_bytes(settings)) as step:
        copied = work.make(settings, path, config, step)
    if as_json:
        told = {"path": str(path), "files": copied.files, "database": copied.with_database}
        print(json.dumps({**told, "missing_objects": _missing(settings)}))
    else:
        print(
            f"{copied.files} files in {path}. Check them at any time: "
            f"cd {path} && sha256sum -c --quiet SHA256SUMS"
        )
    if not copied.with_database:
        print(
            "The PostgreSQL database is not in it. Run pg_dump --format=custom BEFORE this command, so that "
            "no row of the dump speaks of a file that is not in this backup.",
            file=sys.stderr,
        )
    if settings.storage.objects_dir is None:
        print("The bucket of storage.objects is not in it: let the store keep versions.", file=sys.stderr)


def restore(
    path: Annotated[Path, typer.Argument(help="A folder that `hoichan backup` made.", exists=True)],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Check every digest of a backup, and put it where the configuration says; nothing may be there."""
    from service import backup as work  # noqa: PLC0415

    settings = load(config, data_dir=data_dir)
    about = work.about(path)
    with _progress("Checking", work.size_bytes(path)) as step:
        wrong = work.verify(path, step)
    if wrong:
        raise RecordsError(
            f"The backup is damaged: {len(wrong)} files, the first is {wrong[0]}. Nothing was done."
        )
    with _progress("Copying", work.size_bytes(path)) as step:
        copied = work.restore(settings, path, step)
    if about["facility_code"] != settings.site.facility_code:
        print(f"Note: the backup is of facility {about['facility_code']}.", file=sys.stderr)
    if not copied.with_database:
        print("Now put the database back with pg_restore, before anything starts.", file=sys.stderr)
        return
    _check_records(settings)
    print(
        f"{copied.files} files are back in {settings.storage.data_dir}, as of {about['made_at']}. "
        "Start the house."
    )


def _check_records(settings: Settings) -> None:
    """Whether the log is whole and every document that the record speaks of is there. Raises RecordsError."""
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(settings)
    try:
        if house.audit.head().length and house.audit.verify() is not None:
            raise RecordsError("The audit log is not as it was written: run `hoichan audit verify`.")
        missing = _missing(settings)
        if missing:
            raise RecordsError(f"{missing} documents that the record speaks of are not in the backup.")
    finally:
        house.engine.dispose()


def _missing(settings: Settings) -> int:
    """How many documents the record speaks of are not in the object store."""
    import sqlalchemy as sa  # noqa: PLC0415

    from hoichan.adapters.database import open_database  # noqa: PLC0415
    from hoichan.adapters.schema import documents  # noqa: PLC0415
    from hoichan.adapters.stores import open_objects  # noqa: PLC0415

    engine = open_database(settings.storage.database_url)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("documents"):
                return 0
            wanted = set(connection.execute(sa.select(documents.c.sha256).distinct()).scalars())
    finally:
        engine.dispose()
    return len(wanted - set(open_objects(settings.storage).every())) if wanted else 0


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)
