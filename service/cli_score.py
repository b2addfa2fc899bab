"""`hoichan model score`: what a package says of files, by the same steps as the service.

Exit code 0 done, 1 a model failed, 2 used wrongly or a package that cannot be used. A refusal is a result:
exit code 0.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoichan.errors import ConfigurationError, InputOutOfDomain, IntakeError, ManifestInvalid, RunnerFailed
from hoichan.settings import Settings
from hoichan.types import ModelManifest, RefusalCode, Sha256
from service.cli_models import AsJson, Config, DataDir, described, film_runner, settings_of, shelf_of, stop

if TYPE_CHECKING:
    from hoichan.adapters.runner_onnx import OnnxRunner


def score_files(
    name: Annotated[str, typer.Argument(help="Name of the package.")],
    paths: Annotated[list[Path], typer.Argument(help="DICOM, PNG or JPEG files, or folders of them.")],
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Score files, one line each: scores by finding key, or the refusal and its reason."""
    settings = settings_of(config, data_dir)
    for path in paths:
        if not path.exists():
            stop(ConfigurationError(f"{path} does not exist."))
    try:
        manifest = shelf_of(settings).named(name)
    except ManifestInvalid as error:
        stop(error)
    scored = _Scoring(manifest, film_runner(), settings)
    failed = False
    lines: list[dict[str, Any]] = []
    for path in _files(paths):
        line = scored.line(path)
        failed |= "error" in line
        lines.append(line)
        if not as_json:
            print(_told(line), flush=True)
    if as_json:
        print(json.dumps({**described(manifest), "files": lines}, ensure_ascii=False))
    raise typer.Exit(1 if failed else 0)


class _Scoring:
    """One package asked about many files, by the same steps as the service."""

    def __init__(self, manifest: ModelManifest, runner: OnnxRunner, settings: Settings) -> None:
        self._manifest = manifest
        self._runner = runner
        self._settings = settings

    def line(self, path: Path) -> dict[str, Any]:
        """What is printed for one file."""
        line: dict[str, Any] = {"path": str(path)}
        try:
            logits, gate, noted = self._picture(path) if _is_picture(path) else self._dicom(path)
        except InputOutOfDomain as error:
            return {**line, "refusal": str(error.reason), "detail": str(error)}
        except RunnerFailed as error:
            return {**line, "error": error.code, "detail": str(error)}
        from hoichan.analysis.findings import probabilities  # noqa: PLC0415

        scores = probabilities(self._manifest, logits)
        present = [o.finding_key for o in self._manifest.outputs
                   if o.enabled and scores[o.finding_key] >= o.operating_point]  # fmt: skip
        rounded = {key: round(p, 4) for key, p in scores.items()}
        return {**line, "scores": rounded, "present": present, "gate": gate, "warnings": list(noted)}

    def _picture(self, path: Path) -> tuple[dict[str, float], float | None, tuple[str, ...]]:
        """A picture has no tags: only the pixel gate decides."""
        from hoichan.analysis.gate import check_gate, check_pixels  # noqa: PLC0415
        from hoichan.analysis.imaging import read_picture  # noqa: PLC0415

        film = read_picture(path)
        check_pixels(film)
        scores = self._runner.score(self._manifest, film)
        gate = None
        if scores.gate:
            gate = round(check_gate(scores.gate, self._manifest.accepts.gate_operating_point), 4)
        return dict(scores.logits), gate, film.warnings

    def _dicom(self, path: Path) -> tuple[dict[str, float], float | None, tuple[str, ...]]:
        from pydicom import dcmread  # noqa: PLC0415
        from pydicom.errors import InvalidDicomError  # noqa: PLC0415

        from hoichan.analysis.imaging import DECODING_ERRORS  # noqa: PLC0415
        from hoichan.analysis.selection import select  # noqa: PLC0415
        from hoichan.intake.dataset import describe  # noqa: PLC0415

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their text may quote the data set
                study = describe(
                    dcmread(path, stop_before_pixels=True),
                    path=PurePosixPath(path.absolute()),
                    sha256=Sha256(""),
                    received_at=datetime.now(UTC),
                    calling_ae_title="",
                    zone=self._settings.site.zone,
                )
        except IntakeError as error:
            raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, error.code) from None
        except (InvalidDicomError, *DECODING_ERRORS):
            raise InputOutOfDomain(RefusalCode.UNDECODABLE_PIXELS, "Neither DICOM nor PNG nor JPEG") from None
        for selection in select([self._manifest], study):
            if selection.refusal is not None:
                raise InputOutOfDomain(selection.refusal.code, selection.refusal.detail)
            result = self._runner.run(self._manifest, study, selection.instance)
            return dict(result.logits), round(result.gate, 4), (*selection.warnings, *result.warnings)
        raise InputOutOfDomain(RefusalCode.NO_IMAGE)


def _is_picture(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(8)
    return start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        else:
            yield path


def _told(line: dict[str, Any]) -> str:
    if "refusal" in line:
        return f"{line['path']}  refused={line['refusal']}  {line['detail']}"
    if "error" in line:
        return f"{line['path']}  error={line['error']}  {line['detail']}"
    scores = " ".join(f"{key}={p:.4f}" for key, p in line["scores"].items())
    return f"{line['path']}  {scores}  present={','.join(line['present']) or 'none'}"
