"""What `/receivers` shows: entries with where they come from, versions, and who runs with which."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from hoichan.settings.overlay import Part, PassedOver, Place
from service.api.receiver_forms import FieldOut
from service.api.receivers_proof import FIELD, Proof

_WHERE = ("url", "path", "ae_title", "host", "port")


class EntryOut(BaseModel):
    """A receiver or a rule."""

    part: Part
    name: str
    kind: str  # of a receiver; "" of a rule
    place: Place
    where: str  # address of a receiver of the page, receivers of a rule; "" for what the file says
    active: bool
    in_force: bool  # the page runs with it as it stands
    nameless: bool  # images without their person
    waits: int  # results and images that have not arrived


class RunsOut(BaseModel):
    """A process, and the version that it runs with."""

    name: str
    version: int
    refused: int = 0  # a newer version that it could not put together
    code: str = ""  # why
    left_out: dict[str, str] = {}  # receivers that it could not put together at its start, and why


class VersionOut(BaseModel):
    """One version, without its entries."""

    version: int
    destinations: int
    rules: int
    by: str
    at: datetime
    reason: str
    restores: int | None


class FormOut(BaseModel):
    """The form that is open."""

    kind: str  # or `forward`
    part: Part
    change: str  # name of the entry that is changed; "": a new one
    fields: list[FieldOut]


class WrongOut(BaseModel):
    """Why something was not done, or does not count."""

    name: str
    code: str
    detail: str
    part: Part = "destinations"

    @classmethod
    def of(cls, one: PassedOver) -> WrongOut:
        """From the overlay."""
        return cls(part=one.part, name=one.name, code=one.code, detail=one.detail)


class TriedOut(BaseModel):
    """What came of a knock."""

    name: str
    outcome: Literal["answers", "silent"]
    detail: str


class ConfirmOut(BaseModel):
    """A change that waits for the password of who makes it."""

    path: str  # where the form goes again
    fields: dict[str, str]  # what it said, without the password
    verb: str
    name: str  # of the entry, or the number of a version
    where: str  # address or folder, where the change names one
    proof: Proof  # why it waits

    @classmethod
    def of(cls, path: str, fields: Mapping[str, str], what: str, proof: Proof) -> ConfirmOut:
        """`what`: a verb and a name."""
        verb, _, name = what.partition(" ")
        kept = {key: value for key, value in fields.items() if key not in ("csrf_token", FIELD)}
        where = " ".join(fields[f"f.{key}"] for key in _WHERE if fields.get(f"f.{key}"))
        return cls(path=path, fields=kept, verb=verb, name=name, where=where, proof=proof)


class ReceiversOut(BaseModel):
    """The whole page."""

    version: int  # the newest; 0: nothing was ever written here
    open: bool  # whether the file allows receivers of the page
    runs: list[RunsOut]
    destinations: list[EntryOut]
    rules: list[EntryOut]
    passed_over: list[WrongOut]
    versions: list[VersionOut]

    @property
    def behind(self) -> bool:
        """Whether some process runs with an older version."""
        return any(one.version != self.version for one in self.runs)
