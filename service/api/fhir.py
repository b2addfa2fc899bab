"""`/fhir`: the results as FHIR R4 resources, to be read and searched. Nothing can be written here.

A search shows the newest report of each study; a report that was replaced can still be read by its id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse

import hoichan
from hoichan.adapters.fhir_read import FhirSql, Kept, Wanted
from hoichan.encoding.fhir_parts import Json
from hoichan.encoding.fhir_served import TYPES, report_of, served
from hoichan.guard.audit import Audited
from service.api.desk import AtDesk, Desk
from service.api.fhir_query import (
    CURSOR,
    DATES,
    LARGEST_PAGE,
    PATIENT,
    REFERENCES,
    TOKENS,
    NotUnderstood,
    Search,
    cursor,
    understand,
)

MEDIA_TYPE = "application/fhir+json"
MOST_LOOKED_AT = 500  # reports for one page: a filter that nothing fits must not read the whole record
BATCH = 50

_ELSEWHERE: tuple[Json, ...] = (  # what `fhir_tasks` and `fhir_orders` answer
    {
        "type": "Task",
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "searchParam": [{"name": name, "type": "token"} for name in ("status", "identifier")],
        "documentation": "The jobs of the machine, for tokens of the scope worklist.",
    },
    {
        "type": "ServiceRequest",
        "interaction": [{"code": "create"}],
        "documentation": "Orders, for tokens of the scope order.",
    },
)

router = APIRouter(prefix="/fhir", tags=["fhir"])
ResourceType = Annotated[str, Path(pattern=r"^[A-Za-z]{1,32}$")]
ResourceId = Annotated[str, Path(pattern=r"^[A-Za-z0-9.\-]{1,64}$")]


@router.get("/metadata")
def metadata(request: Request, desk: AtDesk) -> JSONResponse:
    """What can be asked here."""
    return _answer(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-11-21",
            "kind": "instance",
            "software": {"name": "Hội Chẩn", "version": hoichan.__version__},
            "implementation": {"description": desk.settings.site.name, "url": _base(request)},
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "rest": [
                {
                    "mode": "server",
                    "documentation": "Results of AI models. What nobody has read has the status partial "
                    "and the security label AIAST.",
                    "security": {"cors": False, "description": "A session of the page, or a bearer token."},
                    "resource": [*(_capability(resource_type) for resource_type in TYPES), *_ELSEWHERE],
                }
            ],
        }
    )


@router.get("/{resource_type}/{resource_id}")
def read(
    request: Request, desk: AtDesk, resource_type: ResourceType, resource_id: ResourceId
) -> JSONResponse:
    """One resource."""
    if resource_type not in TYPES:
        return _outcome(HTTPStatus.NOT_FOUND, "not-supported", "This type is not served: see /fhir/metadata.")
    records = _records(desk)
    uid = report_of(resource_id)
    kept: Kept | None
    if resource_type == "ImagingStudy":
        found = records.newest(Wanted(study_instance_uid=uid), limit=1)
        kept = found[0] if found else None
    else:
        kept = records.report(uid)
    for resource in _resources(records, kept) if kept else ():
        if (resource["resourceType"], resource["id"]) == (resource_type, resource_id):
            assert kept is not None
            desk.witness.record(
                request,
                Audited.VIEWED,
                kept.study_instance_uid,
                kept.report_uid,
                detail=f"FHIR {resource_type}",
            )
            return _answer(resource)
    return _outcome(HTTPStatus.NOT_FOUND, "not-found", "There is no such resource.")


@router.get("/{resource_type}")
def search(request: Request, desk: AtDesk, resource_type: ResourceType) -> JSONResponse:
    """Resources that fit the parameters of the address."""
    return _search(request, desk, resource_type, list(request.query_params.multi_items()), in_body=False)


@router.post("/{resource_type}/_search")
def search_in_body(request: Request, desk: AtDesk, resource_type: ResourceType) -> JSONResponse:
    """The same with the parameters in the body: the only way to ask for a patient."""
    fields = [*request.query_params.multi_items(), *request.state.fields.items()]
    return _search(request, desk, resource_type, fields, in_body=True)


def _search(
    request: Request, desk: Desk, resource_type: str, fields: list[tuple[str, str]], *, in_body: bool
) -> JSONResponse:
    if resource_type not in TYPES:
        return _outcome(HTTPStatus.NOT_FOUND, "not-supported", "This type is not served: see /fhir/metadata.")
    if in_body and any(name in PATIENT for name, _ in request.query_params.multi_items()):
        return _outcome(HTTPStatus.BAD_REQUEST, "invalid", "A person stands in the address: use the body.")
    try:
        asked = understand(
            resource_type,
            fields,
            in_body=in_body,
            accession_system=f"{desk.settings.site.identifier_base}/id/accession",
            zone=desk.settings.site.zone,
        )
    except NotUnderstood as error:
        return _outcome(HTTPStatus.BAD_REQUEST, "invalid", str(error))
    found, following = _page(_records(desk), resource_type, asked)
    desk.witness.record(
        request,
        Audited.QUERIED,
        *dict.fromkeys(kept.study_instance_uid for kept, _ in found),
        detail=f"FHIR {resource_type}, {len(found)} found",
    )
    links = [{"relation": "self", "url": _address(request, resource_type, asked.shown)}]
    entries = [_entry(request, resource) for _, resource in found]
    if following is not None:
        rest = cursor(following.created_at, following.report_uid)
        if asked.wanted.patient_number is None:
            shown = (*asked.shown, (CURSOR, rest))
            links.append({"relation": "next", "url": _address(request, resource_type, shown)})
        else:  # a person stands in no address, so there is no link
            text = f"There is more: send the same body with {CURSOR}={rest} too."
            entries.append({"resource": _issue("warning", "incomplete", text), "search": {"mode": "outcome"}})
    return _answer({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries})


def _entry(request: Request, resource: Json) -> Json:
    return {
        "fullUrl": f"{_base(request)}/{resource['resourceType']}/{resource['id']}",
        "resource": resource,
        "search": {"mode": "match"},
    }


def _page(records: FhirSql, resource_type: str, asked: Search) -> tuple[list[tuple[Kept, Json]], Kept | None]:
    """Up to `count` resources, never half of a report's, and the last report that was looked at, if any."""
    found: list[tuple[Kept, Json]] = []
    last: Kept | None = None
    wanted = asked.wanted
    looked_at = 0
    while looked_at < MOST_LOOKED_AT:
        batch = records.newest(wanted, limit=BATCH)
        for kept in batch:
            fitting = [
                (kept, resource)
                for resource in _resources(records, kept)
                if resource["resourceType"] == resource_type and all(fits(resource) for fits in asked.filters)
            ]
            if found and len(found) + len(fitting) > asked.count:
                return found, last
            found += fitting
            last = kept
        if len(batch) < BATCH or last is None:
            return found, None
        looked_at += len(batch)
        wanted = replace(wanted, after=(last.created_at, last.report_uid))
    return found, last


