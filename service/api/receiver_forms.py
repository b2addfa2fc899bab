"""Forms of receivers and forwarding rules, made from the models of the configuration file.

What a field is called, may hold and holds at first is the model's: a new key of the file is at the page, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hoichan.settings import (
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Forward,
    Hl7Destination,
    WithoutPerson,
)
from service.web.rendering import catalogue

KINDS: Mapping[str, type[BaseModel]] = {
    "dicom": DicomDestination,
    "dicomweb": DicomwebDestination,
    "fhir": FhirDestination,
    "hl7v2": Hl7Destination,
    "folder": FolderDestination,
}
RULE = "forward"  # in the place of a kind: a rule
FIRST = ("name", "host", "port", "ae_title", "url", "path", "send", "to", "senders", "modalities")
_ELSEWHERE = frozenset({"kind", "auth", "tls", "active", "deidentify", "to"})  # not by the type of the field
_PREFIX = "f."  # of what belongs to an entry, in the form

Sort = Literal["text", "number", "choice", "choices", "flag", "words"]


class FieldOut(BaseModel):
    """One field of a form."""

    key: str  # as in the file; `deidentify.keep_dates` of a part
    sort: Sort
    value: str = ""
    options: list[str] = []
    chosen: list[str] = []
    needed: bool = False
    first: bool = False  # shown at once, not behind "more"

    @property
    def word(self) -> str:
        """The key of its name in the catalogues; "" where it has none: then the key of the file stands."""
        word = f"receivers.key.{self.key.rpartition('.')[2]}"
        return word if word in catalogue("vi") else ""


def fields_of(
    kind: str, entry: Mapping[str, Any], *, receivers: Sequence[str], credentials: Sequence[str]
) -> list[FieldOut]:
    """The fields of a kind, filled from an entry and with the defaults of the file."""
    found = [_field(key, info, entry) for key, info in _plain(kind)]
    if kind == RULE:
        to = [str(one) for one in entry.get("to", ())]
        found.append(FieldOut(key="to", sort="choices", options=list(receivers), chosen=to, first=True))
        without = entry.get("deidentify")
        found.append(FieldOut(key="deidentify", sort="flag", chosen=["yes"] if without is not None else []))
        for key, info in WithoutPerson.model_fields.items():
            part = _field(key, info, without or {})
            found.append(part.model_copy(update={"key": f"deidentify.{key}"}))
    elif kind != "folder":
        named = str(entry.get("credentials") or "")
        found.append(
            FieldOut(key="credentials", sort="choice", value=named, options=["", *credentials], first=True)
        )
        is_on = ["yes"] if entry.get("tls") is not None else []
        found.append(FieldOut(key="tls", sort="flag", chosen=is_on, first=True))
    return sorted(found, key=lambda one: FIRST.index(one.key) if one.key in FIRST else len(FIRST))


def entry_of(kind: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """What a form says, as the file would have it. What stands at its default is left out."""
    entry: dict[str, Any] = {} if kind == RULE else {"kind": kind}
    for key, info in _plain(kind):
        _take(entry, key, info, fields, key)
    if kind == RULE:
        entry["to"] = _ticked(fields, "to")
        if fields.get(f"{_PREFIX}deidentify"):
            without: dict[str, Any] = {}
            for key, info in WithoutPerson.model_fields.items():
                _take(without, key, info, fields, f"deidentify.{key}")
            entry["deidentify"] = without
        return entry
    named = fields.get(f"{_PREFIX}credentials", "")
    if named:
        entry["credentials"] = named
    elif fields.get(f"{_PREFIX}tls"):
        entry["tls"] = {}
    return entry


def _plain(kind: str) -> Iterator[tuple[str, FieldInfo]]:
    model = Forward if kind == RULE else KINDS[kind]
    return ((key, info) for key, info in model.model_fields.items() if key not in _ELSEWHERE)


def _take(entry: dict[str, Any], key: str, info: FieldInfo, fields: Mapping[str, str], at: str) -> None:
    value: Any
    text = fields.get(_PREFIX + at, "").strip()
    match _sort(info)[0]:
        case "choices":
            value = _ticked(fields, at)
        case "flag":
            value = bool(text)
        case "words":
            value = [one.strip() for one in text.split(",") if one.strip()]
        case "number":
            value = _number(text)
        case _:
            value = text
    default = list(info.default) if isinstance(info.default, tuple) else info.default
    if value not in ("", default):
        entry[key] = value


def _ticked(fields: Mapping[str, str], key: str) -> list[str]:
    start = f"{_PREFIX}{key}."
    return [one.removeprefix(start) for one in fields if one.startswith(start)]


def _number(text: str) -> int | float | str:
    """The number; what is none is kept as it is, and refused as it is."""
    for of in (int, float):
        try:
            return of(text)
        except ValueError:
            continue
    return text


def _field(key: str, info: FieldInfo, entry: Mapping[str, Any]) -> FieldOut:
    sort, options = _sort(info)
    value = entry.get(key, None if info.is_required() else info.default)
    made = FieldOut(
        key=key,
        sort=sort,
        options=options,
        needed=info.is_required() and sort != "choices",
        first=key in FIRST,
    )
    if sort in ("choices", "words"):
        made.chosen = [str(one) for one in value or ()]
        made.value = ", ".join(made.chosen)
    elif sort == "flag":
        made.chosen = ["yes"] if value else []
    else:
        made.value = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return made


def _sort(info: FieldInfo) -> tuple[Sort, list[str]]:
    """What a field looks like, by its type."""
    kind: Any = info.annotation
    while get_origin(kind) in (Union, UnionType, Annotated):
        rest = [one for one in get_args(kind) if one is not NoneType]
        kind = rest[0]
    if get_origin(kind) is Literal:
        return "choice", [str(one) for one in get_args(kind)]
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if get_origin(inner) is Literal:
            return "choices", [str(one) for one in get_args(inner)]
        return "words", []
    if kind is bool:
        return "flag", []
    return ("number" if kind in (int, float) else "text"), []
