"""`/receivers`: who gets results and images, written by IT without a file.

Every change is a new version with its author and reason; going back is one more. A version counts from the
next second on, and the page shows which one each process runs with. Secrets are the file's: an entry names
`[credentials]` of the file, and goes only where the file lets them go (ADR-0021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.probes import probe_of
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.errors import RecordsUnavailable, Unreachable
from hoichan.guard.audit import Audited
from hoichan.ports.receivers import Entry, Owed, ReceiverVersion
from hoichan.settings import AnyDestination, Forward, Settings
from hoichan.settings.overlay import EntryWrong, Overlaid, Part, destination_of, overlay, rule_of
from service.api.caller import caller_of
from service.api.desk import AtDesk, Desk
from service.api.receiver_forms import KINDS, RULE, entry_of, fields_of
from service.api.receivers_proof import proof_of
from service.api.receivers_schemas import (
    ConfirmOut,
    EntryOut,
    FormOut,
    ReceiversOut,
    RunsOut,
    TriedOut,
    VersionOut,
    WrongOut,
)
from service.api.routing_schemas import LONGEST_REASON
from service.api.show import show

MOST = 100  # entries of one sort
SHOWN = 20  # versions
ALIVE_SECONDS = 60.0  # a worker that was seen within so long runs
PAGE = "/receivers"
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
Word = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)]
Asked = Annotated[str, Query(max_length=64)]

page_router = APIRouter(default_response_class=HTMLResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Now:
    """The newest version, and what it makes of the file."""

    rows: ReceiversSql
    versions: Sequence[ReceiverVersion]
    owed: Owed
    laid: Overlaid

    @property
    def version(self) -> int:
        return self.versions[0].version if self.versions else 0

    def entries(self, part: Part) -> list[Entry]:
        """Of the page, as they stand."""
        if not self.versions:
            return []
        newest = self.versions[0]
        return list(newest.destinations if part == "destinations" else newest.forward)


def _now(desk: Desk) -> _Now:
    rows = ReceiversSql(desk.reading.engine, desk.clock)
    versions, owed = rows.versions(), rows.owed()
    return _Now(rows=rows, versions=versions, owed=owed, laid=overlay(desk.receivers.file, versions, owed))


@page_router.get(PAGE)
def show_page(request: Request, desk: AtDesk, kind: Asked = "", change: Asked = "") -> HTMLResponse:
    """The receivers, the rules, their versions; with `kind` or `change` the form of an entry."""
    desk.witness.record(request, Audited.QUERIED, detail="receivers")
    now = _now(desk)
    part: Part = "forward" if kind == RULE else "destinations"
    entry = next((one for one in now.entries(part) if one.get("name") == change), None)
    form = None
    if entry is not None:
        form = _form(desk, now, RULE if kind == RULE else str(entry["kind"]), entry, change)
    elif kind in KINDS or kind == RULE:
        form = _form(desk, now, kind, {}, "")
    return _page(request, desk, now, form=form)


@page_router.post(f"{PAGE}/save")
def save_by_form(request: Request, desk: AtDesk) -> Response:
    """Add an entry, change one, or knock at what the form says without keeping it."""
    fields: Mapping[str, str] = request.state.fields
    now, kind, change = _now(desk), fields.get("kind", ""), fields.get("change", "")
    if kind not in KINDS and kind != RULE:
        return _refused(request, desk, now, WrongOut(name="", code="malformed", detail="kind"))
    part: Part = "forward" if kind == RULE else "destinations"
    entries = now.entries(part)
    before = next((one for one in entries if one.get("name") == change), None)
    entry = entry_of(kind, fields)
    if change:
        entry = {**entry, "name": change, "active": (before or {}).get("active", True)}
    form = _form(desk, now, kind, entry, change)
    name = str(entry.get("name", ""))
    try:
        made = _checked(now, desk.receivers.file, part, entry, change)
    except EntryWrong as error:
        wrong = WrongOut(name=name, code=error.code, detail=error.detail)
        return _refused(request, desk, now, wrong, form=form)
    if fields.get("do") == "try" and not isinstance(made, Forward):
        return _page(request, desk, now, form=form, tried=_knock(request, desk, made))
    if change and before is None:
        return _refused(request, desk, now, WrongOut(name=name, code="changed", detail=""))
    rest = [entry if one is before else one for one in entries] if change else [*entries, entry]
    return _written(request, desk, now, part, rest, f"{'change' if change else 'add'} {name}", form=form)


@page_router.post(f"{PAGE}/{{name}}/{{verb}}")
def steer_by_form(request: Request, desk: AtDesk, name: Word, verb: Word) -> Response:
    """Switch an entry on or off, remove it, or knock at a receiver."""
    now = _now(desk)
    part: Part = "forward" if request.state.fields.get("part") == "forward" else "destinations"
    if verb == "try":
        known = {one.name: one for one in now.laid.settings.effective_destinations}
        if name not in known:
            return _refused(request, desk, now, WrongOut(name=name, code="changed", detail=""))
        return _page(request, desk, now, tried=_knock(request, desk, known[name]))
    entries = now.entries(part)
    at = next((place for place, one in enumerate(entries) if one.get("name") == name), None)
    if at is None or verb not in ("on", "off", "remove"):
        return _refused(request, desk, now, WrongOut(name=name, code="changed", detail=""))
    if verb == "remove":
        del entries[at]
    else:
        entries[at] = {**entries[at], "active": verb == "on"}
    return _written(request, desk, now, part, entries, f"{verb} {name}")


@page_router.post(f"{PAGE}/versions/{{version}}/restore")
def restore_by_form(request: Request, desk: AtDesk, version: Number) -> Response:
    """Bring an older version back, as a new one; 0: nothing beside the file."""
    now = _now(desk)
    wanted = next((one for one in now.versions if one.version == version), None)
    if not now.versions or (wanted is None and version != 0):
        return _refused(request, desk, now, WrongOut(name="", code="changed", detail=""))
    destinations = wanted.destinations if wanted else ()
    rules = wanted.forward if wanted else ()
    return _keep(request, desk, now, destinations, rules, f"restore {version}", restores=version)


def _checked(now: _Now, file: Settings, part: Part, entry: Entry, change: str) -> AnyDestination | Forward:
    """The entry as the file's models read it. Raises EntryWrong."""
    name = str(entry.get("name", ""))
    made = destination_of(entry, file) if part == "destinations" else rule_of(entry)
    if not change and any(one.get("name") == name for one in now.entries(part)):
        raise EntryWrong("same_name")
    for version in now.versions:  # what is owed under a name must still fit it
        for one in version.destinations if part == "destinations" else version.forward:
            if one.get("name") != name:
                continue
            if one.get("kind") != entry.get("kind"):
                raise EntryWrong("other_kind")
            if (one.get("deidentify") is None) != (entry.get("deidentify") is None):
                raise EntryWrong("other_form")
    return made


