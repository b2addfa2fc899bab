"""`hoichan model segment|draft`: outlines parts in the series of a folder that fit a package for volumes.

Exit code 0: done, refusals being results; 1: the network failed; 2: used wrongly, or no such package.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hoichan.errors import (
    ConfigurationError,
    HoichanError,
    InputOutOfDomain,
    IntakeError,
    ManifestInvalid,
    RunnerFailed,
)
from hoichan.guard.audit import Audited
from hoichan.settings import Settings, load
from hoichan.types import RefusalCode, Sha256, VolumeManifest

if TYPE_CHECKING:
    from pydicom import Dataset

    from hoichan.adapters.runner_volumes import VolumeRunner
    from hoichan.analysis.volumes import Volume

NOTE = "No reference by age or sex: a volume says nothing about what is usual."
Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data folder; its models/ is searched first.")
]


def segment(
    package: Annotated[str, typer.Argument(help="Name of a package for volumes, or its folder.")],
    study: Annotated[Path, typer.Argument(help="Folder of DICOM files.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the segmentations.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")] = False,
) -> None:
    """Outline parts in the series that fit, and say why the others do not: volumes in ml, and DICOM SEG."""
    from hoichan.adapters.runner_volumes import VolumeRunner  # noqa: PLC0415  --help must not import it
    from hoichan.analysis.volume_packages import load_volume_package  # noqa: PLC0415

    try:
        settings = load(config, data_dir=data_dir)
        folder = volume_folder(package, settings)
        if folder is None:
            raise ManifestInvalid(f"There is no package for volumes named {package!r}.")
        manifest = load_volume_package(folder)
    except (ConfigurationError, ManifestInvalid) as error:
        _stop(error)
    found = _series(study)
    try:
        _record(settings, manifest, found)
    except HoichanError as error:
        _stop(error)
    out.mkdir(parents=True, exist_ok=True)
    work = _Work(manifest, VolumeRunner(), settings, out)
    lines = [work.line(headers) for headers in found]
    if as_json:
        print(json.dumps({
            "name": manifest.name, "version": manifest.algorithm_version, "sha256": manifest.weights_sha256,
            "disclaimer": dict(manifest.disclaimer), "note": NOTE, "series": lines,
        }, ensure_ascii=False))  # fmt: skip
    else:
        for line in lines:
            print(_told(line))
        print(f"{manifest.disclaimer['en']}. {NOTE}")
    raise typer.Exit(1 if any("error" in line for line in lines) else 0)


def _record(settings: Settings, manifest: VolumeManifest, found: Sequence[Sequence[_Header]]) -> None:
    """Into the audit log, before any picture is looked at, where there is a site: which studies it is about.

    A folder of data without a database is no site: nothing is made for it. Raises RecordsUnavailable or
    ConfigurationError; then nothing is outlined.
    """
    from hoichan.intake.door import is_uid  # noqa: PLC0415
    from service import shell  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    storage = settings.storage
    if not storage.database and not (storage.data_dir / "hoichan.sqlite").exists():
        return
    house = open_house(settings)
    try:
        house.audit.check()
        detail = f"segment {manifest.name} {manifest.algorithm_version}"
        named = dict.fromkeys(str(one[0].tags.get("StudyInstanceUID", "")) for one in found)
        for uid in named:
            shell.record(house, Audited.EXPORTED, *([uid] if is_uid(uid) else []), detail=detail)
    finally:
        house.engine.dispose()


def draft_bundle(
    bundle: Annotated[Path, typer.Argument(help="Folder of a MONAI bundle.", exists=True, file_okay=False)],
) -> None:
    """Write a first volume.toml into a MONAI bundle, with marks where the bundle says nothing."""
    from hoichan.analysis.volume_packages import DRAFT_MARK, VOLUME_FILE  # noqa: PLC0415
    from service.model_draft import draft  # noqa: PLC0415

    try:
        text = draft(bundle)
    except ManifestInvalid as error:
        print(str(error), file=sys.stderr)
        raise typer.Exit(2) from None
    place = bundle / VOLUME_FILE
    place.write_text(text, encoding="utf-8")
    marks = sum(DRAFT_MARK in line for line in text.splitlines())
    print(
        f"{place} is written; {marks} lines hold a guess ({DRAFT_MARK}): correct them, then run "
        "`hoichan model verify`."
    )
    print("What it still needs: card.md with its six sections, and golden/*.npz (docs/models.md).")


def volume_folder(package: str, settings: Settings) -> Path | None:
    """Where a package for volumes lies, by folder or by name on the shelves; None: there is none."""
    from hoichan.analysis.manifests import shelf_roots  # noqa: PLC0415
    from hoichan.analysis.volume_packages import VOLUME_FILE  # noqa: PLC0415

    places = [Path(package)]
    if "/" not in package and package not in (".", ".."):
        places += [root / package for root in shelf_roots(settings.storage.data_dir)]
    return next((place for place in places if (place / VOLUME_FILE).is_file()), None)


def volume_manifests(
    settings: Settings,
) -> tuple[tuple[VolumeManifest, ...], tuple[tuple[str, ManifestInvalid], ...]]:
    """The packages for volumes on the shelves, and those that cannot be used with the reason."""
    from hoichan.analysis.manifests import shelf_roots  # noqa: PLC0415
    from hoichan.analysis.versions import find  # noqa: PLC0415

    roots = shelf_roots(settings.storage.data_dir)
    found, invalid = find(roots)
    return (
        tuple(one.manifest for one in found if isinstance(one.manifest, VolumeManifest)),
        tuple((name, error) for name, error in invalid if volume_folder(name, settings) is not None),
    )


@dataclass(frozen=True, slots=True)
class _Header:
    path: Path
    tags: Dataset


class _Work:
    """One package before the series of one folder."""

    def __init__(self, manifest: VolumeManifest, runner: VolumeRunner, settings: Settings, out: Path) -> None:
        self._manifest, self._runner, self._settings, self._out = manifest, runner, settings, out

    def line(self, headers: Sequence[_Header]) -> dict[str, Any]:
        """What is said about one series."""
        from hoichan.analysis.volumes import read_volume  # noqa: PLC0415

        line: dict[str, Any] = {
            "series_instance_uid": str(headers[0].tags.get("SeriesInstanceUID", "")),
            "modality": str(headers[0].tags.get("Modality", "")),
            "objects": len(headers),
        }
        refused = self._reasons([one.tags for one in headers])
        if refused:
            return {**line, "refused": refused}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their text may quote the data set
                return {**line, **self._outlined(headers, read_volume([_whole(one) for one in headers]))}
        except InputOutOfDomain as error:
            return {**line, "refused": [str(error)]}
        except IntakeError as error:
            return {**line, "refused": [f"the header cannot be read: {error.code}"]}
        except RunnerFailed as error:
            return {**line, "error": str(error)}

    def _reasons(self, tags: Sequence[Dataset]) -> list[str]:
        from hoichan.analysis.imaging import DECODING_ERRORS  # noqa: PLC0415
        from hoichan.analysis.volume_selection import misfits  # noqa: PLC0415

        try:
            return list(misfits(tags, self._manifest.accepts))
        except DECODING_ERRORS:
            return ["the header of a slice cannot be read"]

    def _outlined(self, headers: Sequence[_Header], volume: Volume) -> dict[str, Any]:
        from hoichan import __version__  # noqa: PLC0415
        from hoichan.analysis.volumes import millilitres  # noqa: PLC0415
        from hoichan.encoding.seg import encode_seg  # noqa: PLC0415
        from hoichan.encoding.source import shared_header, zone_of  # noqa: PLC0415
        from hoichan.intake.dataset import describe  # noqa: PLC0415

        labels = self._runner.labels(self._manifest, volume.voxels)
        found = millilitres(labels, volume, [one.channel for one in self._manifest.segments])
        by_uid = {str(one.tags.SOPInstanceUID): one for one in headers}
        slices = [by_uid[uid].tags for uid in volume.sop_instance_uids]
        site, now = self._settings.site, datetime.now(UTC)
        study = describe(
            slices[0],
            path=PurePosixPath(headers[0].path.absolute()),
            sha256=Sha256(""),
            received_at=now,
            calling_ae_title="",
            zone=site.zone,
        )
        zone = zone_of(slices[0], site.zone, study.study_datetime or now)
        document = encode_seg(
            shared_header(study, slices[0], zone),
            slices,
            volume.to_slices(labels),
            self._manifest,
            created_at=now,
            zone=zone,
            software_version=__version__,
            facility_code=site.facility_code,
            institution_name=site.name,
        )
        file = None
        if document is not None:
            file = self._out / f"{document.SOPInstanceUID}.dcm"
            if not file.exists():  # the same UID is the same outline: what is there stays
                document.save_as(file, enforce_file_format=True)
        return {
            "volumes_ml": {
                one.display["en"]: round(found[one.channel], 2) for one in self._manifest.segments
            },
            "seg": str(file) if file is not None else None,
        }


def _series(folder: Path) -> list[list[_Header]]:
    """The headers of the DICOM files, by study and series; other files are passed over."""
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    from hoichan.analysis.imaging import DECODING_ERRORS  # noqa: PLC0415

    found: dict[tuple[str, str], list[_Header]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tags = dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, *DECODING_ERRORS):
            continue
        if "SOPInstanceUID" in tags:
            key = (str(tags.get("StudyInstanceUID", "")), str(tags.get("SeriesInstanceUID", "")))
            found.setdefault(key, []).append(_Header(path, tags))
    return list(found.values())


def _whole(header: _Header) -> Dataset:
    """Raises InputOutOfDomain `undecodable_pixels`: the file changed after its header was read."""
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    from hoichan.analysis.imaging import DECODING_ERRORS  # noqa: PLC0415

    try:
        return dcmread(header.path)
    except (InvalidDicomError, *DECODING_ERRORS):
        raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "A slice cannot be read") from None


def _told(line: dict[str, Any]) -> str:
    start = f"{line['series_instance_uid']}  {line['modality']}  {line['objects']} objects"
    if "refused" in line:
        return f"{start}  refused: {'; '.join(line['refused'])}"
    if "error" in line:
        return f"{start}  error: {line['error']}"
    volumes: Iterable[str] = (f"{name} {ml:.2f} ml" for name, ml in line["volumes_ml"].items())
    return f"{start}  {', '.join(volumes)}  {line['seg'] or 'nothing outlined'}"


def _stop(error: HoichanError) -> NoReturn:
    print(str(error), file=sys.stderr)
    raise typer.Exit(2)
