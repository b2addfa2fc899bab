"""QIDO-RS: studies, series and instances that fit a query (PS3.18 10.6).

Answers are in the DICOM JSON model, newest study first. What is asked for stands neither in a log nor in the
audit log: only the names of the attributes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from hoichan.adapters.held_sql import Held, Row, StudyWish
from hoichan.guard.audit import Audited
from hoichan.intake.matching import WILDCARDS, range_of, uids_of
from service.api.desk import AtDesk, Desk
from service.api.dicomweb_attributes import (
    EVERYTHING,
    OF_INSTANCE,
    OF_SERIES,
    OF_STUDY,
    Attributes,
    instance_record,
    patient_record,
    series_record,
    study_record,
)
from service.api.dicomweb_place import base_url
from service.api.dicomweb_query import Query, QueryMalformed
from service.api.problems import problem_json
from service.api.studies import StudyUid

MEDIA_TYPE = "application/dicom+json"
MOST_STUDIES = 5000  # looked into for one answer, where the record alone cannot tell
_ACCEPTABLE = (MEDIA_TYPE, "application/json", "application/*", "*/*", "")
_IN_STUDY_ROW = frozenset(  # answered without a look at the study's objects
    [
        "StudyInstanceUID",
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "IssuerOfPatientID",
        "AccessionNumber",
        "StudyID",
        "StudyDescription",
        "StudyDate",
        "StudyTime",
    ]
)
_STUDY_KEYS = frozenset([*EVERYTHING["study"]])
_SERIES_KEYS = frozenset([*EVERYTHING["series"]]) - {
    "StudyInstanceUID",
    "SpecificCharacterSet",
    "RetrieveURL",
}
router = APIRouter(
    prefix="/dicom-web",
    tags=["DICOMweb"],
    responses={204: {"description": "Nothing fits"}},
)


class TooBroad(Exception):
    """More would have to be opened than one question is worth."""


@router.get("/studies")
def search_studies(request: Request, desk: AtDesk) -> Response:
    """Studies that fit (QIDO-RS)."""
    return _answer(request, desk, "studies", lambda query: _studies(desk, query, base_url(request)), OF_STUDY)


@router.get("/series")
def search_all_series(request: Request, desk: AtDesk) -> Response:
    """Series of any study (QIDO-RS)."""
    return _answer(
        request, desk, "series", lambda query: _series(desk, query, base_url(request)), OF_STUDY + OF_SERIES
    )


@router.get("/studies/{study_uid}/series")
def search_series(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Series of one study (QIDO-RS)."""
    return _answer(
        request, desk, "series", lambda query: _series(desk, query, base_url(request)), OF_SERIES, study_uid
    )


@router.get("/instances")
def search_all_instances(request: Request, desk: AtDesk) -> Response:
    """Instances of any study (QIDO-RS)."""
    return _answer(
        request,
        desk,
        "instances",
        lambda query: _instances(desk, query, base_url(request)),
        OF_STUDY + OF_SERIES + OF_INSTANCE,
    )


