"""`hoichan demo`: the main job on a real film, from a modality's C-STORE to the delivered report.

The films are RG1 (an abnormal chest film) and RG3 (a leg, which must be refused) of the public package
pydicom-data. They go over DIMSE to the listener that runs here, like any modality's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hoichan.adapters.scu import Address, Sent, send
from hoichan.errors import ConfigurationError
from hoichan.settings import FolderDestination, Settings
from hoichan.types import DeliveryState, StudyInstanceUID
from service.wiring import House

FILMS = ("RG1_UNCR.dcm", "RG3_UNCR.dcm")
WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one film."""

    study: StudyInstanceUID
    text: str  # the report's conclusion in the site's language
    places: tuple[str, ...]  # where its documents are
    delivered: bool


def films() -> list[Path]:
    """The sample films on this machine. Raises ConfigurationError when they are not installed."""
    from pydicom.data import get_testdata_file  # noqa: PLC0415

    found = [get_testdata_file(name, download=False) for name in FILMS]
    if not all(found):
        raise ConfigurationError(
            "The sample films are missing: install them with `pip install pydicom-data`."
        )
    return [Path(str(path)) for path in found]


def run(house: House, listener: Address, stop: threading.Event, tell: Callable[[str], None]) -> list[Answer]:
    """Send the films and wait for their reports; `tell` gets a line for each step."""
    studies: list[Sent] = []
    for film in films():
        sent = send([film], listener, calling_ae_title="DEMO_CR")[0]
        tell(f"{film.name} -> {listener}: DIMSE status 0x{sent.status:04X}")
        studies.append(sent)
    return [_wait(house, StudyInstanceUID(sent.study_instance_uid), stop) for sent in studies]


def _wait(house: House, study: StudyInstanceUID, stop: threading.Event) -> Answer:
    """The answer to one study, delivered or not when the time is over."""
    from hoichan.adapters.records_read import ReadingSql  # noqa: PLC0415

    reading = ReadingSql(house.engine, house.objects)
    waited = 0.0
    while waited < WAIT_SECONDS and not stop.wait(0.2):
        waited += 0.2
        deliveries = house.studies.deliveries(study)
        if deliveries and all(d.state is DeliveryState.SENT for d in deliveries):
            break
    deliveries = house.studies.deliveries(study)
    report = reading.study(study).entry.report if deliveries else None
    return Answer(
        study=study,
        text=report.conclusion[house.settings.site.language] if report else "",
        places=tuple(_places(house.settings, study, [d.destination for d in deliveries])),
        delivered=bool(deliveries) and all(d.state is DeliveryState.SENT for d in deliveries),
    )


def _places(settings: Settings, study: StudyInstanceUID, names: Sequence[str]) -> list[str]:
    places = []
    for destination in settings.effective_destinations:
        if destination.name not in names:
            continue
        if isinstance(destination, FolderDestination):
            folder = destination.path / study
            places += [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        else:
            places.append(f"{destination.kind} {destination.name}")
    return places
