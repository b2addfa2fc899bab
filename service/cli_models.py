"""`hoichan model list|verify|add|pull`: what is on the shelf, and whether it may be trusted.

Exit code 0 done, 1 a check failed, 2 used wrongly or a package that cannot be used. A refusal is a result:
exit code 0.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hoichan.errors import (
    ConfigurationError,
    HoichanError,
    ManifestInvalid,
)
from hoichan.settings import Settings
from hoichan.settings import load as load_settings
from hoichan.types import ModelManifest, VolumeManifest
from service.cli_volumes import volume_folder, volume_manifests

if TYPE_CHECKING:
    from hoichan.adapters.runner_apart import ApartRunner
    from hoichan.adapters.runner_onnx import OnnxRunner
    from hoichan.analysis.manifests import Check, Shelf

app = typer.Typer(no_args_is_help=True, help="Model packages: list, verify, score files.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data folder; its models/ is searched first.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


@app.callback()
def _quiet() -> None:
    """Model packages: list, verify, score files."""
    import structlog  # noqa: PLC0415

    from hoichan.adapters import logs  # noqa: PLC0415

    if not structlog.is_configured():  # whoever calls us from a program has set it already
        logs.configure("model")
        # the answer is on stdout, one line a file: no line of log for each beside it
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


@app.command("list")
def list_models(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the packages on the shelf, the unusable ones with the reason."""
    settings = settings_of(config, data_dir)
    shelf = shelf_of(settings)
    volumes, unusable = volume_manifests(settings)
    invalid = (*shelf.invalid, *unusable)
    if as_json:
        print(json.dumps({
            "models": [described(manifest) for manifest in shelf.manifests],
            "volumes": [{"name": v.name, "algorithm_version": v.algorithm_version, "status": v.status,
                         "segments": len(v.segments), "disclaimer": dict(v.disclaimer)} for v in volumes],
            "invalid": [{"name": name, "error": str(error)} for name, error in invalid],
        }, ensure_ascii=False))  # fmt: skip
    else:
        for m in shelf.manifests:
            shown = sum(o.enabled for o in m.outputs)
            print(f"{m.name}  {m.algorithm_version}  {m.status}  {shown} of {len(m.outputs)} findings shown  "
                  f"{m.disclaimer.get('en', '')}")  # fmt: skip
        for v in volumes:
            print(f"{v.name}  {v.algorithm_version}  {v.status}  {len(v.segments)} volumes measured  "
                  f"{v.disclaimer.get('en', '')}")  # fmt: skip
        for name, error in invalid:
            print(f"{name}  unusable  {error}")
    raise typer.Exit(1 if invalid else 0)