@router.get("/studies/{study_uid}/instances")
def search_instances_of_study(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Instances of one study (QIDO-RS)."""
    return _answer(
        request,
        desk,
        "instances",
        lambda query: _instances(desk, query, base_url(request)),
        OF_SERIES + OF_INSTANCE,
        study_uid,
    )


@router.get("/studies/{study_uid}/series/{series_uid}/instances")
def search_instances(request: Request, desk: AtDesk, study_uid: StudyUid, series_uid: StudyUid) -> Response:
    """Instances of one series (QIDO-RS)."""
    return _answer(
        request,
        desk,
        "instances",
        lambda query: _instances(desk, query, base_url(request)),
        OF_INSTANCE,
        study_uid,
        series_uid,
    )


def _answer(
    request: Request,
    desk: Desk,
    level: str,
    search: Callable[[Query], Iterator[Attributes]],
    told: Sequence[str],
    study: str = "",
    of_series: str = "",
) -> Response:
    accepted = request.query_params.get("accept") or request.headers.get("accept", "*/*")
    if not any(one.partition(";")[0].strip().lower() in _ACCEPTABLE for one in accepted.split(",")):
        return problem_json(
            HTTPStatus.NOT_ACCEPTABLE, "dicomweb.not_acceptable", f"The answer is {MEDIA_TYPE}."
        )
    try:
        asked = Query.of(request.query_params.multi_items())
        query = _placed(asked, study, of_series)
        uids = (study,) if study else tuple(uids_of(query.wishes.get("StudyInstanceUID", "")))[:1]
        detail = " ".join(["qido", level, ",".join(sorted(asked.wishes))]).strip()[:256]
        desk.witness.record(request, Audited.QUERIED, *uids, detail=detail)
        return _page(request, query, search(query), told)
    except QueryMalformed as error:
        return problem_json(HTTPStatus.BAD_REQUEST, "dicomweb.malformed", str(error))
    except TooBroad:
        return problem_json(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "dicomweb.too_broad",
            "Narrow the question: add a date or an id.",
        )


def _placed(query: Query, study: str, of_series: str) -> Query:
    """The query, held to the study and the series that its address names."""
    wishes = dict(query.wishes)
    for keyword, uid in (("StudyInstanceUID", study), ("SeriesInstanceUID", of_series)):
        if uid and uid not in uids_of(wishes.get(keyword, uid)):
            raise QueryMalformed(f"{keyword} is not that of the address.")
        if uid:
            wishes[keyword] = uid
    return Query(
        wishes=wishes,
        include=query.include,
        everything=query.everything,
        fuzzy=query.fuzzy,
        limit=query.limit,
        offset=query.offset,
    )


def _page(request: Request, query: Query, found: Iterator[Attributes], told: Sequence[str]) -> Response:
    wanted = list(islice(found, query.offset, query.offset + query.limit + 1))
    more, wanted = len(wanted) > query.limit, wanted[: query.limit]
    keywords = [*told, *query.include, *query.wishes]
    results: list[dict[str, Any]] = []
    for one in wanted:
        if query.everything and "SOPInstanceUID" in one.recorded:
            results.append(one.json_of_all())
            continue
        every = EVERYTHING["series" if "SeriesInstanceUID" in one.recorded else "study"]
        results.append(one.json([*keywords, *(every if query.everything else ())]))
    headers = {"Cache-Control": "no-store"}
    if more:
        headers["Warning"] = '299 hoichan "There are additional results that can be requested"'
    if not results:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    return JSONResponse(results, media_type=MEDIA_TYPE, headers=headers)


def _studies(desk: Desk, query: Query, url: str) -> Iterator[Attributes]:
    zone = desk.settings.site.zone
    for row, held, attributes in _studies_that_fit(desk, query, query.wishes, url):
        if held():
            attributes.recorded.update(study_record(row, held(), zone, url))
            yield attributes


def _series(desk: Desk, query: Query, url: str) -> Iterator[Attributes]:
    of_study = [keyword for keyword in query.wishes if keyword not in _SERIES_KEYS]
    of_series = [keyword for keyword in query.wishes if keyword in _SERIES_KEYS]
    for row, held, above in _studies_that_fit(desk, query, of_study, url):
        for members in _by_series(held()):
            attributes = _below(row, above, series_record(members, url), members)
            if query.fits(attributes, of_series):
                yield attributes


def _instances(desk: Desk, query: Query, url: str) -> Iterator[Attributes]:
    of_study = [keyword for keyword in query.wishes if keyword in _STUDY_KEYS]
    rest = [keyword for keyword in query.wishes if keyword not in _STUDY_KEYS]
    for row, held, above in _studies_that_fit(desk, query, of_study, url):
        for members in _by_series(held()):
            of_series = series_record(members, url)
            for one in members:
                attributes = _below(row, above, {**of_series, **instance_record(one, url)}, [one])
                if query.fits(attributes, rest):
                    yield attributes


def _studies_that_fit(
    desk: Desk, query: Query, keywords: Iterable[str], url: str
) -> Iterator[tuple[Row, Callable[[], Sequence[Held]], Attributes]]:
    """Row, objects and attributes of studies. Raises TooBroad where too many had to be opened."""
    opened, keywords = 0, list(keywords)
    cheap = [keyword for keyword in keywords if keyword in _IN_STUDY_ROW]
    dear = [keyword for keyword in keywords if keyword not in _IN_STUDY_ROW]
    for row in desk.held.studies(_wish(desk, query)):
        found: list[Sequence[Held]] = []

        def held(uid: str = row["study_instance_uid"], found: list[Sequence[Held]] = found) -> Sequence[Held]:
            if not found:
                found.append(desk.held.objects(uid))
            return found[0]

        attributes = Attributes(_row_record(row, desk), held)
        if not query.fits(attributes, cheap):
            continue
        if dear:
            opened += 1
            if opened > MOST_STUDIES:
                raise TooBroad
            attributes.recorded.update(study_record(row, held(), desk.settings.site.zone, url))
            if not query.fits(attributes, dear):
                continue
        yield row, held, attributes


def _row_record(row: Row, desk: Desk) -> dict[str, Any]:
    recorded = patient_record(row) | {
        "AccessionNumber": row["accession_number"],
        "StudyInstanceUID": row["study_instance_uid"],
        "StudyID": row["study_id"],
        "StudyDescription": row["study_description"],
    }
    if row["study_datetime"] is not None:
        local = row["study_datetime"].astimezone(desk.settings.site.zone)
        recorded |= {"StudyDate": f"{local:%Y%m%d}", "StudyTime": f"{local:%H%M%S}"}
    return recorded


def _below(row: Row, above: Attributes, recorded: dict[str, Any], files: Sequence[Held]) -> Attributes:
    kept = {key: value for key, value in above.recorded.items() if not key.startswith("NumberOf")}
    return Attributes({**kept, **recorded}, lambda: files)


def _by_series(held: Sequence[Held]) -> list[list[Held]]:
    groups: dict[str, list[Held]] = {}
    for one in held:
        groups.setdefault(one.series_instance_uid, []).append(one)
    return list(groups.values())


def _wish(desk: Desk, query: Query) -> StudyWish:
    wishes = query.wishes

    def exact(keyword: str) -> str:
        value = wishes.get(keyword, "")
        return "" if WILDCARDS.search(value) else value

    first, last = range_of(wishes.get("StudyDate", "").replace(".", ""))
    return StudyWish(
        study_instance_uids=uids_of(wishes.get("StudyInstanceUID", "")),
        patient_id=exact("PatientID"),
        accession_number=exact("AccessionNumber"),
        first_day=_day(first, -1),
        last_day=_day(last, 2),
    )


def _day(text: str, days: int) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise QueryMalformed("StudyDate: no calendar has such a day.") from error