def _written(
    request: Request,
    desk: Desk,
    now: _Now,
    part: Part,
    entries: Sequence[Entry],
    what: str,
    *,
    form: FormOut | None = None,
) -> Response:
    destinations = entries if part == "destinations" else now.entries("destinations")
    rules = entries if part == "forward" else now.entries("forward")
    return _keep(request, desk, now, destinations, rules, what, form=form)


def _keep(
    request: Request,
    desk: Desk,
    now: _Now,
    destinations: Sequence[Entry],
    rules: Sequence[Entry],
    what: str,
    *,
    restores: int | None = None,
    form: FormOut | None = None,
) -> Response:
    """Write a version that leaves nothing out that counted before."""
    fields = request.state.fields
    reason = (fields.get("reason", "").strip() or what)[:LONGEST_REASON]
    if fields.get("version") != str(now.version):
        return _refused(request, desk, now, WrongOut(name="", code="changed", detail=""), form=form)
    if not desk.receivers.file.receivers.at_page or max(len(destinations), len(rules)) > MOST:
        return _refused(request, desk, now, WrongOut(name="", code="closed", detail=""), form=form)
    caller = caller_of(request)
    who = caller.user_name if caller else "unknown"
    tried = ReceiverVersion(
        version=now.version + 1,
        destinations=tuple(destinations),
        forward=tuple(rules),
        by=who,
        at=desk.clock.now(),
        reason=reason,
        restores=restores,
    )
    after = overlay(desk.receivers.file, [tried, *now.versions], now.owed)
    new = [one for one in after.passed_over if one not in now.laid.passed_over]
    if new:
        return _refused(request, desk, now, WrongOut.of(new[0]), form=form)
    proof = proof_of(request, desk)
    if proof != "given":
        return _page(request, desk, now, confirm=ConfirmOut.of(request.url.path, fields, what, proof))
    desk.witness.record(
        request, Audited.SETTINGS_CHANGED, detail=f"receivers version {tried.version}: {what}"
    )
    written = now.rows.write(destinations, rules, seen=now.version, who=who, reason=reason, restores=restores)
    if written is None:
        return _refused(request, desk, now, WrongOut(name="", code="changed", detail=""), form=form)
    with suppress(RecordsUnavailable):  # then this page follows with its next look
        request.app.state.in_force.look()
    return RedirectResponse(PAGE, status_code=HTTPStatus.SEE_OTHER)


def _knock(request: Request, desk: Desk, receiver: AnyDestination) -> TriedOut:
    """C-ECHO, a search, /metadata or a connection; a folder is looked at. Nothing of a patient is sent."""
    desk.witness.record(request, Audited.QUERIED, detail=f"knock at {receiver.name}")
    try:
        probe_of(receiver, desk.settings.listener.ae_title)()
    except Unreachable as error:
        return TriedOut(name=receiver.name, outcome="silent", detail=error.detail)
    return TriedOut(name=receiver.name, outcome="answers", detail="")


