"""Where ports meet adapters, for receivers: what is made of each, by its name.

`without` names those that could not be put together, as one whose key file is gone. In the place of each part
of them stands one that does not answer: results and images for them wait, and nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from hoichan.adapters.matches_sql import MatchesSql
from hoichan.errors import HoichanError, Unreachable
from hoichan.intake.commitments import CommitmentReport
from hoichan.ports import Probe, Sink
from hoichan.settings import (
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
    Settings,
)
from service.outbox import AWAITED

if TYPE_CHECKING:
    from hoichan.adapters.images_there import Knowledge
    from hoichan.reporting.forwarding import Courier, Piece
    from hoichan.types import Delivery, Document
    from service.commitments import Asking


AskedPacs = tuple[DicomDestination, "Asking"]


class NotMade:
    """Sink, probe, courier and asked PACS of a receiver that could not be put together."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> None:
        """Nobody answers."""
        self._say()

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Nothing was taken."""
        self._say()

    def bring(self, pieces: list[Piece]) -> NoReturn:
        """Nothing was taken."""
        self._say()

    def ask(
        self,
        transaction_uid: str,
        references: Sequence[tuple[str, str]],
        *,
        hear: Callable[[CommitmentReport], None],
    ) -> None:
        """Nobody was asked."""
        self._say()

    def _say(self) -> NoReturn:
        raise Unreachable(self._name, AWAITED, not_taken=True)


def lacking(settings: Settings, names: Container[str]) -> Mapping[str, str]:
    """Those of these receivers that cannot be put together, and a code that says why.

    Raises what can pass by itself, as RecordsUnavailable.
    """
    found = {}
    for one in settings.effective_destinations:
        if one.name not in names:
            continue
        rules = tuple(
            rule.model_copy(update={"to": (one.name,)}) for rule in settings.forward if one.name in rule.to
        )
        alone = settings.model_copy(update={"destinations": (one,), "forward": rules})
        try:
            for make in (sinks, probes, couriers, pacs):
                make(alone)
        except Exception as error:
            if isinstance(error, HoichanError) and error.retryable:
                raise
            code = error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"
            found[one.name] = code
    return found


def sinks(
    settings: Settings,
    matches: MatchesSql | None = None,
    knowledge: Mapping[str, Knowledge] | None = None,
    *,
    without: Collection[str] = (),
) -> Mapping[str, Sink]:
    """One sink a destination, by its name.

    `matches` knows what a person said about an EMR's patients, `knowledge` by name which images a PACS has.
    """
    from hoichan.adapters.sink_dicomweb import DicomwebSink  # noqa: PLC0415
    from hoichan.adapters.sink_dimse import DimseSink  # noqa: PLC0415
    from hoichan.adapters.sink_fhir import FhirSink  # noqa: PLC0415
    from hoichan.adapters.sink_folder import FolderSink  # noqa: PLC0415
    from hoichan.adapters.sink_mllp import MllpSink  # noqa: PLC0415

    made: dict[str, Sink] = {name: NotMade(name) for name in without}
    for destination in settings.effective_destinations:
        if destination.name in without:
            continue
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


def probes(settings: Settings, *, without: Collection[str] = ()) -> Mapping[str, Probe]:
    """How to knock at each receiver, by its name."""
    from hoichan.adapters.probes import probe_of  # noqa: PLC0415

    return {
        destination.name: NotMade(destination.name)
        if destination.name in without
        else probe_of(destination, settings.listener.ae_title)
        for destination in settings.effective_destinations
    }


def couriers(settings: Settings, *, without: Collection[str] = ()) -> Mapping[str, Courier]:
    """Who brings images to each receiver that a rule names."""
    from hoichan.adapters.couriers import courier_of  # noqa: PLC0415  only workers pay for it

    destinations = {one.name: one for one in settings.effective_destinations}
    named = dict.fromkeys(name for rule in settings.forward for name in rule.to)
    return {
        name: NotMade(name) if name in without else courier_of(destinations[name], settings.listener.ae_title)
        for name in named
    }


def pacs(settings: Settings, *, without: Collection[str] = ()) -> Mapping[str, AskedPacs]:
    """Who is asked for storage commitment, by name."""
    from hoichan.adapters.commitment_dimse import CommitmentScu  # noqa: PLC0415  only workers pay for it

    return {
        one.name: (
            one,
            NotMade(one.name) if one.name in without else CommitmentScu(one, settings.listener.ae_title),
        )
        for one in settings.effective_destinations
        if isinstance(one, DicomDestination) and one.commitment
    }
