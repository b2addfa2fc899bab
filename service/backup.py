"""A copy of a whole house, made while it runs, and the way back.

    SHA256SUMS                 of every other file; `sha256sum -c` reads it
    backup.json                what it is: version, schema, facility, counts
    database/*.sqlite          the record and the engine's work, by SQLite's own online backup
    data/                      audit key, objects, spool, notes, the site's models
    hoichan.toml               the configuration, where one was named

The order makes it whole: first the engine, then the record, then the files. A row never speaks of a file that
is not there yet, and work that the engine does not know ended is done again, which changes nothing. Images
are not removed meanwhile (`runs`). A backup holds patients' data and the key of the audit log: folder and
files are for their owner only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from hoichan import __version__
from hoichan.adapters.audit_sql import KEY_FILE
from hoichan.adapters.database import HEAD
from hoichan.errors import ConfigurationError, RecordsError, StorageUnusable
from hoichan.settings import Settings

SUMS, ABOUT, CONFIG = "SHA256SUMS", "backup.json", "hoichan.toml"
ENGINE, RECORD = "database/engine.sqlite", "database/hoichan.sqlite"
_LOCK = "backup.lock"
_PASSING = frozenset({"part", "fresh", "open", "pressure", "vitals", "index"})  # of the spool: remade
_AT_ONCE = 1 << 20  # bytes

Progress = Callable[[int], object]  # bytes since the last call


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a backup or a way back did."""

    files: int
    size_bytes: int
    with_database: bool  # False: PostgreSQL, which has tools of its own


# ----------------------------------------------------------------------------------------------- making
def runs(data_dir: Path) -> bool:
    """Whether a backup of this folder is being made: nothing may be removed from it meanwhile."""
    try:
        with (data_dir / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def expected_bytes(settings: Settings) -> int:
    """About how much a backup will copy."""
    return sum(file.stat().st_size for file, _ in _files(settings) if file.exists())


def make(
    settings: Settings, folder: Path, config: Path | None, progress: Progress = lambda _: None
) -> Copied:
    """Copy the house into a new folder; it appears whole or not at all.

    Raises ConfigurationError where the folder is there already, StorageUnusable where the disk says no.
    """
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already: name a new folder.")
    part = folder.with_name(folder.name + ".part")
    try:
        with _alone(settings.storage.data_dir):
            shutil.rmtree(part, ignore_errors=True)  # of a backup that was cut off
            part.mkdir(mode=0o700, parents=True)
            copied = _fill(settings, part, config, progress)
            os.sync()
            part.rename(folder)
    except OSError as error:
        raise StorageUnusable(f"The backup {folder} cannot be written: {error.strerror}.") from error
    except sqlite3.OperationalError as error:
        raise StorageUnusable(f"The backup {folder} cannot be made: {error}.") from error
    return copied


def _fill(settings: Settings, part: Path, config: Path | None, progress: Progress) -> Copied:
    storage, sums = settings.storage, {}
    engine, record = _sqlite_file(storage.engine_url), _sqlite_file(storage.database_url)
    for name, source in ((ENGINE, engine), (RECORD, record)):
        if source is not None and source.exists():
            target = part / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            _copy_sqlite(source, target)
            sums[name] = _sha256(target)
            progress(target.stat().st_size)
    total = 0
    for file, inside in _files(settings):
        with suppress(FileNotFoundError):  # a note that was answered meanwhile
            sums[str(inside)] = _copy(file, part / inside)
            size = (part / inside).stat().st_size
            total += size
            progress(size)
    if config is not None:
        sums[CONFIG] = _copy(config, part / CONFIG)
    about = {
        "made_at": datetime.now(UTC).isoformat(),
        "program": __version__,
        "schema": _schema(part / RECORD) if RECORD in sums else None,
        "database": "sqlite" if record is not None else "postgresql",
        "facility_code": settings.site.facility_code,
        "objects": "folder" if storage.objects_dir is not None else "bucket",
        "files": len(sums),
    }
    _write(part / ABOUT, json.dumps(about, indent=1).encode())
    sums[ABOUT] = _sha256(part / ABOUT)
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    _write(part / SUMS, lines.encode())
    return Copied(files=len(sums), size_bytes=total, with_database=RECORD in sums)


def _files(settings: Settings) -> Iterator[tuple[Path, PurePosixPath]]:
    """What is copied as it is, and the name it gets; databases apart."""
    storage = settings.storage
    yield storage.data_dir / KEY_FILE, PurePosixPath("data", KEY_FILE)
    folders = [(storage.models_dir, "models")]
    if storage.objects_dir is not None:
        folders.append((storage.objects_dir, "objects"))
    for folder, name in folders:
        for file in _walk(folder):
            yield file, PurePosixPath("data", name, file.relative_to(folder).as_posix())
    spool = storage.spool_dir
    for file in _walk(spool):
        inside = file.relative_to(spool)
        if inside.parts[0] not in _PASSING:
            yield file, PurePosixPath("data", "spool", inside.as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(files) if not name.endswith(".part"))


def _copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy of a database that others write to. Raises RecordsError where it is damaged."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)
        there.execute("PRAGMA journal_mode=DELETE")
        _check_sqlite(there, target)
    target.chmod(0o600)


def _check_sqlite(database: sqlite3.Connection, file: Path) -> None:
    (answer,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        raise RecordsError(f"The database {file.name} is damaged.")


# ----------------------------------------------------------------------------------------- the way back
def about(folder: Path) -> dict[str, Any]:
    """What a backup is. Raises ConfigurationError where it is none, or of a newer program."""
    try:
        found: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder} is no backup: {ABOUT} cannot be read.") from error
    if found.get("schema") is not None and int(found["schema"]) > int(HEAD):
        raise ConfigurationError("The backup was made by a newer program: install that one.")
    return found


def verify(folder: Path, progress: Progress = lambda _: None) -> list[str]:
    """The names of the files that are not as they were written, are missing, or were added."""
    wanted = dict(_sums(folder))
    found = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != SUMS
    }
    wrong = sorted(set(wanted) ^ found)
    for name in sorted(set(wanted) & found):
        if _sha256(folder / name) != wanted[name]:
            wrong.append(name)
        progress((folder / name).stat().st_size)
    return wrong