def _form(desk: Desk, now: _Now, kind: str, entry: Mapping[str, Any], change: str) -> FormOut:
    receivers = [
        one.name
        for one in now.laid.settings.effective_destinations
        if one.kind in ("dicom", "dicomweb", "folder")
    ]
    found = fields_of(kind, entry, receivers=receivers, credentials=sorted(desk.receivers.file.credentials))
    if change:
        found = [one for one in found if one.key != "name"]
    part: Part = "forward" if kind == RULE else "destinations"
    return FormOut(kind=kind, part=part, change=change, fields=found)


def _runs(name: str, version: int, refused: object, left_out: object = None) -> RunsOut:
    """`refused`: a version that this process could not put together, and a code; or nothing.

    `left_out`: receivers that it works without, and why.
    """
    known = left_out if isinstance(left_out, dict) else {}
    out = RunsOut(name=name, version=version, left_out={str(one): str(known[one]) for one in sorted(known)})
    match refused:
        case [int(wanted), str(code)]:
            return out.model_copy(update={"refused": wanted, "code": code})
    return out


def _out(desk: Desk, now: _Now, refused: tuple[int, str] | None) -> ReceiversOut:
    runs = [_runs("web", desk.receivers.version, refused)]
    for one in VitalsSql(desk.reading.engine).workers():
        if one.age_seconds > ALIVE_SECONDS:
            continue
        known = one.facts.get("receivers", 0)
        version = known if isinstance(known, int) else 0
        refused_there, left_out = (one.facts.get(f"receivers_{what}") for what in ("refused", "left_out"))
        runs.append(_runs(one.executor_id, version, refused_there, left_out))
    return ReceiversOut(
        version=now.version,
        open=desk.receivers.file.receivers.at_page,
        runs=runs,
        destinations=_destinations(desk, now),
        rules=_rules(desk, now),
        passed_over=[WrongOut.of(one) for one in now.laid.passed_over],
        versions=[
            VersionOut(
                version=one.version,
                destinations=len(one.destinations),
                rules=len(one.forward),
                by=one.by,
                at=one.at,
                reason=one.reason,
                restores=one.restores,
            )
            for one in now.versions[:SHOWN]
        ],
    )


def _destinations(desk: Desk, now: _Now) -> list[EntryOut]:
    running = {one.name: one for one in desk.settings.effective_destinations}
    return [
        EntryOut(
            part="destinations",
            name=one.name,
            kind=one.kind,
            place=now.laid.places["destinations", one.name],
            where=_where(one) if now.laid.places["destinations", one.name] in ("page", "kept") else "",
            active=one.active,
            in_force=running.get(one.name) == one,
            nameless=False,
            waits=now.owed.destinations.get(one.name, 0),
        )
        for one in now.laid.settings.effective_destinations
    ]


def _rules(desk: Desk, now: _Now) -> list[EntryOut]:
    running = {one.name: one for one in desk.settings.forward}
    return [
        EntryOut(
            part="forward",
            name=one.name,
            kind="",
            place=now.laid.places["forward", one.name],
            where=", ".join(one.to),
            active=one.active,
            in_force=running.get(one.name) == one,
            nameless=one.deidentify is not None,
            waits=now.owed.rules.get(one.name, 0),
        )
        for one in now.laid.settings.forward
    ]


def _where(one: AnyDestination) -> str:
    """The address, which holds no secret: the overlay takes none."""
    if hasattr(one, "url"):
        return str(one.url)
    if hasattr(one, "path"):
        return str(one.path)
    title = f"{one.ae_title}@" if hasattr(one, "ae_title") else ""
    return f"{title}{one.host}:{one.port}"


def _refused(
    request: Request, desk: Desk, now: _Now, wrong: WrongOut, *, form: FormOut | None = None
) -> HTMLResponse:
    status = HTTPStatus.CONFLICT if wrong.code in ("changed", "closed") else HTTPStatus.UNPROCESSABLE_ENTITY
    return _page(request, desk, now, form=form, wrong=wrong, status=status)


def _page(
    request: Request,
    desk: Desk,
    now: _Now,
    *,
    form: FormOut | None = None,
    wrong: WrongOut | None = None,
    tried: TriedOut | None = None,
    confirm: ConfirmOut | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:
    answer = show(
        request,
        desk,
        "receivers.html",
        page=_out(desk, now, request.app.state.in_force.refused),
        form=form,
        wrong=wrong,
        tried=tried,
        confirm=confirm,
        kinds=list(KINDS),
        outbox=str(desk.receivers.file.storage.outbox_dir.absolute()),
    )
    answer.status_code = status
    return answer
