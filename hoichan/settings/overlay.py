"""What the page says of receivers, laid over the configuration file (ADR-0021).

The file wins by name. What cannot be followed is passed over and told, and never stops a start: the page is
where it is mended. What was removed and is still owed something stays, gets nothing new, and goes when all of
it has arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from hoichan.ports.receivers import Entry, Owed, ReceiverVersion
from hoichan.settings.destinations import AnyDestination, Destination, FolderDestination
from hoichan.settings.forwarding import Forward, check_rules
from hoichan.settings.loading import Settings
from hoichan.settings.profiles import apply_profiles
from hoichan.settings.receivers import is_among

Part = Literal["destinations", "forward"]
Place = Literal["file", "page", "kept", "default"]
SECRET = ("auth", "tls")  # of an entry: what these hold comes from `[credentials]`
_T = TypeVar("_T")
_DESTINATION: TypeAdapter[AnyDestination] = TypeAdapter(Destination)


class EntryWrong(ValueError):
    """An entry that cannot be followed. `code` is stable; `detail` names keys and never values."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code} {detail}".strip())
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """An entry of the page that does not count, and why."""

    part: Part
    name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaid:
    """Settings with what the page says, and where each entry came from."""

    file: Settings  # without the page
    settings: Settings
    version: int = 0  # of the page; 0: nothing was ever written there
    places: Mapping[tuple[Part, str], Place]
    passed_over: tuple[PassedOver, ...] = ()


def of_file(settings: Settings) -> Overlaid:
    """The file alone."""
    places: dict[tuple[Part, str], Place] = {
        ("destinations", one.name): "file" if settings.destinations else "default"
        for one in settings.effective_destinations
    }
    places |= {("forward", one.name): "file" for one in settings.forward}
    return Overlaid(file=settings, settings=settings, places=places)


def overlay(settings: Settings, versions: Sequence[ReceiverVersion], owed: Owed | None = None) -> Overlaid:
    """Lay the newest version over the file's settings. `versions`: all, the newest first."""
    if not versions:
        return of_file(settings)
    if not settings.receivers.at_page:
        alone = of_file(settings)
        return replace(alone, version=versions[0].version)
    laid = _Laid(settings)
    laid.add(versions[0].destinations, versions[0].forward, "page")
    owed = owed or Owed()
    laid.add(_removed(versions[1:], "destinations", owed.destinations, laid.knows), (), "kept")
    laid.add((), _removed(versions[1:], "forward", owed.rules, laid.knows), "kept")
    return laid.done(versions[0].version)


