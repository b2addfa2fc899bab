"""`hoichan migrate`: the schema to the version of this program; with --to, a whole site to PostgreSQL.

The move is all or nothing: objects and waiting work go first, which may be repeated, and the records last, in
one transaction that ends with the counts and the chain of the audit log. One that is cut off is begun again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from hoichan.errors import ConfigurationError, RecordsError
from hoichan.settings import Settings, load

if TYPE_CHECKING:
    import sqlite3

    from rich.progress import Progress

    from hoichan.adapters.moving import Moved
    from hoichan.ports import Objects
    from hoichan.types import Sha256

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


class _Done(TypedDict):
    """What a move did; the names are a contract of --json."""

    rows: dict[str, int]  # by table
    work: dict[str, int]  # waiting pieces by queue
    objects: int  # that were not in the store before
    audit_records: int  # verified in the target
    texts_cleaned: int  # held NUL characters, which PostgreSQL cannot keep


def migrate(
    to: Annotated[
        str, typer.Option("--to", help="postgresql://… of an empty database: move the site there.")
    ] = "",
    to_objects: Annotated[
        str,
        typer.Option("--to-objects", help="s3://bucket/prefix or file:///folder: copy the objects there."),
    ] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the version of this program, or move the site to another one."""
    from hoichan.adapters import database  # noqa: PLC0415

    settings = load(config, data_dir=data_dir)
    if not to and not to_objects:
        before = database.migrate(database.open_database(settings.storage.database_url))
        print(f"Database schema: {before or 'empty'} -> {database.HEAD}")
        return
    done = _move(settings, to, to_objects)
    if as_json:
        print(json.dumps(done))
        return
    for table, count in done["rows"].items():
        print(f"{table:<28} {count}")
    for queue, count in done["work"].items():
        print(f"waiting work, {queue:<14} {count}")
    print(f"objects copied               {done['objects']}")
    if done["texts_cleaned"]:
        print(f"texts without NUL now        {done['texts_cleaned']}")
    if to:
        print(f"\nAll counts agree; {done['audit_records']} audit records verified. Now set, and start:")
        print(f'  [storage] database = "{_without_password(to)}"')
    if to_objects:
        print(f'  [storage] objects = "{to_objects}"')


def _move(settings: Settings, to: str, to_objects: str) -> _Done:
    from service.processes import only_one  # noqa: PLC0415

    storage = settings.storage
    if not storage.database_url.startswith("sqlite"):
        raise ConfigurationError("storage.database is no SQLite database: only such a site is moved.")
    url = _target(to) if to else ""
    target = _with_objects(settings, to_objects)
    with only_one(storage.data_dir, wait_seconds=1.0), _progress() as bar:
        if to:
            _prepare(settings, url)
        with _source(settings) as source:
            objects = _copy_objects(source, settings, target, bar) if to_objects else 0
            work: Mapping[str, int] = {}
            moved = None
            if to:
                work = _move_work(settings, url, bar)
                moved = _move_rows(source, settings, url, bar)
                _say_moved(settings, to)
    return _Done(
        rows=moved.rows if moved else {},
        work=dict(work),
        objects=objects,
        audit_records=moved.audit_records if moved else 0,
        texts_cleaned=moved.texts_cleaned if moved else 0,
    )


def _target(to: str) -> str:
    """The URL with the driver that we bring. Raises ConfigurationError for anything but PostgreSQL."""
    import sqlalchemy as sa  # noqa: PLC0415

    try:
        parsed = sa.make_url(to)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError("--to is not a database URL.") from error
    if parsed.get_backend_name() != "postgresql":
        raise ConfigurationError("--to names a PostgreSQL database: postgresql://user@host/name.")
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _with_objects(settings: Settings, to_objects: str) -> Settings:
    if not to_objects:
        return settings
    values = settings.model_dump()
    values["storage"]["objects"] = to_objects
    try:
        return Settings.model_validate(values)
    except ValueError as error:
        raise ConfigurationError("--to-objects: file:///folder or s3://bucket/prefix.") from error


