"""`hoichan import-film PICTURE`: a photographed or scanned film, with what a person types beside it.

What is not given as an option is asked for, so that a name need not stand in the history of a shell. Exit
code 0: the film is in, or was; 1: it was not taken; 2: used wrongly.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hoichan.errors import IntakeError
from hoichan.privacy import Phi
from hoichan.settings import load
from hoichan.types import StudyInstanceUID
from service.cli_import import AsJson, Config, DataDir, counting, open_spool

SENDER = "FILM"  # stands for the calling AE title
MAXIMUM_BYTES = 256 * 1024**2  # of the picture file
_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")


class Sex(StrEnum):
    """(0010,0040)."""

    M = "M"
    F = "F"
    O = "O"  # noqa: E741  DICOM's own letter: other


def import_film(
    picture: Annotated[Path, typer.Argument(help="PNG or JPEG file.", exists=True, dir_okay=False)],
    patient_id: Annotated[str, typer.Option("--patient-id", prompt="Patient ID")],
    name: Annotated[
        str,
        typer.Option("--name", prompt="Name", help='As written, e.g. "Nguyễn Văn An"; or DICOM\'s A^B^C.'),
    ],
    birth_date: Annotated[
        datetime | None, typer.Option("--birth-date", formats=["%Y-%m-%d"], help="Models need the age.")
    ] = None,
    sex: Annotated[Sex | None, typer.Option("--sex")] = None,
    view: Annotated[str, typer.Option("--view", help="PA, AP, LL, …; empty: unknown.")] = "",
    body_part: Annotated[str, typer.Option("--body-part", help="Body Part Examined.")] = "CHEST",
    modality: Annotated[str, typer.Option("--modality", help="CR, DX, or RG for conventional film.")] = "CR",
    taken: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Of the exposure; else today.")
    ] = None,
    accession: Annotated[str, typer.Option("--accession", help="Accession Number.")] = "",
    study: Annotated[str, typer.Option("--study", help="Study Instance UID that the film belongs to.")] = "",
    inverted: Annotated[bool, typer.Option("--inverted", help="Bright is air, as on a negative.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take in a photographed or scanned film (PNG or JPEG) as a DICOM object that is marked as such."""
    from hoichan.encoding.film import FilmEntry, digitised_film  # noqa: PLC0415
    from hoichan.intake.files import take_in  # noqa: PLC0415

    if study and not (_UID.match(study) and len(study) <= 64):
        raise typer.BadParameter("not a UID", param_hint="--study")
    if picture.stat().st_size > MAXIMUM_BYTES:
        raise typer.BadParameter(f"larger than {MAXIMUM_BYTES >> 20} MiB", param_hint="PICTURE")
    settings = load(config, data_dir=data_dir)
    spool = open_spool(settings)
    film = FilmEntry(
        patient_id=Phi(patient_id),
        patient_name=Phi(name),
        patient_birth_date=Phi(birth_date.date()) if birth_date else None,
        patient_sex=sex.value if sex else None,
        study_date=taken.date() if taken else date.today(),
        accession_number=Phi(accession) if accession else None,
        modality=modality,
        body_part_examined=body_part,
        view_position=view or None,
        study_instance_uid=StudyInstanceUID(study) if study else None,
        inverted=inverted,
    )
    content = digitised_film(picture.read_bytes(), film)
    with counting(settings) as counted:
        stored = take_in(spool, content, calling_ae_title=SENDER, counted=counted)
    if stored.quarantined:
        raise IntakeError("A film with this UID is here with other content: this one was set aside.")
    if as_json:
        print(json.dumps({"study": stored.study_instance_uid, "duplicate": stored.duplicate}))
    else:
        print(f"{'Already here' if stored.duplicate else 'Accepted'}: study {stored.study_instance_uid}")
