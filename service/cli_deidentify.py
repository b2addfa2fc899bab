"""`hoichan deidentify PATHS --out DIR`: files without their person, for training, teaching, a second opinion.

What may still show a name in its pixels is not written unless somebody takes that on (`--accept-pixel-risk`).
Exit code 0: every DICOM file was written; 1: at least one was not; 2: used wrongly or no usable key.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoichan.errors import ConfigurationError, NotDeidentifiable, StorageUnusable

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from hoichan.guard.options import Options

_KEY_BYTES = 32
DEFAULT_KEY = Path("keys") / "deidentify.key"  # inside the data folder

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


def deidentify(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.", exists=True)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the new files.")],
    keep_dates: Annotated[
        bool, typer.Option("--keep-dates", help="Keep intervals: all dates of a patient move back alike.")
    ] = False,
    shift_times: Annotated[
        bool, typer.Option("--shift-times", help="With --keep-dates: move times of day too.")
    ] = False,
    keep_characteristics: Annotated[
        bool, typer.Option("--keep-characteristics", help="Keep sex, size, weight and age in whole years.")
    ] = False,
    keep_device: Annotated[
        bool, typer.Option("--keep-device", help="Keep maker, model, serial numbers and station names.")
    ] = False,
    clean_descriptions: Annotated[
        bool, typer.Option("--clean-descriptions", help="Keep known medical words of descriptions.")
    ] = False,
    accept_pixel_risk: Annotated[
        bool, typer.Option("--accept-pixel-risk", help="Write images that may show a name in their pixels.")
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="Secret key; made when absent. Keep it, tell nobody.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write DICOM files again without the person they are of (PS3.15, Basic Profile with options)."""
    from rich.progress import Progress  # noqa: PLC0415

    from hoichan.guard.options import Options  # noqa: PLC0415
    from hoichan.settings import load  # noqa: PLC0415

    if shift_times and not keep_dates:
        raise typer.BadParameter("Times can move only with --keep-dates.", param_hint="--shift-times")
    options = Options(
        keep_dates=keep_dates,
        shift_times=shift_times,
        keep_characteristics=keep_characteristics,
        keep_device=keep_device,
        clean_descriptions=clean_descriptions,
    )
    key = load_key(key_file or load(config, data_dir=data_dir).storage.data_dir / DEFAULT_KEY)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it quotes values
    job = _Job(key=key, options=options, out=out, accept_pixel_risk=accept_pixel_risk)
    files = [file for file in _files(paths) if not _is_below(file, out)]
    lines: list[dict[str, Any]] = []
    with Progress(disable=as_json or not sys.stderr.isatty()) as bar:
        task = bar.add_task("Deidentifying", total=len(files))
        for file in files:
            lines.append(job.line(file))
            bar.advance(task)
    _tell(lines, out, as_json)
    raise typer.Exit(1 if any("refused" in line for line in lines) else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One key and one set of options, for many files."""

    key: bytes
    options: Options
    out: Path
    accept_pixel_risk: bool

    def line(self, file: Path) -> dict[str, Any]:
        """Writes one file, or says why not."""
        from pydicom import dcmread  # noqa: PLC0415
        from pydicom.errors import InvalidDicomError  # noqa: PLC0415

        from hoichan.guard.deidentify import deidentify as without_person  # noqa: PLC0415
        from hoichan.guard.reading import UNREADABLE  # noqa: PLC0415

        line: dict[str, Any] = {"path": str(file)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their texts quote values
                done = without_person(dcmread(file), key=self.key, options=self.options)
                line["warnings"] = list(done.warnings)
                if done.burned_in_risk and not self.accept_pixel_risk:
                    return {**line, "refused": "burned_in_risk"}
                return {**line, "written": str(write(done.data_set, self.out).relative_to(self.out))}
        except InvalidDicomError:
            return {**line, "skipped": "not_dicom"}
        except NotDeidentifiable as error:
            return {**line, "refused": error.code, "detail": str(error)}
        except UNREADABLE:
            return {**line, "refused": "unreadable"}


def load_key(file: Path) -> bytes:
    """The key of a file, which is made with a random one when absent. Never printed.

    Raises ConfigurationError where others may read the file or it holds no key, StorageUnusable where it
    cannot be made.
    """
    if not file.exists():
        _make_key(file)
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigurationError(f"{file} can be read by others: chmod 600 {file}")
    try:
        key = bytes.fromhex(file.read_text("ascii").strip())
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{file} holds no key of de-identification.") from error
    if len(key) < _KEY_BYTES:
        raise ConfigurationError(f"{file} holds no key of de-identification.")
    return key


def _make_key(file: Path) -> None:
    """Written beside and linked into place: no half key is ever seen, and of two makers the first wins."""
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(secrets.token_hex(_KEY_BYTES) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(fresh, file)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    except OSError as error:
        raise StorageUnusable(f"{file} cannot be written.") from error


def write(data_set: Dataset, out: Path) -> Path:
    """Under pseudonym and new UIDs: the path names nobody, and a second run writes the same file again."""
    from hoichan.guard.pseudonyms import is_valid_uid  # noqa: PLC0415

    parts = [str(data_set.PatientID)]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        uid = str(data_set.get(keyword) or "")
        parts.append(uid if is_valid_uid(uid) else "none")
    file = out.joinpath(*parts[:-1], f"{parts[-1]}.dcm")
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        data_set.save_as(part, enforce_file_format=True, overwrite=True)
        part.replace(file)
    except OSError as error:
        raise StorageUnusable(f"{out} cannot be written.") from error
    finally:
        part.unlink(missing_ok=True)
    return file


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        else:
            yield path


def _is_below(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _tell(lines: list[dict[str, Any]], out: Path, as_json: bool) -> None:
    """Counts, and a line for each file that was not written; paths are those the caller gave."""
    if as_json:
        print(json.dumps({"files": lines}, ensure_ascii=False))
        return
    written = sum("written" in line for line in lines)
    skipped = sum("skipped" in line for line in lines)
    print(f"{written} of {len(lines) - skipped} DICOM files written to {out}; {skipped} other files skipped")
    for line in lines:
        if "refused" in line:
            why = ", ".join(line.get("warnings", ())) or line.get("detail", "")
            print(f"  {line['path']}  {line['refused']}  {why}".rstrip())
    if any(line.get("refused") == "burned_in_risk" for line in lines):
        print("Look at those images. Where none shows a name: again with --accept-pixel-risk.")
