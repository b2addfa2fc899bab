"""UPS-RS: the work on studies as a worklist (PS3.18 chapter 11), for programs with a token for it.

| verb | address | answers |
|---|---|---|
| create | POST /workitems?{uid} | 201; 400 no study, no source; 409 the UID, or the study's job, is taken |
| search | GET /workitems | 200, 204 |
| retrieve | GET /workitems/{uid} | 200, 404 |
| update | POST /workitems/{uid}?{transaction} | 200, 400 wrong lock or ended, 404, 409 not claimed |
| change state | PUT /workitems/{uid}/state | 200, 400, 404, 409 claimed, not claimed or ended |
| request cancellation | POST /workitems/{uid}/cancelrequest | 202, 404, 409 |

A job that somebody claims is his; when he gives it up, or is silent for an hour, our own workers do it. The
warnings carry the codes of PS3.4 table CC.2.1-3 and CC.2.3-3. A UID behind `?` stands there alone or as the
value of a parameter: editions of PS3.18 differ.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from hoichan.adapters.sources_sql import SourcesSql
from hoichan.adapters.ups_sql import UpsSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.adapters.workitem_rows import FINAL, ProcedureStepState, Verdict, Workitem
from hoichan.adapters.workitems_sql import WorkitemsSql
from hoichan.errors import StudyUnknown
from hoichan.guard.audit import Audited
from hoichan.types import StudyInstanceUID
from service.api import ups_json as dicom
from service.api.caller import caller_of
from service.api.desk import UID_MAXIMUM, UID_PATTERN, AtDesk, Desk
from service.api.dicomweb_place import base_url

MOST = 100
LARGEST_BODY = 1024**2
router = APIRouter(prefix="/dicom-web", tags=["worklist"])
WorkitemUid = Annotated[str, Path(pattern=UID_PATTERN, max_length=UID_MAXIMUM)]
_KEYS = {
    "ProcedureStepState": dicom.STATE,
    "StudyInstanceUID": dicom.STUDY,
    "AccessionNumber": dicom.ACCESSION,
    "InputInformationSequence.StudyInstanceUID": f"{dicom.INPUT}.{dicom.STUDY}",
}
_SEARCHABLE = {*_KEYS, *_KEYS.values()}
_IGNORED = frozenset({"includefield", "fuzzymatching", "limit", "offset"})
_VERDICTS = {
    Verdict.UNKNOWN: (HTTPStatus.NOT_FOUND, "C307"),
    Verdict.ALREADY_CLAIMED: (HTTPStatus.CONFLICT, "C302"),
    Verdict.WRONG_TRANSACTION: (HTTPStatus.BAD_REQUEST, "C301"),
    Verdict.NOT_CLAIMED: (HTTPStatus.CONFLICT, "C310"),
    Verdict.FINISHED: (HTTPStatus.CONFLICT, "C300"),
}


@router.post("/workitems")
async def create(request: Request, desk: AtDesk) -> Response:
    """Ask for the work on a study that is here. The UID of the job is the query, or in the body."""
    content = await _content(request)
    return await run_in_threadpool(_create, request, desk, content)


def _create(request: Request, desk: Desk, content: bytes | None) -> Response:
    try:
        asked = dicom.body(content or b"") if content is not None else None
    except dicom.BodyUnreadable:
        asked = None
    if asked is None:
        return _problem(HTTPStatus.BAD_REQUEST, "The body is no data set in DICOM JSON.")
    uid = _uid_in_query(request, "workitem", "AffectedSOPInstanceUID") or dicom.value(asked, "00080018")
    studies = dicom.studies_of(asked)
    state = dicom.value(asked, dicom.STATE)
    if not dicom.is_uid(uid) or len(studies) != 1 or state not in ("", ProcedureStepState.SCHEDULED):
        text = "Wanted: the UID of the job, one study, and no state but SCHEDULED."
        return _problem(HTTPStatus.BAD_REQUEST, text)
    study = StudyInstanceUID(studies.pop())
    work = _work(desk)
    if work.one(uid) is not None or work.find(
        study=study, states=(ProcedureStepState.SCHEDULED, ProcedureStepState.IN_PROGRESS), limit=1
    ):
        return _problem(HTTPStatus.CONFLICT, "The UID, or the work on this study, is there already.")
    try:
        revision = desk.steering.analyse_again(study)
    except StudyUnknown:
        return _await(request, desk, asked, study, uid)
    if revision is None:
        return _problem(HTTPStatus.CONFLICT, "A person has signed, or the study is still coming.")
    if not work.name(study, revision, uid):
        return _problem(HTTPStatus.CONFLICT, "Somebody was quicker.")
    WorkSql(desk.reading.engine, desk.clock).hurry(study, dicom.urgency_of(asked))
    desk.witness.record(request, Audited.RESULT_CREATED, study, detail="workitem created")
    place = f"{base_url(request)}/workitems/{uid}"
    return Response(status_code=HTTPStatus.CREATED, headers={"Location": place, "Content-Location": place})


def _await(request: Request, desk: Desk, asked: dicom.Json, study: StudyInstanceUID, uid: str) -> Response:
    """Work ahead of the images: the sources are asked for them, and the job waits until they come."""
    sources = [source.name for source in desk.settings.sources if source.catch_up]
    if not sources:
        text = "The study is not here, and no source is set to fetch it from: send it first."
        return _problem(HTTPStatus.BAD_REQUEST, text, "C307")
    caller = caller_of(request)
    who = caller.user_name if caller else "unknown"
    if not _work(desk).wait_for(study, uid, who=who, urgency=dicom.urgency_of(asked)):
        return _problem(HTTPStatus.CONFLICT, "The UID, or the work on this study, is there already.")
    SourcesSql(desk.reading.engine).ask_for(study, sources, now=desk.clock.now())
    desk.witness.record(request, Audited.RESULT_CREATED, study, detail="workitem created")
    place = f"{base_url(request)}/workitems/{uid}"
    return Response(status_code=HTTPStatus.CREATED, headers={"Location": place, "Content-Location": place})


@router.get("/workitems")
def search(
    request: Request,
    desk: AtDesk,
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
    offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> Response:
    """Jobs that fit, the most urgent first."""
    wanted: dict[str, str] = {}
    for name, text in request.query_params.multi_items():
        if name in _IGNORED:
            continue
        if name not in _SEARCHABLE:  # a person stands in no address
            return _problem(HTTPStatus.BAD_REQUEST, "This attribute cannot be asked for.")
        wanted[_KEYS.get(name, name)] = text
    states = [one for one in re.split(r"[,\\]", wanted.get(dicom.STATE, "")) if one]
    if any(one not in set(ProcedureStepState) for one in states):
        return _problem(HTTPStatus.BAD_REQUEST, "There is no such state.")
    study = wanted.get(dicom.STUDY) or wanted.get(f"{dicom.INPUT}.{dicom.STUDY}")
    found = _work(desk).find(
        states=[ProcedureStepState(one) for one in states],
        study=study or None,
        accession=wanted.get(dicom.ACCESSION) or None,
        limit=limit,
        offset=offset,
    )
    desk.witness.record(request, Audited.QUERIED, detail=f"workitems, {len(found)} found")
    if not found:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return _answer([dicom.ups(item, base_url(request)) for item in found])


@router.get("/workitems/{workitem_uid}")
def retrieve(request: Request, desk: AtDesk, workitem_uid: WorkitemUid) -> Response:
    """One job."""
    item = _work(desk).one(workitem_uid)
    if item is None:
        return _of_verdict(Verdict.UNKNOWN)
    desk.witness.record(request, Audited.VIEWED, item.study_instance_uid, detail="workitem")
    return _answer([dicom.ups(item, base_url(request))])


@router.post("/workitems/{workitem_uid}")
async def update(request: Request, desk: AtDesk, workitem_uid: WorkitemUid) -> Response:
    """How far the holder is, and what he made; other attributes of a job are ours and stay."""
    content = await _content(request)
    try:
        said = dicom.body(content or b"")
    except dicom.BodyUnreadable:
        return _problem(HTTPStatus.BAD_REQUEST, "The body is no data set in DICOM JSON.")
    lock = _uid_in_query(request, "transaction", "transaction-uid") or dicom.value(said, dicom.TRANSACTION)
    text = next((dicom.value(one, dicom.PROGRESS) for one in dicom.items(said, dicom.PROGRESS_SEQUENCE)), "")
    percent = round(float(text)) if re.fullmatch(r"\d{1,3}(\.\d{1,6})?", text) else None
    if (text and percent is None) or (percent or 0) > 100 or (said and dicom.STATE in said):
        return _problem(HTTPStatus.BAD_REQUEST, "Progress is 0 to 100; the state has a request of its own.")
    made = dicom.outputs_of(said)
    if made is None:
        return _problem(HTTPStatus.BAD_REQUEST, "A reference to an output lacks a UID.")
    verdict = await run_in_threadpool(_work(desk).progress, workitem_uid, lock, percent)
    if verdict is Verdict.DONE and dicom.PERFORMED in said:
        await run_in_threadpool(_ups(desk).keep_outputs, workitem_uid, made)
    if verdict is Verdict.FINISHED:  # PS3.18 table 11.6.3-1; a change of state is a conflict there
        return _problem(HTTPStatus.BAD_REQUEST, "It has ended.", "C300")
    return _of_verdict(verdict)


@router.put("/workitems/{workitem_uid}/state")
async def change_state(request: Request, desk: AtDesk, workitem_uid: WorkitemUid) -> Response:
    """Claim, complete, or give up."""
    content = await _content(request)
    try:
        said = dicom.body(content or b"")
    except dicom.BodyUnreadable:
        return _problem(HTTPStatus.BAD_REQUEST, "The body is no data set in DICOM JSON.")
    state, lock = dicom.value(said, dicom.STATE), dicom.value(said, dicom.TRANSACTION)
    if state not in set(ProcedureStepState) - {ProcedureStepState.SCHEDULED} or not dicom.is_uid(lock):
        return _problem(
            HTTPStatus.BAD_REQUEST, "Wanted: a state to change to, and a Transaction UID.", "C301"
        )
    return await run_in_threadpool(_change, request, desk, workitem_uid, ProcedureStepState(state), lock)


def _change(request: Request, desk: Desk, uid: str, state: ProcedureStepState, lock: str) -> Response:
    work = _work(desk)
    caller = caller_of(request)
    if state is ProcedureStepState.IN_PROGRESS:
        verdict = work.claim(uid, lock, who=caller.user_name if caller else "unknown")
    else:
        verdict = work.finish(uid, lock, state)
    if verdict is Verdict.DONE:
        item = work.one(uid)
        uids = (item.study_instance_uid,) if item else ()
        desk.witness.record(request, Audited.WORK_CANCELLED, *uids, detail=f"workitem {state}")
    if verdict is Verdict.ALREADY_SO:
        code = "B306" if state is ProcedureStepState.COMPLETED else "B304"
        return Response(headers={"Warning": f'299 hoichan "{code}: it is in this state already."'})
    return _of_verdict(verdict)


@router.post("/workitems/{workitem_uid}/cancelrequest")
@router.post("/workitems/{workitem_uid}/cancelrequest/{requester}")
async def request_cancellation(
    request: Request, desk: AtDesk, workitem_uid: WorkitemUid, requester: str = ""
) -> Response:
    """Stop a job of ours. The holder of one is told, where he listens: it is his to give up."""
    content = await _content(request)
    try:
        said = dicom.body(content or b"")
    except dicom.BodyUnreadable:
        return _problem(HTTPStatus.BAD_REQUEST, "The body is no data set in DICOM JSON.")
    return await run_in_threadpool(_cancel, request, desk, workitem_uid, said)


def _cancel(request: Request, desk: Desk, workitem_uid: str, said: dicom.Json) -> Response:
    work = _work(desk)
    item = work.one(workitem_uid)
    if item is None:
        return _of_verdict(Verdict.UNKNOWN)
    if item.state in FINAL:
        return _problem(HTTPStatus.CONFLICT, "It has ended.", _ended(item))
    if item.claimed_by is not None:
        caller = caller_of(request)
        words = {tag: attribute for tag, attribute in said.items() if tag in dicom.CANCEL_WORDS}
        who = caller.user_name if caller else "unknown"
        desk.witness.record(request, Audited.WORK_CANCELLED, item.study_instance_uid, detail="workitem asked")
        if not _ups(desk).ask_to_cancel(workitem_uid, who=who, content=words):
            return _problem(HTTPStatus.CONFLICT, "Its holder decides, and cannot be told.", "C312")
        return Response(status_code=HTTPStatus.ACCEPTED)
    desk.witness.record(request, Audited.WORK_CANCELLED, item.study_instance_uid, detail="workitem")
    if not work.give_up_waiting(workitem_uid) or item.revision:
        desk.steering.cancel(item.study_instance_uid)
    return Response(status_code=HTTPStatus.ACCEPTED)


def _ended(item: Workitem) -> str:
    return "C311" if item.state is ProcedureStepState.COMPLETED else "B304"


def _uid_in_query(request: Request, *names: str) -> str:
    """The UID behind `?`, alone or as the value of one of these parameters."""
    named = (request.query_params[name] for name in names if name in request.query_params)
    return next(named, request.url.query)


async def _content(request: Request) -> bytes | None:
    """The body; None where it is too long."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LARGEST_BODY:
            return None
    return content


def _ups(desk: Desk) -> UpsSql:
    return UpsSql(desk.reading.engine, desk.clock)


def _work(desk: Desk) -> WorkitemsSql:
    return WorkitemsSql(desk.reading.engine, desk.clock)


def _answer(content: list[dicom.Json]) -> JSONResponse:
    return JSONResponse(content, media_type=dicom.MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _of_verdict(verdict: Verdict) -> Response:
    if verdict is Verdict.DONE:
        return Response()
    status, code = _VERDICTS[verdict]
    return _problem(status, verdict.value.replace("_", " "), code)


def _problem(status: HTTPStatus, text: str, code: str = "") -> Response:
    return Response(
        status_code=status, headers={"Warning": f'299 hoichan "{code}{": " if code else ""}{text}"'}
    )
