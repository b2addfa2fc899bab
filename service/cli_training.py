"""`hoichan export-training --out DIR`: signed reviews as training data, with consent and without persons.

Exit code 0: written; 1: nothing could be written; 2: used wrongly.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


def export_training(
    out: Annotated[Path, typer.Option("--out", help="Folder for films and labels.csv; new or empty.")],
    accept_pixel_risk: Annotated[
        bool, typer.Option("--accept-pixel-risk", help="Write images that may show a name in their pixels.")
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="Secret key of the pseudonyms; made when absent.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write what doctors signed and agreed to train with: films without their person, and labels."""
    from rich.progress import Progress  # noqa: PLC0415

    from hoichan.adapters.evidence_sql import EvidenceSql  # noqa: PLC0415
    from hoichan.settings import load  # noqa: PLC0415
    from service.cli_deidentify import DEFAULT_KEY, load_key  # noqa: PLC0415
    from service.training_export import LABELS_FILE, Export  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    if out.exists() and any(out.iterdir()):
        raise typer.BadParameter("the folder is not empty", param_hint="--out")
    settings = load(config, data_dir=data_dir)
    house = open_house(settings)
    house.audit.check()
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it quotes values
    key = load_key(key_file or settings.storage.data_dir / DEFAULT_KEY)
    export = Export(
        house=house,
        evidence=EvidenceSql(house.engine),
        key=key,
        out=out,
        accept_pixel_risk=accept_pixel_risk,
    )
    with Progress(disable=as_json or not sys.stderr.isatty()) as bar:
        task = bar.add_task("Exporting", total=None)
        about = export.run(lambda done, of: bar.update(task, completed=done, total=of))
    if as_json:
        print(json.dumps(about))
    else:
        print(f"{about['images']} images of {about['patients']} patients: {out / LABELS_FILE}")
        for reason, count in about["left_out"].items():
            print(f"{count} left out: {reason}")
    if not about["images"]:
        print("Nothing was exported: no signed review that its reader gave for training.", file=sys.stderr)
    raise typer.Exit(0 if about["images"] else 1)
