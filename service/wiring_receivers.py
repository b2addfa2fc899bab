"""Where ports meet adapters, for receivers: what is made of each, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hoichan.adapters.matches_sql import MatchesSql
from hoichan.ports import Probe, Sink
from hoichan.settings import (
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
    Settings,
)

if TYPE_CHECKING:
    from hoichan.adapters.commitment_dimse import CommitmentScu
    from hoichan.adapters.images_there import Knowledge
    from hoichan.reporting.forwarding import Courier


def sinks(
    settings: Settings,
    matches: MatchesSql | None = None,
    knowledge: Mapping[str, Knowledge] | None = None,
) -> Mapping[str, Sink]:
    """One sink a destination, by its name.

    `matches` knows what a person said about an EMR's patients, `knowledge` by name which images a PACS has.
    """
    from hoichan.adapters.sink_dicomweb import DicomwebSink  # noqa: PLC0415
    from hoichan.adapters.sink_dimse import DimseSink  # noqa: PLC0415
    from hoichan.adapters.sink_fhir import FhirSink  # noqa: PLC0415
    from hoichan.adapters.sink_folder import FolderSink  # noqa: PLC0415
    from hoichan.adapters.sink_mllp import MllpSink  # noqa: PLC0415

    made: dict[str, Sink] = {}
    for destination in settings.effective_destinations:
        known = (knowledge or {}).get(destination.name)
        match destination:
            case DicomDestination():
                title = destination.calling_ae_title or settings.listener.ae_title
                made[destination.name] = DimseSink(destination, title, knowledge=known)
            case DicomwebDestination():
                made[destination.name] = DicomwebSink(destination, knowledge=known)
            case FhirDestination():
                made[destination.name] = FhirSink(destination, matches)
            case Hl7Destination():
                made[destination.name] = MllpSink(destination)
            case FolderDestination():
                made[destination.name] = FolderSink(destination)
    return made


def probes(settings: Settings) -> Mapping[str, Probe]:
    """How to knock at each receiver, by its name."""
    from hoichan.adapters.probes import probe_of  # noqa: PLC0415

    return {
        destination.name: probe_of(destination, settings.listener.ae_title)
        for destination in settings.effective_destinations
    }


def couriers(settings: Settings) -> Mapping[str, Courier]:
    """Who brings images to each receiver that a rule names."""
    from hoichan.adapters.couriers import courier_of  # noqa: PLC0415  only workers pay for it

    destinations = {one.name: one for one in settings.effective_destinations}
    named = dict.fromkeys(name for rule in settings.forward for name in rule.to)
    return {name: courier_of(destinations[name], settings.listener.ae_title) for name in named}


def pacs(settings: Settings) -> Mapping[str, tuple[DicomDestination, CommitmentScu]]:
    """Who is asked for storage commitment, by name."""
    from hoichan.adapters.commitment_dimse import CommitmentScu  # noqa: PLC0415  only workers pay for it

    return {
        one.name: (one, CommitmentScu(one, settings.listener.ae_title))
        for one in settings.effective_destinations
        if isinstance(one, DicomDestination) and one.commitment
    }
