"""What a worker does with the receivers, made from one version of them and taken all together.

An analysis, a delivery or a round that has begun ends with what it began with: a version is made whole, and
then put in the place of the old one. A receiver that has not changed keeps its sink, and what that knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hoichan.adapters.matches_sql import MatchesSql
from hoichan.ports import Encoder, Outliner, Probe, Sink
from hoichan.reporting.forwarding import Courier
from hoichan.settings import AnyDestination
from hoichan.settings.overlay import Overlaid
from service import wiring, wiring_receivers
from service.pacs import knowledge
from service.wiring import House


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """All of one version, by the receivers' names."""

    house: House
    destinations: Mapping[str, AnyDestination]
    sinks: Mapping[str, Sink]
    probes: Mapping[str, Probe]
    couriers: Mapping[str, Courier]
    encoder: Encoder
    outliner: Outliner

    @property
    def at_a_time(self) -> Mapping[str, int]:
        """Deliveries that each receiver takes at the same time."""
        return {name: one.at_a_time for name, one in self.destinations.items()}


def hands_of(house: House) -> Hands:
    """Raises ConfigurationError, OSError or ValueError for receivers that cannot be put together."""
    settings = house.settings
    return Hands(
        house=house,
        destinations={one.name: one for one in settings.effective_destinations},
        sinks=sinks_of(house),
        probes=wiring_receivers.probes(settings),
        couriers=wiring_receivers.couriers(settings),
        encoder=wiring.encoder(house),
        outliner=wiring.outliner(house),
    )


def sinks_of(house: House) -> Mapping[str, Sink]:
    """The sinks alone. Raises as `hands_of`."""
    return wiring_receivers.sinks(house.settings, MatchesSql(house.engine, house.clock), knowledge(house))


def renewed(before: Hands, laid: Overlaid) -> Hands:
    """The hands of another version. Raises as `hands_of`, and then the old ones are as they were."""
    made = hands_of(replace(before.house, settings=laid.settings, receivers=laid))
    same = [name for name, one in made.destinations.items() if before.destinations.get(name) == one]
    if laid.settings.forward != before.house.settings.forward:  # what a sink knows may hang on them
        same = []
    return replace(made, sinks={**made.sinks, **{name: before.sinks[name] for name in same}})