class _Laid:
    """The file's entries and those of the page that can be followed beside them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._destinations = list(settings.destinations)
        self._forward = list(settings.forward)
        self._places: dict[tuple[Part, str], Place] = {
            ("destinations", one.name): "file" for one in settings.destinations
        }
        self._places |= {("forward", one.name): "file" for one in settings.forward}
        self._passed_over: list[PassedOver] = []

    def knows(self, part: Part, name: str) -> bool:
        """Whether there is an entry of this name, whether it can be followed or not."""
        return (part, name) in self._places or any(
            (one.part, one.name) == (part, name) for one in self._passed_over
        )

    def add(self, destinations: Iterable[Entry], forward: Iterable[Entry], place: Place) -> None:
        """Entries of the page, each on its own: one that is wrong takes no other with it."""
        for entry in destinations:
            self._each("destinations", entry, place, self._destination)
        for entry in forward:
            self._each("forward", entry, place, self._rule)

    def _each(self, part: Part, entry: Entry, place: Place, take: Callable[[Entry], None]) -> None:
        name = str(entry.get("name", ""))
        if place == "kept":
            entry = {**entry, "active": False}
        try:
            if self._places.get((part, name)) == "file":
                raise EntryWrong("in_file")
            if (part, name) in self._places:
                raise EntryWrong("same_name")
            take(entry)
        except EntryWrong as error:
            self._passed_over.append(PassedOver(part=part, name=name, code=error.code, detail=error.detail))
        else:
            self._places[part, name] = place

    def _destination(self, entry: Entry) -> None:
        self._destinations.append(destination_of(entry, self._settings))

    def _rule(self, entry: Entry) -> None:
        rule = rule_of(entry)
        missing = sorted({name for name in rule.to if ("destinations", name) not in self._places})
        if missing:
            raise EntryWrong("unknown_destination", ", ".join(missing))
        try:
            check_rules([*self._forward, rule], self._destinations)
        except ValueError as error:
            raise EntryWrong("mixed", ", ".join(rule.to)) from error
        self._forward.append(rule)

    def done(self, version: int) -> Overlaid:
        """The settings in force. Where the file names no receiver the outbox gets what it is owed."""
        if self._destinations and not self._settings.destinations:
            (outbox,) = self._settings.effective_destinations
            gets_all = all(self._places["destinations", one.name] == "kept" for one in self._destinations)
            self._destinations.append(outbox.model_copy(update={"active": gets_all}))
        if not self._settings.destinations:
            self._places["destinations", "outbox"] = "default"
        return Overlaid(
            file=self._settings,
            settings=self._settings.model_copy(
                update={"destinations": tuple(self._destinations), "forward": tuple(self._forward)}
            ),
            version=version,
            places=self._places,
            passed_over=tuple(self._passed_over),
        )


def destination_of(entry: Entry, settings: Settings) -> AnyDestination:
    """A receiver of the page, with the secrets that it names. Raises EntryWrong."""
    values: dict[str, Any] = dict(entry)
    if values.get("name") == "outbox" and not settings.destinations:
        raise EntryWrong("in_file")
    _without_secrets(values)
    named = values.pop("credentials", None)
    if named is not None:
        credentials = settings.credentials.get(str(named))
        if credentials is None:
            raise EntryWrong("unknown_credentials", str(named))
        values["auth"] = credentials.auth
        if credentials.tls is not None:
            values["tls"] = credentials.tls
        if values.get("kind") in ("dicom", "hl7v2", "folder") and not _takes_no_auth(values):
            raise EntryWrong("credentials_not_taken", str(named))
    apply_profiles([values], settings.storage.data_dir)
    made = checked(_DESTINATION.validate_python, values)
    _require_place(made, settings, settings.receivers.hosts, "host_not_allowed")
    if named is not None:
        _require_place(made, settings, settings.credentials[str(named)].hosts, "credentials_not_for_host")
    return made


def rule_of(entry: Entry) -> Forward:
    """A forwarding rule of the page. Raises EntryWrong."""
    rule = checked(Forward.model_validate, dict(entry))
    if rule.deidentify is not None and rule.deidentify.shift_times and not rule.deidentify.keep_dates:
        raise EntryWrong("malformed", "deidentify.shift_times")
    return rule


def checked(validate: Callable[[Any], _T], values: Mapping[str, Any]) -> _T:
    """What the models of the file make of some values. Raises EntryWrong with the keys that are wrong."""
    try:
        return validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        kinds = ("dicom", "dicomweb", "fhir", "hl7v2", "folder")
        keys = [".".join(str(part) for part in one["loc"] if part not in kinds) for one in faults]
        raise EntryWrong("malformed", ", ".join(dict.fromkeys(key or "kind" for key in keys))) from None


def _without_secrets(values: dict[str, Any]) -> None:
    """`tls = {}` asks for TLS by the authorities of the system; everything else is the file's."""
    if values.get("auth") is not None or values.get("tls") not in (None, {}):
        raise EntryWrong("secret")


def _takes_no_auth(values: dict[str, Any]) -> bool:
    """Of DICOM and HL7 the certificates count; a password has nowhere to go."""
    auth = values.pop("auth")
    return bool(values["kind"] != "folder" and auth.kind == "none")


def _require_place(made: AnyDestination, settings: Settings, hosts: Sequence[str], code: str) -> None:
    if isinstance(made, FolderDestination):
        _require_folder(made.path, settings)
        return
    url = getattr(made, "url", None)
    if url is not None and (url.username or url.password or url.query or url.fragment):
        raise EntryWrong("secret", "url")
    host = str(url.host or "") if url is not None else str(getattr(made, "host", ""))
    if not is_among(host, hosts):
        raise EntryWrong(code)


def _require_folder(path: Path, settings: Settings) -> None:
    """Below the outbox, or a folder that the file lists: links and `..` are followed first."""
    allowed = (settings.storage.outbox_dir, *settings.receivers.folders)
    place = path.resolve()
    if not path.is_absolute() or not any(one.resolve() in (place, *place.parents) for one in allowed):
        raise EntryWrong("folder_not_allowed")


def _removed(
    versions: Sequence[ReceiverVersion], part: Part, names: Iterable[str], knows: Callable[[Part, str], bool]
) -> list[Entry]:
    """The entries of some names that are there no more, as they stood last."""
    found: dict[str, Entry] = {}
    for version in versions:
        for entry in version.destinations if part == "destinations" else version.forward:
            found.setdefault(str(entry.get("name")), entry)
    return [found[name] for name in names if name in found and not knows(part, name)]
