"""`/routing`: which models look at which studies and who gets the results; what would happen to one study.

For IT alone. Every change is a new version with its author and reason; going back is one more. Addresses and
secrets of receivers are the configuration file's: the page shows names, kinds and forms, and never those.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.adapters.routing_sql import RoutingSql
from hoichan.analysis.manifests import shelf_roots
from hoichan.analysis.selection import select
from hoichan.errors import StudyUnknown
from hoichan.guard.audit import Audited
from hoichan.reporting.deliveries import wanted
from hoichan.reporting.routing import Route, Rule, check
from hoichan.types import ModelManifest, Study, StudyInstanceUID
from service.api import problems
from service.api.caller import caller_of
from service.api.desk import UID_MAXIMUM, UID_PATTERN, AtDesk, Desk
from service.api.routing_schemas import (
    LONGEST_REASON,
    DestinationOut,
    DestinationTrialOut,
    ImageTrialOut,
    ModelOut,
    RoutingOut,
    Rules,
    RuleTrialOut,
    TrialOut,
    VersionOut,
)
from service.api.show import show
from service.roster import Roster

Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
OfStudy = Annotated[str | None, Query(pattern=UID_PATTERN, max_length=UID_MAXIMUM)]

router = APIRouter(prefix="/api/v1", tags=["routing"], responses=problems.RESPONSES)
page_router = APIRouter(default_response_class=HTMLResponse)


@router.get("/routing", response_model=RoutingOut)
def show_rules(request: Request, desk: AtDesk) -> RoutingOut:
    """The rules, what they may name, and their versions."""
    desk.witness.record(request, Audited.QUERIED, detail="routing")
    return _routing(desk)


@router.put(
    "/routing",
    response_model=RoutingOut,
    responses={
        409: {"description": "Changed by somebody else meanwhile", "content": {problems.MEDIA_TYPE: {}}}
    },
)
def write_rules(request: Request, desk: AtDesk, told: Rules) -> Response | RoutingOut:
    """Replace all rules. The next study follows them."""
    return _write(request, desk, told.rules, seen=told.version, reason=told.reason) or _routing(desk)


@router.post(
    "/routing/{version}/restore",
    response_model=RoutingOut,
    responses={
        409: {"description": "No such version, or changed meanwhile", "content": {problems.MEDIA_TYPE: {}}}
    },
)
def restore_rules(request: Request, desk: AtDesk, version: Number) -> Response | RoutingOut:
    """Bring an older version back, as a new one; 0: no rules."""
    return _restore(request, desk, version) or _routing(desk)


@router.get("/routing/try", response_model=TrialOut)
def try_rules(
    request: Request,
    desk: AtDesk,
    study: Annotated[str, Query(pattern=UID_PATTERN, max_length=UID_MAXIMUM)],
) -> TrialOut:
    """What would happen to this study? Looks at tags alone, changes nothing."""
    found = desk.studies.current(StudyInstanceUID(study))
    if found is None:
        raise StudyUnknown(f"No study {study}.")
    desk.witness.record(request, Audited.VIEWED, study, detail="routing")
    return trial(desk, found)


@page_router.get("/routing")
def show_page(request: Request, desk: AtDesk, study: OfStudy = None) -> HTMLResponse:
    """The same as a page, with the trial of one study."""
    desk.witness.record(request, Audited.QUERIED, detail="routing")
    found, unknown = None, False
    if study:
        current = desk.studies.current(StudyInstanceUID(study))
        unknown = current is None
        if current is not None:
            desk.witness.record(request, Audited.VIEWED, study, detail="routing")
            found = trial(desk, current)
    return _page(request, desk, trial=found, asked=study or "", unknown=unknown)


@page_router.post("/routing/rules")
def save_by_form(request: Request, desk: AtDesk) -> Response:
    """Add a rule, or replace the one of the same name where it stands."""
    fields = request.state.fields
    now = RoutingSql(desk.reading.engine, desk.clock).current()
    rules = list(now.rules if now else ())
    try:
        rule = _rule_of(fields)
    except ValidationError:
        return _page(request, desk, problem="malformed", status=HTTPStatus.UNPROCESSABLE_ENTITY)
    place = next((at for at, one in enumerate(rules) if one.name == rule.name), None)
    if place is None:
        rules.append(rule)
    else:
        rules[place] = rule
    return _after(request, desk, rules, fields)


@page_router.post("/routing/rules/{name}/{verb}")
def move_by_form(request: Request, desk: AtDesk, name: str, verb: str) -> Response:
    """Move a rule up, or remove it."""
    now = RoutingSql(desk.reading.engine, desk.clock).current()
    rules = list(now.rules if now else ())
    at = next((place for place, one in enumerate(rules) if one.name == name), None)
    if at is None or verb not in ("up", "remove"):
        return _page(request, desk, problem="changed", status=HTTPStatus.CONFLICT)
    rule = rules.pop(at)
    if verb == "up":
        rules.insert(max(0, at - 1), rule)
    return _after(request, desk, rules, {"reason": f"{verb} {name}", **request.state.fields})


@page_router.post("/routing/{version}/restore")
def restore_by_form(request: Request, desk: AtDesk, version: Number) -> Response:
    """Go back by the button of the page."""
    if _restore(request, desk, version) is not None:
        return _page(request, desk, problem="changed", status=HTTPStatus.CONFLICT)
    return RedirectResponse("/routing", status_code=HTTPStatus.SEE_OTHER)


def trial(desk: Desk, study: Study) -> TrialOut:
    """What the rules of now, the models in use and the receivers of the file make of a study."""
    rows = RoutingSql(desk.reading.engine, desk.clock)
    now, route = rows.current(), rows.route(study)
    tried = [
        RuleTrialOut(name=one.name, decides=route.rule == one, misfits=list(one.misfits(study)))
        for one in (now.rules if now else ())
    ]
    receivers = desk.settings.effective_destinations
    chosen = {one.name for one in route.destinations(receivers)}
    return TrialOut(
        study_instance_uid=study.study_instance_uid,
        rules=tried,
        models=_models_on(desk, study, route),
        destinations=[
            DestinationTrialOut(
                name=one.name,
                gets=_forms(wanted(one)) if one.name in chosen else [],
                why=_why(one.name, route, chosen) if one.active or one.name in chosen else "off",
            )
            for one in receivers
        ],
    )


def _why(name: str, route: Route, chosen: set[str]) -> str:
    if name not in chosen:
        return "left_out"
    named = route.rule.destinations if route.rule else None
    if named is None or (named and not chosen & set(named)):
        return "all"
    return "rule" if name in named else "had"


def _models_on(desk: Desk, study: Study, route: Route) -> list[ImageTrialOut]:
    standing = _roster(desk).standing()
    manifests: Sequence[ModelManifest] = standing.manifests(study.patient)
    allowed = {one.name for one in route.models(manifests)}
    told: dict[tuple[str, bool, str], int] = {}
    for one in select(manifests, study):
        name = one.manifest.name
        if name not in allowed:
            asked, why = False, "rule"
        elif name in standing.frozen:
            asked, why = False, "frozen"
        elif one.refusal is not None:
            asked, why = False, one.refusal.code.value
        else:
            asked, why = True, one.reason
        told[(name, asked, why)] = told.get((name, asked, why), 0) + 1
    return [
        ImageTrialOut(model=name, asked=asked, why=why, images=images)
        for (name, asked, why), images in told.items()
    ]


def _routing(desk: Desk) -> RoutingOut:
    rows = RoutingSql(desk.reading.engine, desk.clock)
    versions = rows.versions()
    standing = _roster(desk).standing()
    return RoutingOut(
        version=versions[0].version if versions else 0,
        rules=list(versions[0].rules) if versions else [],
        models=[
            ModelOut(
                name=one.version.name,
                algorithm_name=one.version.manifest.algorithm_name,
                algorithm_version=one.version.version,
                status=one.version.manifest.status,
                frozen=one.version.name in standing.frozen,
            )
            for one in standing.live
        ],
        destinations=[
            DestinationOut(name=one.name, kind=one.kind, forms=_forms(wanted(one)))
            for one in desk.settings.effective_destinations
        ],
        versions=[VersionOut.of(one) for one in versions],
    )


def _forms(kinds: Sequence[object]) -> list[str]:
    return [str(kind) for kind in kinds]


def _write(
    request: Request,
    desk: Desk,
    rules: Sequence[Rule],
    *,
    seen: int,
    reason: str,
    restores: int | None = None,
) -> Response | None:
    """None where it was written."""
    known = _routing(desk)
    try:
        check(
            rules,
            models=[one.name for one in known.models],
            destinations=[one.name for one in known.destinations],
        )
    except ValueError as error:
        return problems.answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, f"routing.{error}")
    caller = caller_of(request)
    desk.witness.record(
        request, Audited.SETTINGS_CHANGED, detail=f"routing version {seen + 1}, {len(rules)} rules"
    )
    rows = RoutingSql(desk.reading.engine, desk.clock)
    who = caller.user_name if caller else "unknown"
    if rows.write(rules, seen=seen, who=who, reason=reason, restores=restores) is None:
        return problems.answer(request, HTTPStatus.CONFLICT, "routing.changed")
    return None


def _restore(request: Request, desk: Desk, number: int) -> Response | None:
    rows = RoutingSql(desk.reading.engine, desk.clock)
    now = rows.current()
    wanted_back = rows.version(number)
    if now is None or (wanted_back is None and number != 0):
        return problems.answer(request, HTTPStatus.CONFLICT, "routing.changed")
    rules = wanted_back.rules if wanted_back else ()
    return _write(request, desk, rules, seen=now.version, reason=f"↩ {number}", restores=number)


def _after(request: Request, desk: Desk, rules: Sequence[Rule], fields: dict[str, str]) -> Response:
    reason = fields.get("reason", "").strip()[:LONGEST_REASON]
    seen = fields.get("version", "0")
    if not reason or not (seen.isascii() and seen.isdigit()):
        return _page(request, desk, problem="malformed", status=HTTPStatus.UNPROCESSABLE_ENTITY)
    refused = _write(request, desk, rules, seen=int(seen[:9]), reason=reason)
    if refused is None:
        return RedirectResponse("/routing", status_code=HTTPStatus.SEE_OTHER)
    problem = "changed" if refused.status_code == HTTPStatus.CONFLICT else "malformed"
    return _page(request, desk, problem=problem, status=HTTPStatus(refused.status_code))


def _rule_of(fields: dict[str, str]) -> Rule:
    """From the form: words with commas between; boxes `model.NAME` and `to.NAME`. Raises ValidationError."""

    def words(key: str) -> tuple[str, ...]:
        return tuple(one.strip() for one in fields.get(key, "").split(",") if one.strip())

    def ticked(prefix: str, whole: str) -> tuple[str, ...] | None:
        if fields.get(whole) == "all":
            return None
        return tuple(key.removeprefix(prefix) for key in fields if key.startswith(prefix))

    return Rule(
        name=fields.get("name", "").strip(),
        senders=words("senders"),
        modalities=words("modalities"),
        body_parts=words("body_parts"),
        models=ticked("model.", "models"),
        destinations=ticked("to.", "destinations"),
    )


def _page(
    request: Request,
    desk: Desk,
    *,
    trial: TrialOut | None = None,
    asked: str = "",
    unknown: bool = False,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:
    answer = show(
        request,
        desk,
        "routing.html",
        routing=_routing(desk),
        trial=trial,
        asked=asked,
        unknown=unknown,
        problem=problem,
    )
    answer.status_code = status
    return answer


def _roster(desk: Desk) -> Roster:
    roots = shelf_roots(desk.settings.storage.data_dir)
    return Roster(roots, desk.settings.models, GovernanceSql(desk.reading.engine))