def size_bytes(folder: Path) -> int:
    """What `verify` reads."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def restore(settings: Settings, folder: Path, progress: Progress = lambda _: None) -> Copied:
    """Put a verified backup where the settings say; nothing may be there.

    Raises ConfigurationError where something is, StorageUnusable where the disk says no.
    """
    target, objects = settings.storage.data_dir.absolute(), _objects_dir(settings)
    names = [name for name in dict(_sums(folder)) if name.startswith("data/")]
    databases = _databases(settings, folder)
    if target.exists() and any(target.iterdir()):
        raise ConfigurationError(f"{target} is not empty: a backup is put back into a new folder only.")
    outside = [place for _, place in databases if target not in place.parents]
    if objects is not None and target not in objects.parents:
        outside.append(objects)
    for place in outside:
        if place.exists() and (place.is_file() or any(place.iterdir())):
            raise ConfigurationError(f"{place} is there already: a backup is put back into nothing only.")
    part = target.with_name(target.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700, parents=True)
        for name in names:
            place = _place(settings, PurePosixPath(name).relative_to("data"), part)
            _copy(folder / name, place)
            progress(place.stat().st_size)
        for source, place in databases:
            inside = part / place.relative_to(target) if target in place.parents else place
            _copy(source, inside)
        os.sync()
        if target.exists():
            target.rmdir()
        part.rename(target)
    except OSError as error:
        raise StorageUnusable(f"{target} cannot be written: {error.strerror}.") from error
    for _, place in databases:
        with closing(sqlite3.connect(place)) as database:
            _check_sqlite(database, place)
    return Copied(files=len(names), size_bytes=size_bytes(target), with_database=bool(databases))


def _place(settings: Settings, name: PurePosixPath, part: Path) -> Path:
    """Where a file of the backup goes: into the new folder, or to where the settings have the objects."""
    objects, target = _objects_dir(settings), settings.storage.data_dir.absolute()
    if name.parts[0] == "objects" and objects is not None and target not in objects.parents:
        return objects.joinpath(*name.parts[1:])
    if name.parts[0] == "objects" and objects is not None:
        return part / objects.relative_to(target) / PurePosixPath(*name.parts[1:])
    return part / name


def _databases(settings: Settings, folder: Path) -> list[tuple[Path, Path]]:
    found = []
    for name, url in ((RECORD, settings.storage.database_url), (ENGINE, settings.storage.engine_url)):
        file = _sqlite_file(url)
        if (folder / name).exists():
            if file is None:
                raise ConfigurationError(
                    "The backup is of SQLite, and storage.database is not: put it back to SQLite, then "
                    "`hoichan migrate --to`."
                )
            found.append((folder / name, file))
    return found


# ------------------------------------------------------------------------------------------------- both
@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    with (data_dir / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError("Another backup of this folder is being made.") from None
        yield


def _sums(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and digest. Raises ConfigurationError for a list that is none, or that leads out of the folder."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(f"{folder} is no backup: {SUMS} cannot be read.") from error
    for line in lines:
        digest, _, name = line.partition("  ")
        path = PurePosixPath(name)
        if len(digest) != 64 or not name or path.is_absolute() or ".." in path.parts:
            raise ConfigurationError(f"{folder}/{SUMS} is damaged.")
        yield name, digest


def _copy(source: Path, target: Path) -> str:
    """Copy with the time that it bears, which says when an object was received; the SHA-256."""
    sha256 = hashlib.sha256()
    with source.open("rb") as read:
        about_it = os.fstat(read.fileno())
        _make_folder(target.parent)
        with target.open("xb") as write:
            os.fchmod(write.fileno(), 0o600)
            while piece := read.read(_AT_ONCE):
                sha256.update(piece)
                write.write(piece)
    os.utime(target, ns=(about_it.st_atime_ns, about_it.st_mtime_ns))
    return sha256.hexdigest()


def _make_folder(folder: Path) -> None:
    """The folder and those above it that are missing, for their owner only."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o600)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _objects_dir(settings: Settings) -> Path | None:
    folder = settings.storage.objects_dir
    return folder.absolute() if folder is not None else None


def _sqlite_file(url: str) -> Path | None:
    parsed = sa.make_url(url)
    return (
        Path(parsed.database).absolute()
        if parsed.get_backend_name() == "sqlite" and parsed.database
        else None
    )


def _schema(file: Path) -> str | None:
    with closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT name FROM sqlite_schema WHERE name = 'alembic_version'").fetchone()
        return (
            str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0]) if found else None
        )