def _resources(records: FhirSql, kept: Kept) -> Iterator[Json]:
    yield from served(
        records.content(kept),
        report_uid=kept.report_uid,
        study_instance_uid=kept.study_instance_uid,
        created_at=kept.created_at,
        withdrawn=kept.withdrawn,
    )


def _records(desk: Desk) -> FhirSql:
    return FhirSql(desk.reading.engine, desk.reading.objects, desk.sight)


def _capability(resource_type: str) -> Json:
    kinds = {
        "token": ("_id", *TOKENS[resource_type]),
        "reference": tuple(REFERENCES.get(resource_type, {})),
        "date": ("_lastUpdated", *DATES.get(resource_type, ())),
    }
    return {
        "type": resource_type,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "versioning": "no-version",
        "searchParam": [{"name": name, "type": kind} for kind, names in kinds.items() for name in names],
        "documentation": f"Up to {LARGEST_PAGE} a page. patient:identifier only in the body of _search.",
    }


def _base(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/fhir"


def _address(request: Request, resource_type: str, shown: tuple[tuple[str, str], ...]) -> str:
    return f"{_base(request)}/{resource_type}" + (f"?{urlencode(shown)}" if shown else "")


def _answer(content: Json) -> JSONResponse:
    return JSONResponse(content, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _outcome(status: HTTPStatus, code: str, text: str) -> JSONResponse:
    return JSONResponse(_issue("error", code, text), status_code=status, media_type=MEDIA_TYPE)


def _issue(severity: str, code: str, text: str) -> Json:
    issue = {"severity": severity, "code": code, "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
