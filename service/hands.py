"""What a worker does with the receivers, made from one version of them and taken all together.

An analysis, a delivery or a round that has begun ends with what it began with: a version is made whole, and
then put in the place of the old one. A receiver that has not changed keeps its sink, and what that knows.

A worker that starts leaves out what it cannot make of a receiver of the page, as one whose key file is gone
(`left_out`): reports are still planned for it, and wait. It is tried again by `InForce`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hoichan.adapters.matches_sql import MatchesSql
from hoichan.ports import Encoder, Outliner, Probe, Sink
from hoichan.reporting.forwarding import Courier
from hoichan.settings import AnyDestination
from hoichan.settings.overlay import Overlaid
from service import wiring, wiring_receivers
from service.pacs import knowledge
from service.wiring import House
from service.wiring_receivers import AskedPacs

_V = TypeVar("_V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """All of one version, by the receivers' names."""

    house: House
    destinations: Mapping[str, AnyDestination]
    sinks: Mapping[str, Sink]
    probes: Mapping[str, Probe]
    couriers: Mapping[str, Courier]
    pacs: Mapping[str, AskedPacs]
    encoder: Encoder
    outliner: Outliner
    left_out: Mapping[str, str] = field(default_factory=dict)  # receivers that do not work yet, and why

    @property
    def at_a_time(self) -> Mapping[str, int]:
        """Deliveries that each receiver takes at the same time."""
        return {name: one.at_a_time for name, one in self.destinations.items()}


def of_the_page(laid: Overlaid) -> frozenset[str]:
    """Names of the receivers that were written at the page; one of the file that is wrong stops the start."""
    return frozenset(
        name
        for (part, name), place in laid.places.items()
        if part == "destinations" and place in {"page", "kept"}
    )


def hands_of(house: House, *, may_lack: Container[str] = ()) -> Hands:
    """Raises ConfigurationError, OSError or ValueError for receivers that cannot be put together.

    Those that `may_lack` names are left out instead.
    """
    settings = house.settings
    out = wiring_receivers.lacking(settings, may_lack)
    return Hands(
        house=house,
        destinations={one.name: one for one in settings.effective_destinations},
        sinks=_sinks(house, out),
        probes=wiring_receivers.probes(settings, without=out),
        couriers=wiring_receivers.couriers(settings, without=out),
        pacs=wiring_receivers.pacs(settings, without=out),
        encoder=wiring.encoder(house),
        outliner=wiring.outliner(house),
        left_out=out,
    )


def sinks_of(house: House) -> Mapping[str, Sink]:
    """The sinks alone, in a process of a worker's own: it works with what can be put together."""
    everyone = {one.name for one in house.settings.effective_destinations}
    return _sinks(house, wiring_receivers.lacking(house.settings, everyone))


def _sinks(house: House, without: Mapping[str, str]) -> Mapping[str, Sink]:
    matches = MatchesSql(house.engine, house.clock)
    return wiring_receivers.sinks(house.settings, matches, knowledge(house), without=without)


def renewed(before: Hands, laid: Overlaid) -> Hands:
    """The hands of another version. Raises as `hands_of`, and then the old ones are as they were.

    What was left out may be so again. A receiver that has not changed works on with what was made of it, also
    where its file is gone by now.
    """
    now = {one.name: one for one in laid.settings.effective_destinations}
    same = {name for name, one in now.items() if before.destinations.get(name) == one}
    house = replace(before.house, settings=laid.settings, receivers=laid)
    made = hands_of(house, may_lack=same | before.left_out.keys())
    works = same - before.left_out.keys()
    lost = {
        name for name in works & made.left_out.keys() if name in before.couriers or name not in made.couriers
    }
    works -= made.left_out.keys() - lost
    if laid.settings.forward != before.house.settings.forward:  # what a sink knows may hang on them
        works = lost
    return replace(
        made,
        sinks=_with(made.sinks, before.sinks, works),
        probes=_with(made.probes, before.probes, lost),
        couriers=_with(made.couriers, before.couriers, lost),
        pacs=_with(made.pacs, before.pacs, lost),
        left_out={name: code for name, code in made.left_out.items() if name not in lost},
    )


def _with(made: Mapping[str, _V], before: Mapping[str, _V], names: Container[str]) -> Mapping[str, _V]:
    """What was made anew, but for those that go on with what they had."""
    return {name: before.get(name, one) if name in names else one for name, one in made.items()}
