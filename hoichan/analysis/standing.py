"""Which version of each model is live, which run in shadow, and which are frozen: what was decided, applied.

| what lies on the shelf | decided | then |
| --- | --- | --- |
| research or clinical | nothing | live; of several the first found, as long as it is there |
| shadow | nothing | runs on live studies, delivers nothing |
| any | promoted, or rolled back to | live, by its digest; anything else under its name is an error |
| research or clinical, replaced | another was promoted | rests; a rollback takes it up again |
| live | frozen | answers nobody, runs on in shadow, until it is thawed |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from hoichan.analysis.versions import Thresholds, Version, with_thresholds
from hoichan.errors import ManifestInvalid
from hoichan.types import ModelManifest, Patient, VolumeManifest

SHADOW = "shadow"
PROMOTED = "research"  # what a version that came as a shadow is called once it is live


class Action(StrEnum):
    """What a person decides about a model. Stable: stored."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    THRESHOLDS = "thresholds"
    FREEZE = "freeze"
    THAW = "thaw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision. It names what is live after it."""

    at: datetime
    who: str  # user name, or the account of the shell
    action: Action
    model: str  # name of the package
    version: str  # of the package that is live now
    digest: str  # of that package
    thresholds: str | None = None  # digest of those applied; None: the package's own
    reason: str = ""  # an override's or a freeze's
    gates: tuple[Mapping[str, Any], ...] = ()  # what was checked for it


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """One live version."""

    version: Version
    thresholds: Thresholds | None
    frozen: bool

    def volume(self) -> VolumeManifest | None:
        """The manifest of a network for volumes, its status that of a live model; None: one for films."""
        held = self.version.manifest
        if not isinstance(held, VolumeManifest):
            return None
        return replace(held, status=PROMOTED) if held.status == SHADOW else held

    def manifest(self, patient: Patient | None = None) -> ModelManifest:
        """As it answers for a patient: the thresholds applied, its status that of a live model.

        Raises ManifestInvalid for a network for volumes.
        """
        held = with_thresholds(self.version.film, self.thresholds, patient)
        return replace(held, status=PROMOTED) if held.status == SHADOW else held


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All models as they are in use."""

    live: tuple[InUse, ...]
    shadow: tuple[Version, ...]  # those that are asked and never heard

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the live models that answer nobody."""
        return frozenset(one.version.name for one in self.live if one.frozen)

    def manifests(self, patient: Patient | None = None) -> tuple[ModelManifest, ...]:
        """The live models for films, by name, as they are for a patient."""
        return tuple(one.manifest(patient) for one in self.live if one.volume() is None)

    def networks(self) -> tuple[VolumeManifest, ...]:
        """The live networks for volumes, by name."""
        return tuple(found for one in self.live if (found := one.volume()) is not None)

    def named(self, name: str) -> InUse | None:
        """The live version of this model."""
        return next((one for one in self.live if one.version.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    version: str | None = None
    digest: str = ""
    thresholds: str | None = None
    frozen: bool = False


def stand(
    versions: Sequence[Version],
    decisions: Sequence[Decision],
    *,
    thresholds: Mapping[str, Thresholds],
    pins: Mapping[str, str],
    former: Standing | None = None,
) -> Standing:
    """What is in use. `former`: what was before a look at the shelf; no new package goes live by lying there.

    Raises ManifestInvalid where what was decided cannot be done with what is here.
    """
    decided: dict[str, _Decided] = {}
    for one in decisions:
        decided[one.model] = _after(decided.get(one.model, _Decided()), one)
    names = dict.fromkeys([*(v.name for v in versions), *(n for n, d in decided.items() if d.version)])
    live: list[InUse] = []
    for name in sorted(names):
        chosen = _live(name, versions, decided.get(name, _Decided()), former)
        if chosen is None:
            continue
        if name in pins and chosen.digest != pins[name]:
            raise ManifestInvalid(
                f"Model package {name}: its digest is {chosen.digest[:12]}…, but models.pins says "
                f"{pins[name][:12]}…"
            )
        fate = decided.get(name, _Decided())
        live.append(InUse(version=chosen, thresholds=_applied(fate, thresholds), frozen=fate.frozen))
    said = {used.version.digest for used in live if not used.frozen}
    shadow = [v for v in versions if v.manifest.status == SHADOW and v.digest not in said]
    shadow += [used.version for used in live if used.frozen and used.version not in shadow]
    for in_use in live:
        if in_use.thresholds is not None or in_use.volume() is None:
            in_use.manifest()  # thresholds for another version must be told now, not with the first study
    return Standing(live=tuple(live), shadow=tuple(shadow))


def _after(before: _Decided, decision: Decision) -> _Decided:
    match decision.action:
        case Action.FREEZE | Action.THAW:
            return replace(before, frozen=decision.action is Action.FREEZE)
        case _:
            return replace(
                before, version=decision.version, digest=decision.digest, thresholds=decision.thresholds
            )


def _live(name: str, versions: Sequence[Version], fate: _Decided, former: Standing | None) -> Version | None:
    mine = [one for one in versions if one.name == name]
    if fate.version is not None:
        found = next((one for one in mine if one.digest == fate.digest), None)
        if found is None:
            changed = any(one.version == fate.version for one in mine)
            raise ManifestInvalid(
                f"Model {name}: version {fate.version} is in use, but "
                + ("its package was changed since" if changed else "its package is not on this machine")
                + f" (digest {fate.digest[:12]}…); put it back, or promote or roll back to another."
            )
        return found
    before = former.named(name) if former is not None else None
    if before is not None and before.version in mine:
        return before.version
    return next((one for one in mine if one.manifest.status != SHADOW), None)


def _applied(fate: _Decided, thresholds: Mapping[str, Thresholds]) -> Thresholds | None:
    if fate.thresholds is None:
        return None
    if fate.thresholds not in thresholds:
        raise ManifestInvalid(f"The thresholds {fate.thresholds[:12]}… are not on record.")
    return thresholds[fate.thresholds]


def way_back(decisions: Sequence[Decision], name: str) -> Decision | None:
    """The decision whose state a rollback of this model restores: what was live before what is live now.

    None when nothing was before it. The first promotion of a model is written behind a record of what was
    live until then, so that there is a way back.
    """
    stack: list[Decision] = []
    for one in decisions:
        if one.model != name or one.action in {Action.FREEZE, Action.THAW}:
            continue
        if one.action is Action.ROLLBACK:
            stack.pop()
        else:
            stack.append(one)
    return stack[-2] if len(stack) > 1 else None
