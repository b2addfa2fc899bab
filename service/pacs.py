"""What is known of the images at each PACS besides its own answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hoichan.adapters.commitment_dimse import CommitmentScu
from hoichan.adapters.images_known import ImagesKnown
from hoichan.settings import AnySource, DicomDestination, DicomwebDestination, DimseSource, Settings
from hoichan.settings.sources import sender_title

if TYPE_CHECKING:
    from service.wiring import House

Pacs = DicomDestination | DicomwebDestination


def knowledge(house: House) -> Mapping[str, ImagesKnown]:
    """By destination, for each that takes DICOM objects."""
    settings = house.settings
    return {
        destination.name: ImagesKnown(
            destination,
            engine=house.engine,
            studies=house.studies,
            spool=house.spool,
            clock=house.clock,
            nameless=[rule.name for rule in settings.forward if rule.deidentify is not None],
            titles=titles_of(destination, settings),
            scu=CommitmentScu(destination, settings.listener.ae_title)
            if isinstance(destination, DicomDestination)
            else None,
        )
        for destination in settings.effective_destinations
        if isinstance(destination, DicomDestination | DicomwebDestination)
    }


def titles_of(destination: Pacs, settings: Settings) -> set[str]:
    """The senders under which images come from this PACS itself."""
    found = {destination.ae_title} if isinstance(destination, DicomDestination) else set()
    return found | {sender_title(source) for source in settings.sources if _is_it(source, destination)}


def _is_it(source: AnySource, destination: Pacs) -> bool:
    if isinstance(source, DimseSource):
        return isinstance(destination, DicomDestination) and (
            source.host,
            source.port,
            source.ae_title.strip(),
        ) == (destination.host, destination.port, destination.ae_title.strip())
    return isinstance(destination, DicomwebDestination) and _base(source.url) == _base(destination.url)


def _base(url: object) -> str:
    return str(url).rstrip("/")