@app.command("verify")
def verify_models(
    package: Annotated[
        str | None, typer.Argument(help="Name of a package, or its folder; all when absent.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check schema, checksum, card and golden cases."""
    from hoichan.analysis.manifests import load, verify  # noqa: PLC0415  --help must not import onnxruntime
    from service.cli_governance import signature_checks  # noqa: PLC0415

    settings = settings_of(config, data_dir)
    volume = volume_folder(package, settings) if package is not None else None
    shelf = shelf_of(settings)
    try:
        if volume is not None:
            folders = []
        elif package is None:
            for _, error in shelf.invalid:
                raise error
            folders = [Path(m.root) for m in shelf.manifests]
        else:
            folder = Path(package)
            folders = [Path((load(folder) if folder.is_dir() else shelf.named(package)).root)]
    except ManifestInvalid as error:
        stop(error)
    if not folders and volume is None:
        stop(ManifestInvalid("There is no model package to verify."))
    runner = film_runner()
    found = {f.name: (*verify(f, runner), *signature_checks(settings, f)) for f in folders}
    if volume is not None:
        found[volume.resolve().name] = _volume_checks(volume)
    if as_json:
        print(json.dumps({name: [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in checks]
                          for name, checks in found.items()}, ensure_ascii=False))  # fmt: skip
    else:
        for name, checks in found.items():
            for check in checks:
                print(
                    f"{name}  {check.name}  {'passed' if check.passed else 'FAILED'}  {check.detail}".rstrip()
                )
    raise typer.Exit(0 if all(check.passed for checks in found.values() for check in checks) else 1)


@app.command("add")
def add_model(
    source: Annotated[Path, typer.Argument(help="A package: its folder, or a ZIP file of it.")],
    live: Annotated[
        bool, typer.Option("--live", help="Take a package that answers live studies at once, too.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check a package and put it onto this site's shelf, where it begins in shadow."""
    from service.cli_governance import signature_checks  # noqa: PLC0415
    from service.model_add import add  # noqa: PLC0415  --help must not import onnxruntime

    settings = settings_of(config, data_dir)
    try:
        added = add(
            source,
            settings.storage.data_dir / "models",
            film_runner(),
            live=live,
            more_checks=lambda folder: signature_checks(settings, folder),
            outliner=_outliner(settings),
        )
    except ManifestInvalid as error:
        stop(error)
    if added.folder:
        _record_added(settings, added.manifest)
    if as_json:
        print(json.dumps({
            **described(added.manifest),
            "folder": str(added.folder) if added.folder else None,
            "checks": [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in added.checks],
        }, ensure_ascii=False))  # fmt: skip
    else:
        for check in added.checks:
            print(f"{check.name}  {'passed' if check.passed else 'FAILED'}  {check.detail}".rstrip())
        where = f"added to {added.folder}" if added.folder else "not added"
        print(f"{added.manifest.name}  {added.manifest.algorithm_version}  {added.manifest.status}  {where}")
    raise typer.Exit(0 if added.folder else 1)


def _record_added(settings: Settings, manifest: ModelManifest | VolumeManifest) -> None:
    """Put a new package into the audit log."""
    from hoichan.guard.audit import Audited  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(settings)
    try:
        detail = f"add {manifest.name} {manifest.algorithm_version} {manifest.status}"
        record(house, Audited.MODEL_CHANGED, detail=detail)
    finally:
        house.engine.dispose()


@app.command("pull")
def pull_model(
    source: Annotated[str, typer.Argument(help="A public model: xrv:densenet121-res224-all.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the package here instead of onto the shelf.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch a public model, convert and check it, and put it onto this site's shelf, in shadow."""
    import tempfile  # noqa: PLC0415

    from service.cli_governance import signature_checks  # noqa: PLC0415
    from service.model_add import add  # noqa: PLC0415  --help must not import onnxruntime
    from service.model_pull import pull  # noqa: PLC0415

    settings = settings_of(config, data_dir)
    try:
        with tempfile.TemporaryDirectory() as work:
            package = pull(source, out or Path(work))
            if out is not None:
                print(f"written {package}")
                return
            added = add(
                package,
                settings.storage.data_dir / "models",
                film_runner(),
                more_checks=lambda folder: signature_checks(settings, folder),
            )
    except ManifestInvalid as error:
        stop(error)
    for check in added.checks:
        print(f"{check.name}  {'passed' if check.passed else 'FAILED'}  {check.detail}".rstrip())
    print(f"{added.manifest.name}  {added.manifest.algorithm_version}  {added.manifest.status}  "
          f"{added.folder or 'not added'}")  # fmt: skip
    raise typer.Exit(0 if added.folder else 1)


def _outliner(settings: Settings) -> ApartRunner:
    """What runs a network for volumes, of whatever runtime, as the service does."""
    from hoichan.adapters.runner_apart import ApartRunner  # noqa: PLC0415

    return ApartRunner(settings.models)


def described(manifest: ModelManifest | VolumeManifest) -> dict[str, Any]:
    """A package for a machine to read."""
    return {
        "name": manifest.name,
        "algorithm_name": manifest.algorithm_name,
        "version": manifest.algorithm_version,
        "status": manifest.status,
        "sha256": manifest.weights_sha256,
        "disclaimer": dict(manifest.disclaimer),
        "shown": [one.code.code_value for one in manifest.segments]
        if isinstance(manifest, VolumeManifest)
        else [o.finding_key for o in manifest.outputs if o.enabled],
    }


def settings_of(config: Path | None, data_dir: Path | None) -> Settings:
    """The settings; ends with exit code 2 where they cannot be used."""
    try:
        return load_settings(config, data_dir=data_dir)
    except ConfigurationError as error:
        stop(error)


def shelf_of(settings: Settings) -> Shelf:
    """The packages for films on the shelves of this site."""
    from hoichan.analysis.manifests import discover, shelf_roots  # noqa: PLC0415

    return discover(shelf_roots(settings.storage.data_dir))


def film_runner() -> OnnxRunner:
    """What runs a package for films on files."""
    from hoichan.adapters.clock import SystemClock  # noqa: PLC0415
    from hoichan.adapters.runner_onnx import OnnxRunner  # noqa: PLC0415

    return OnnxRunner(Path, SystemClock())


def _volume_checks(folder: Path) -> tuple[Check, ...]:
    from hoichan.adapters.runner_apart import ApartRunner  # noqa: PLC0415
    from hoichan.analysis.volume_packages import verify_volume_package  # noqa: PLC0415
    from hoichan.settings import Models  # noqa: PLC0415

    return verify_volume_package(folder, ApartRunner(Models()))


def stop(error: HoichanError) -> NoReturn:
    """One clear sentence, and exit code 2."""
    print(str(error), file=sys.stderr)
    raise typer.Exit(2)
