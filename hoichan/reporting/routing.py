"""Which models look at a study, and who gets the results: rules of the page, decided by tags alone.

Pure. The first rule that fits decides; where none fits every model is asked and every receiver gets the
result. A rule narrows what the configuration file allows and adds nothing: addresses, secrets and forms are
the file's (ADR-0019).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hoichan.types import ModelManifest, Study

MOST_RULES = 50
_LONGEST = 64  # characters of one pattern
_Patterns = tuple[str, ...]


class Rule(BaseModel):
    """Whatever it names must fit; what it leaves out fits always. `*` and `?` stand for any letters, one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    senders: _Patterns = Field((), max_length=20)  # calling AE titles
    modalities: _Patterns = Field((), max_length=20)
    body_parts: _Patterns = Field((), max_length=20)  # of any series of the study
    models: _Patterns | None = Field(None, max_length=50)  # package names; None: all, (): none
    destinations: _Patterns | None = Field(None, max_length=50)  # names; None: all, (): nobody

    @field_validator("senders", "modalities", "body_parts", mode="after")
    @classmethod
    def _plain(cls, patterns: _Patterns) -> _Patterns:
        if any(not one.strip() or len(one) > _LONGEST or not one.isprintable() for one in patterns):
            raise ValueError("a pattern is 1 to 64 printable characters")
        return tuple(one.strip().upper() for one in patterns)

    def misfits(self, study: Study) -> tuple[str, ...]:
        """Its conditions that the study does not fulfil: senders, modalities, body_parts; () if it fits."""
        told: Mapping[str, tuple[_Patterns, Collection[str]]] = {
            "senders": (self.senders, {study.calling_ae_title}),
            "modalities": (self.modalities, {series.modality for series in study.series}),
            "body_parts": (self.body_parts, {series.body_part_examined or "" for series in study.series}),
        }
        return tuple(
            condition
            for condition, (patterns, values) in told.items()
            if patterns
            and not any(
                fnmatchcase(value.strip().upper(), pattern) for value in values for pattern in patterns
            )
        )


def check(rules: Sequence[Rule], *, models: Collection[str], destinations: Collection[str]) -> None:
    """Raises ValueError with a code for rules that cannot be followed as things stand."""
    if len(rules) > MOST_RULES:
        raise ValueError("too_many")
    if len({rule.name for rule in rules}) < len(rules):
        raise ValueError("same_name")
    for rule in rules:
        if not set(rule.models or ()) <= set(models):
            raise ValueError("unknown_model")
        if not set(rule.destinations or ()) <= set(destinations):
            raise ValueError("unknown_destination")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class _Receiver(_Named, Protocol):
    @property
    def active(self) -> bool: ...


_T = TypeVar("_T", bound=_Receiver)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What the rules say of one study."""

    version: int = 0  # of the rules; 0: none were ever written
    rule: Rule | None = None  # that fits
    had: frozenset[str] = frozenset()  # receivers of earlier results of the study: they get later ones, too

    def models(self, manifests: Iterable[ModelManifest]) -> tuple[ModelManifest, ...]:
        """The models that may look at it."""
        wanted = self.rule.models if self.rule else None
        return tuple(one for one in manifests if wanted is None or one.name in wanted)

    def destinations(self, known: Sequence[_T]) -> tuple[_T, ...]:
        """The receivers of its results.

        Where none of those that the rule names is there any more, all get them: a result that goes
        nowhere by mistake is worse than one that a receiver did not ask for. One that is switched off gets
        corrections of what it has and nothing else.
        """
        active = {one.name for one in known if one.active}
        named = self.rule.destinations if self.rule else None
        chosen = active if named is None or (named and not active & set(named)) else active & set(named)
        return tuple(one for one in known if one.name in chosen or one.name in self.had)


def route(study: Study, rules: Sequence[Rule], *, version: int, had: Collection[str] = ()) -> Route:
    """The first rule that fits decides."""
    fitting = next((rule for rule in rules if not rule.misfits(study)), None)
    return Route(version=version, rule=fitting, had=frozenset(had))


def stored(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """As it stands in the database."""
    return [rule.model_dump(mode="json") for rule in rules]
