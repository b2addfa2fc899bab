"""A model package from a folder or a ZIP file onto the site's own shelf: checked first, then moved in whole.

What is added lies in `models/<name>/<version>/` of the data folder. Nothing that is there already is ever
overwritten, and a package that would answer at once is turned away unless somebody asks for that: a new
version begins in shadow (docs/governance.md).
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hoichan.analysis.manifests import MANIFEST_FILE, Check, Scorer, verify
from hoichan.analysis.versions import PACKAGE_FILES, read
from hoichan.analysis.volume_packages import VOLUME_FILE, Outliner, verify_volume_package
from hoichan.errors import ArchiveRefused, ManifestInvalid
from hoichan.intake.archives import is_zip, unpack
from hoichan.types import ModelManifest, VolumeManifest

MAXIMUM_BYTES = 2 * 1024**3  # of one package; the largest film networks have 0.5 GB
MAXIMUM_FILES = 2000
BUNDLE_FILE = "configs/metadata.json"  # of the MONAI bundle specification


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What came of it. `folder` is None where a check failed: then nothing was kept."""

    manifest: ModelManifest | VolumeManifest
    checks: tuple[Check, ...]
    folder: Path | None


def add(
    source: Path,
    models: Path,
    runner: Scorer,
    *,
    live: bool = False,
    more_checks: Callable[[Path], Sequence[Check]] = lambda _: (),
    outliner: Outliner | None = None,
) -> Added:
    """Check the package in `source` and put it onto the shelf `models`.

    `live`: take a package that answers at once too. Raises ManifestInvalid, with one sentence, for what is no
    package or is there already; a package that fails a check comes back with the checks and is not kept.
    """
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=models) as work:
        unpacked = Path(work, "source")
        for inside, content in _files(source):
            place = unpacked / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(place, content)
        root = _root(unpacked, source.name)
        name, version = _called(root)
        staged = Path(work, "package", name, version)
        staged.parent.mkdir(parents=True)
        root.rename(staged)
        manifest = read(staged).manifest
        if manifest.status != "shadow" and not live:
            raise ManifestInvalid(
                f"Model package {name}: its status is {manifest.status!r}, so it would answer live studies "
                'at once. Write status = "shadow" into its manifest (and sign again), or add it with --live.'
            )
        final = models / name / version
        if final.exists():
            raise ManifestInvalid(
                f"Model package {name} {version} is on the shelf already: new weights need a new version."
            )
        if isinstance(manifest, VolumeManifest):
            if outliner is None:
                raise ManifestInvalid(f"Model package {name} is for volumes: nothing here runs it.")
            checked = verify_volume_package(staged, outliner)
        else:
            checked = verify(staged, runner)
        checks = (*checked, *more_checks(staged))
        if not all(check.passed for check in checks):
            return Added(manifest=manifest, checks=checks, folder=None)
        final.parent.mkdir(exist_ok=True)
        staged.rename(final)
        return Added(manifest=manifest, checks=checks, folder=final)


def _files(source: Path) -> Iterator[tuple[PurePosixPath, Iterable[bytes]]]:
    """Relative path and content of each file of a folder or ZIP file, none of which leads out of it."""
    if source.is_dir():
        yield from _of_folder(source)
        return
    try:
        with source.open("rb") as file:
            if not is_zip(file.read(4)):
                raise ManifestInvalid(f"{source.name} is neither a folder nor a ZIP file.")
            file.seek(0)
            for name, content in unpack(file, maximum_bytes=MAXIMUM_BYTES):
                yield PurePosixPath(name.replace("\\", "/")), (content,)
    except ArchiveRefused as error:
        raise ManifestInvalid(f"{source.name} is not unpacked: {error.reason}.") from error
    except OSError as error:
        raise ManifestInvalid(f"{source.name} cannot be read: {os.strerror(error.errno or 0)}.") from error


def _of_folder(source: Path) -> Iterator[tuple[PurePosixPath, Iterable[bytes]]]:
    total = 0
    paths = sorted(p for p in source.rglob("*") if p.is_symlink() or p.is_file())
    if len(paths) > MAXIMUM_FILES:
        raise ManifestInvalid(f"{source.name} holds {len(paths)} files: this is no model package.")
    for path in paths:
        inside = path.relative_to(source)
        if path.is_symlink():
            raise ManifestInvalid(f"{source.name}: {inside} is a link; a package holds its files itself.")
        total += path.stat().st_size
        if total > MAXIMUM_BYTES:
            raise ManifestInvalid(f"{source.name} is not taken: too_large.")
        yield PurePosixPath(inside), _pieces(path)


def _pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces of a megabyte: weights may be larger than the memory that is free."""
    with path.open("rb") as file:
        while piece := file.read(2**20):
            yield piece


def _root(unpacked: Path, called: str) -> Path:
    """The folder with the manifest: the top, or the one folder below it, as ZIP files are often made."""
    tops = [unpacked, *sorted(p for p in unpacked.glob("*") if p.is_dir())]
    found = [top for top in tops if any((top / file).is_file() for file in PACKAGE_FILES)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ManifestInvalid(f"{called} holds more than one {MANIFEST_FILE}: add one package at a time.")
    if any((top / BUNDLE_FILE).is_file() for top in tops):
        raise ManifestInvalid(
            f"{called} is a MONAI bundle without {VOLUME_FILE}: bundles say nothing of codes, of limits and "
            "of the series they are for. Put one beside its configs/, with a card and a golden case "
            "(docs/models.md)."
        )
    raise ManifestInvalid(f"{called} has no {MANIFEST_FILE}: this is no model package.")


def _called(root: Path) -> tuple[str, str]:
    """Name and version as the manifest gives them, fit to be folder names; `load` judges the rest."""
    try:
        file = next(file for file in PACKAGE_FILES if (root / file).is_file())
        model = tomllib.loads((root / file).read_text(encoding="utf-8"))["model"]
        name, version = str(model["name"]), str(model["algorithm_version"])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"{MANIFEST_FILE} is not TOML: {error}.") from error
    except (KeyError, TypeError) as error:
        raise ManifestInvalid(f"{MANIFEST_FILE} lacks model.name or model.algorithm_version.") from error
    for value in (name, version):
        if not value or value.startswith(".") or len(value) > 64 or set(value) & set("/\\\0"):
            raise ManifestInvalid(f"{MANIFEST_FILE}: {value[:64]!r} cannot be the name of a folder.")
    return name, version


def _write(place: Path, pieces: Iterable[bytes]) -> None:
    """On the disk before the package is moved in."""
    with place.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
