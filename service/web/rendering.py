"""Templates, message catalogues and the choice of language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from starlette.requests import Request

import hoichan
from hoichan import codes
from hoichan.settings import Site
from service.web.words import Words

_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"
LANGUAGES = ("vi", "en")
COOKIE = "hoichan_lang"


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """The sentences of one language, by dotted key; read once a process."""
    with (_FOLDER / "messages" / f"{language}.toml").open("rb") as file:
        return MappingProxyType(dict(_flat(tomllib.load(file))))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


@cache
def _environment() -> jinja2.Environment:
    """The templates of this program, compiled once a process; they hold nothing of a site."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class Templates:
    """Renders a page in the language of its reader."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._words = {language: Words(language, catalogue(language), site.zone) for language in LANGUAGES}

    def language(self, request: Request) -> str:
        """`?lang=`, then the cookie, then the site's own."""
        for wish in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
            if wish in LANGUAGES:
                return wish
        return self._site.language

    def words(self, language: str) -> Words:
        """The sentences and forms of one language."""
        return self._words[language]

    def render(self, template: str, *, language: str, path: str, **values: object) -> str:
        """The page as text. `path` is where the language switch leads back to."""
        page = _environment().get_template(template)
        return page.render(
            t=self._words[language],
            language=language,
            other_language=next(one for one in LANGUAGES if one != language),
            path=path,
            site=self._site,
            version=hoichan.__version__,
            codes=codes,
            **values,
        )
