"""The whole configuration, read once from TOML and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from hoichan.errors import ConfigurationError
from hoichan.settings.access import Access, Facility, Oidc, check_facilities
from hoichan.settings.audit import AuditRepository, check_repositories
from hoichan.settings.base import Section, is_loopback
from hoichan.settings.destinations import AnyDestination, Destination, FolderDestination
from hoichan.settings.forwarding import Forward, check_rules
from hoichan.settings.listener import Listener
from hoichan.settings.models import Models
from hoichan.settings.notices import Channel, check_channels
from hoichan.settings.orders import Orders
from hoichan.settings.pades import Pades
from hoichan.settings.profiles import apply_profiles
from hoichan.settings.receivers import Credentials, CredentialsName, Receivers
from hoichan.settings.retention import Retention
from hoichan.settings.sources import Source
from hoichan.settings.storage import Site, Storage
from hoichan.settings.web import Folder, Web
from hoichan.settings.work import Assembly, Work

ENVIRONMENT_PREFIX = "HOICHAN_"


class Settings(Section):
    """Everything a process needs to know before it starts."""

    site: Site = Site()
    storage: Storage = Storage()
    listener: Listener = Listener()
    web: Web = Web()
    assembly: Assembly = Assembly()
    work: Work = Work()
    destinations: tuple[Destination, ...] = ()
    folders: tuple[Folder, ...] = ()
    facilities: tuple[Facility, ...] = ()
    access: Access = Access()
    oidc: Oidc | None = None
    forward: tuple[Forward, ...] = ()
    orders: Orders = Orders()
    retention: Retention = Retention()
    sources: tuple[Source, ...] = ()
    models: Models = Models()
    notices: tuple[Channel, ...] = ()
    audit_repositories: tuple[AuditRepository, ...] = ()
    pades: Pades | None = None
    receivers: Receivers = Receivers()
    credentials: Mapping[CredentialsName, Credentials] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _folders_apart(self) -> Settings:
        places = [self.storage.data_dir.absolute(), *(folder.path.absolute() for folder in self.folders)]
        for number, place in enumerate(places):
            for other in places[number + 1 :]:
                if place == other or place in other.parents or other in place.parents:
                    raise ValueError("folders: one lies in another, or in storage.data_dir, or around it")
        return self

    @model_validator(mode="after")
    def _safe(self) -> Settings:
        if not is_loopback(self.listener.host) and not self.listener.senders:
            raise ValueError(
                "listener: open to the network with an empty list of senders; add [[listener.senders]]"
            )
        names = [destination.name for destination in self.destinations]
        if len(names) != len(set(names)):
            raise ValueError("destinations: two of them have the same name")
        check_facilities(self.facilities)
        check_channels(self.notices)
        check_repositories(self.audit_repositories)
        check_rules(self.forward, self.destinations)
        sources = [source.name for source in self.sources]
        if len(sources) != len(set(sources)):
            raise ValueError("sources: two of them have the same name")
        return self

    @property
    def effective_destinations(self) -> tuple[AnyDestination, ...]:
        """The configured destinations; without any, the outbox folder."""
        return self.destinations or (
            FolderDestination(name="outbox", kind="folder", path=self.storage.outbox_dir),
        )


def load(
    config: Path | None = None, *, data_dir: Path | None = None, environment: dict[str, str] | None = None
) -> Settings:
    """Settings from a TOML file, then the environment, then `data_dir`; open points from receivers' profiles.

    Raises ConfigurationError with one sentence a line that says which key is wrong and why.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(config.read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror
            raise ConfigurationError(f"The configuration {config} cannot be read: {reason}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The configuration {config} is not valid TOML: {error}.") from error
    _overlay(values, os.environ if environment is None else environment)
    if data_dir is not None:
        _section(values, "storage")["data_dir"] = str(data_dir)
    named = _section(values, "storage").get("data_dir", Storage().data_dir)
    if isinstance(named, str | Path):
        apply_profiles(values.get("destinations"), Path(named))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    section = values.setdefault(name, {})
    if not isinstance(section, dict):
        raise ConfigurationError(f"Configuration key {name!r} must be a section.")
    return section


def _overlay(values: dict[str, Any], environment: os._Environ[str] | dict[str, str]) -> None:
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        *path, key = variable[len(ENVIRONMENT_PREFIX) :].lower().split("__")
        target = values
        for part in path:
            target = _section(target, part)
        target[key] = text


def _explain(error: ValidationError) -> str:
    """One sentence a fault; the value itself is left out, it may be a secret."""
    sentences = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(str(part) for part in fault["loc"]) or "configuration"
        if fault["type"] == "extra_forbidden":
            sentences.append(f"Unknown configuration key {key!r}: remove it or correct its spelling.")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            sentences.append(f"Configuration key {key!r} is wrong: {message}.")
    return " ".join(sentences)
