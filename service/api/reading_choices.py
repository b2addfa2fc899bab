"""What a reader can choose from: findings and their places, reasons of a rejection, templates."""

from __future__ import annotations

from collections.abc import Mapping

from hoichan import codes
from hoichan.reporting.review_words import REJECTION_REASONS, SITES, TEMPLATES
from hoichan.types import Tier
from service.api.reading_told import SectionsModel, Told

Texts = Mapping[str, str]  # language -> text


class NamedOut(Told):
    """A key and its words."""

    key: str
    names: Texts


class ChoiceOut(NamedOut):
    """A finding that a person may add."""

    tier: Tier
    sites: list[NamedOut]


class TemplateOut(NamedOut):
    """A report to begin with, in one language."""

    sections: SectionsModel


def choices() -> list[ChoiceOut]:
    """Every finding we have a code for, in alphabetical order of its key."""
    sites = [NamedOut(key=one.key, names=dict(one.display)) for one in SITES.values()]
    return [
        ChoiceOut(key=key, names=dict(term.display), tier=term.tier, sites=sites)
        for key, term in sorted(codes.FINDINGS.items())
    ]


def templates(language: str) -> list[TemplateOut]:
    """The templates in one language."""
    return [
        TemplateOut(key=one.key, names=dict(one.names), sections=SectionsModel(**one.sections[language]))
        for one in TEMPLATES
    ]


def reasons() -> list[NamedOut]:
    """Why a finding may be rejected."""
    return [NamedOut(key=key, names=dict(names)) for key, names in REJECTION_REASONS.items()]