def _prepare(settings: Settings, url: str) -> None:
    """Both databases at the schema of this program; the target with nothing in it."""
    from hoichan.adapters import database, moving  # noqa: PLC0415
    from hoichan.adapters.engine_move import foreign_work  # noqa: PLC0415

    source, target = (database.open_database(one) for one in (settings.storage.database_url, url))
    try:
        moving.require_empty(target)
        if foreign_work(settings.storage.engine_url, url):
            raise ConfigurationError("The target database is not empty: it has the work of another house.")
        database.migrate(source)
        database.migrate(target)
    finally:
        source.dispose()
        target.dispose()


@contextmanager
def _source(settings: Settings) -> Iterator[sqlite3.Connection]:
    import sqlalchemy as sa  # noqa: PLC0415

    from hoichan.adapters import moving  # noqa: PLC0415

    file = sa.make_url(settings.storage.database_url).database
    with moving.held_alone(Path(file or "")) as source:
        yield source


def _move_rows(source: sqlite3.Connection, settings: Settings, url: str, bar: Progress) -> Moved:
    from hoichan.adapters import database, moving  # noqa: PLC0415
    from hoichan.adapters.audit_sql import KEY_FILE  # noqa: PLC0415

    total = sum(moving.rows_to_move(source).values())
    task = bar.add_task("Records", total=total)
    target = database.open_database(url)
    try:
        return moving.move(
            source, target, settings.storage.data_dir / KEY_FILE, lambda _, rows: bar.advance(task, rows)
        )
    finally:
        target.dispose()


def _move_work(settings: Settings, url: str, bar: Progress) -> Mapping[str, int]:
    from hoichan.adapters.engine_move import move_work  # noqa: PLC0415
    from hoichan.adapters.engine_queued import queued  # noqa: PLC0415

    task = bar.add_task("Waiting work", total=sum(queued(settings.storage.engine_url).values()))
    return move_work(settings.storage.engine_url, url, lambda: bar.advance(task))


def _copy_objects(source: sqlite3.Connection, settings: Settings, target: Settings, bar: Progress) -> int:
    """Copy documents, and received objects where the target shares them; how many were new there."""
    from hoichan.adapters.stores import INSTANCES, open_objects  # noqa: PLC0415
    from hoichan.types import Sha256  # noqa: PLC0415

    documents = [digest for (digest,) in source.execute("SELECT DISTINCT sha256 FROM documents")]
    shared = target.storage.shares_instances
    files = list(source.execute("SELECT sha256, path FROM instances")) if shared else []
    task = bar.add_task("Objects", total=len(documents) + len(files))
    old, new = open_objects(settings.storage), open_objects(target.storage)
    copied = 0
    for digest in map(Sha256, documents):
        if not new.has(digest):
            copied += new.put(old.get(digest)) == digest
        bar.advance(task)
    received = open_objects(target.storage, INSTANCES)
    for digest, path in files:
        file = settings.storage.spool_dir / path
        if file.exists() and not received.has(Sha256(digest)):  # its images may have gone by the rules
            copied += _share(file, Sha256(digest), received)
        bar.advance(task)
    return copied


def _share(file: Path, digest: Sha256, received: Objects) -> int:
    """Copy one received object. Raises RecordsError where the disk has changed it."""
    from hoichan.intake.part10 import read_meta  # noqa: PLC0415

    content = file.read_bytes()
    if received.put(content[read_meta(content).offset :]) != digest:
        raise RecordsError(f"The received object {file.stem} is damaged on the disk.")
    return 1


def _say_moved(settings: Settings, to: str) -> None:
    """From now on nothing starts on the old database: a house in two places would lose its unity."""
    note = {"database": _without_password(to), "at": datetime.now(UTC).isoformat()}
    settings.storage.moved_file.write_text(json.dumps(note, indent=1), encoding="utf-8")


def _without_password(url: str) -> str:
    import sqlalchemy as sa  # noqa: PLC0415

    return sa.make_url(url).render_as_string(hide_password=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(disable=not sys.stderr.isatty()) as bar:
        yield bar
