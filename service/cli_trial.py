"""`hoichan try NAME`: a labelled test study goes to one receiver in every form; what shows makes its profile.

Exit code 0: at least one form of the result got through; 1: none did; 2: used wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from hoichan.errors import ConfigurationError
from hoichan.settings import (
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
    Settings,
    load,
)
from hoichan.settings.profiles import profile_lines, write_profile
from hoichan.types import ModelManifest
from service.cli_import import AsJson, Config, DataDir

QUESTIONS = {
    "sc": "the picture with the banner and a box (series 9002)",
    "gsps": "the box and the words over the film itself (series 9005)",
    "sr": "the structured report, newest class (series 9001)",
    "sr-comprehensive": "the structured report, Comprehensive SR (series 9001)",
    "sr-enhanced": "the structured report, Enhanced SR (series 9001)",
    "seg": "the outline of a block over the MR slices of series 2 (segmentation, series 9003)",
    "seg-fractional": "the same as probabilities, with a soft edge (second segmentation, series 9003)",
    "pdf": "the page as PDF (series 9007)",
}
MESSAGES = {
    "partial": "the report with the status partial, and the words TEST",
    "preliminary": "the report with the status preliminary",
    "r": "the message with the status R (not yet verified), its Vietnamese letters whole",
    "p": "the message with the status P (preliminary), its Vietnamese letters whole",
    "ascii": "the message without Vietnamese letters",
    "pdf": "the message with the page as PDF",
}
TAKEN_BACK = "Are the picture and the newest structured report hidden now"


def try_destination(
    name: Annotated[str, typer.Argument(help="Name of a destination: dicom, dicomweb, fhir or hl7v2.")],
    patient_id: Annotated[
        str, typer.Option("--patient-id", help="Patient ID of the test study; nobody's.")
    ] = "HOICHAN-TEST",
    shows: Annotated[
        str | None,
        typer.Option("--shows", help="Do not ask: what shows, e.g. sc,pdf; kos for what is hidden after it."),
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send a test study in every form to a PACS, EMR or RIS, and write down what it shows."""
    from hoichan.analysis.manifests import discover, shelf_roots  # noqa: PLC0415
    from service.receivers import at_the_next_start  # noqa: PLC0415
    from service.trial import profile, trial  # noqa: PLC0415

    settings = at_the_next_start(load(config, data_dir=data_dir)).settings
    destination = _destination(settings, name)
    manifests = discover(shelf_roots(settings.storage.data_dir)).manifests
    if not manifests:
        raise ConfigurationError(
            "There is no model package whose results could be shown: see `hoichan doctor`."
        )
    say: Callable[[str], None] = (lambda _: None) if as_json else typer.echo
    say(f"A test study named THỬ NGHIỆM, Patient ID {patient_id}, goes to {name}.")
    now = datetime.now(UTC).astimezone(settings.site.zone)
    if not isinstance(destination, DicomDestination | DicomwebDestination):
        _try_messages(settings, destination, manifests[0], now, patient_id, shows, as_json=as_json)
        return
    tried = []
    for one in trial(settings, destination, manifests[0], now=now, patient_id=patient_id):
        say(f"  {one.form:<18}{'stored' if one.stored else 'not stored'}  {one.detail}")
        tried.append(one)
    stored = {one.form for one in tried if one.stored}
    shown = _shown(stored, shows)
    found = profile(stored, shown, took_back="kos" in shown)
    if as_json:
        typer.echo(
            json.dumps({"tried": {one.form: one.detail for one in tried}, "stored": sorted(stored), **found})
        )
    if not stored & set(QUESTIONS):
        raise typer.Exit(1)
    _keep(settings, name, found, say)


def _try_messages(
    settings: Settings,
    destination: FhirDestination | Hl7Destination,
    manifest: ModelManifest,
    now: datetime,
    patient_id: str,
    shows: str | None,
    *,
    as_json: bool,
) -> None:
    """The same for messages; what was sent is taken back at the end."""
    from service.trial_messages import MessageTrial, message_profile  # noqa: PLC0415

    say: Callable[[str], None] = (lambda _: None) if as_json else typer.echo
    say("The patient must be there already under this number, a test patient: nobody is created.")
    run = MessageTrial(settings, destination, manifest, now=now)
    tried = []
    for one in run.send(patient_id):
        say(f"  {one.form:<18}{'taken' if one.stored else 'not taken'}  {one.detail}")
        tried.append(one)
    stored = {one.form for one in tried if one.stored}
    if shows is None and stored:
        typer.echo("Open the test patient there, then answer.")
        shown = {form for form in stored if typer.confirm(f"Does it show {MESSAGES[form]}?", default=False)}
    else:
        shown = stored & {part.strip() for part in (shows or "").split(",")}
    back = list(run.take_back())
    for one in back:
        say(f"  {one.form:<18}{'taken back' if one.stored else 'NOT taken back'}  {one.detail}")
    found = message_profile(destination, shown)
    if as_json:
        told = {one.form: one.detail for one in tried}
        taken_back = sorted(one.form for one in back if one.stored)
        typer.echo(json.dumps({"tried": told, "stored": sorted(stored), "taken_back": taken_back, **found}))
    if not stored:
        raise typer.Exit(1)
    _keep(settings, destination.name, found, say)


def _destination(
    settings: Settings, name: str
) -> DicomDestination | DicomwebDestination | FhirDestination | Hl7Destination:
    for destination in settings.destinations:
        if destination.name == name:
            if not isinstance(destination, FolderDestination):
                return destination
            raise ConfigurationError(f"{name} is a folder; a PACS, an EMR or a RIS can be tried.")
    known = ", ".join(one.name for one in settings.destinations) or "none"
    raise ConfigurationError(f"There is no destination {name!r}; configured: {known}.")


def _shown(stored: set[str], shows: str | None) -> set[str]:
    """What the person says, or has said beforehand."""
    if shows is not None:
        return {part.strip() for part in shows.split(",") if part.strip()}
    typer.echo("Open the test study at the PACS, then answer.")
    shown = {
        form
        for form, words in QUESTIONS.items()
        if form in stored and typer.confirm(f"Does it show {words}?", default=False)
    }
    if "kos" in stored and typer.confirm(f"{TAKEN_BACK}?", default=False):
        shown.add("kos")
    return shown


def _keep(settings: Settings, name: str, found: dict[str, object], say: Callable[[str], None]) -> None:
    """Write the profile, which counts from the next start on."""
    path = write_profile(settings.storage.data_dir, name, found)
    say(f"The profile of {name} is in {path}. It counts from the next start on,")
    say("where its [[destinations]] in the configuration says nothing else:")
    for line in profile_lines(found):
        say(f"  {line}")
