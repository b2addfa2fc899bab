"""Errors at the HTTP door: one table from our errors to statuses, RFC 9457 in JSON, a page for people.

| error                 | status | retry |      | request                | status |
| StudyUnknown          | 404    | no    |      | unknown path           | 404    |
| RecordsUnavailable    | 503    | yes   |      | malformed value        | 422    |
| SignInRequired        | 401    | no    |      | method, host           | 405, 421 |
| TokenRefused          | 401    | no    |      | a body that is too big | 413    |
| ValueNotKept          | 422    | no    |
| TooManyTries          | 429    | yes   |
| any other AccessError | 403    | no    |
| NotHeld               | 404    | no    |
| NotAcceptable, NotConvertible | 406 | no |
| ReviewRefused         | 422    | no    |
| NotSignable           | 403    | no    |
| any other ReviewError | 409    | no    |
| any other of ours     | 500    | no    |      |                        |        |

A person who is not signed in is led to the sign-in page.

`code` is stable. A detail never repeats what came in: a request may hold anything.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from hoichan.errors import (
    AccessError,
    Forbidden,
    HoichanError,
    NotAcceptable,
    NotConvertible,
    NotHeld,
    NotSignable,
    RecordsUnavailable,
    ReviewError,
    ReviewRefused,
    SecondFactorRequired,
    SignInRequired,
    StudyUnknown,
    TokenRefused,
    TooManyTries,
    ValueNotKept,
)
from service.api.caller import frame, login_address
from service.api.desk import desk_of

MEDIA_TYPE = "application/problem+json"
STATUS: tuple[tuple[type[HoichanError], HTTPStatus], ...] = (
    (StudyUnknown, HTTPStatus.NOT_FOUND),
    (RecordsUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (ValueNotKept, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SignInRequired, HTTPStatus.UNAUTHORIZED),
    (TokenRefused, HTTPStatus.UNAUTHORIZED),
    (TooManyTries, HTTPStatus.TOO_MANY_REQUESTS),
    (AccessError, HTTPStatus.FORBIDDEN),
    (NotHeld, HTTPStatus.NOT_FOUND),
    (NotAcceptable, HTTPStatus.NOT_ACCEPTABLE),
    (NotConvertible, HTTPStatus.NOT_ACCEPTABLE),
    (ReviewRefused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotSignable, HTTPStatus.FORBIDDEN),
    (ReviewError, HTTPStatus.CONFLICT),
    (HoichanError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
_REQUEST_CODES = {
    HTTPStatus.NOT_FOUND: "request.not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "request.method_not_allowed",
    HTTPStatus.UNPROCESSABLE_ENTITY: "request.malformed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request.too_large",
}
_FOR_MACHINES = (
    *("/api/", "/dicom-web/", "/fhir/", "/static/"),
    *("/healthz", "/readyz", "/metrics", "/openapi.json"),
)
RETRY_AFTER_SECONDS = 5

RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"description": "Not understood", "content": {MEDIA_TYPE: {}}},
    401: {"description": "Sign in first", "content": {MEDIA_TYPE: {}}},
    403: {"description": "The role does not allow it", "content": {MEDIA_TYPE: {}}},
    404: {"description": "Unknown", "content": {MEDIA_TYPE: {}}},
    406: {"description": "None of the forms asked for can be given", "content": {MEDIA_TYPE: {}}},
    413: {"description": "Too large, or too broad a question", "content": {MEDIA_TYPE: {}}},
    422: {"description": "Malformed identifier or parameter", "content": {MEDIA_TYPE: {}}},
    429: {"description": "Too many tries; see Retry-After", "content": {MEDIA_TYPE: {}}},
    503: {"description": "The record cannot be reached; try again", "content": {MEDIA_TYPE: {}}},
}


def status_of(error: HoichanError) -> HTTPStatus:
    """The HTTP status of one of our errors."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def problem_json(status: HTTPStatus, code: str, detail: str = "") -> JSONResponse:
    """The RFC 9457 form."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "code": code,
    }
    if detail:
        content["detail"] = detail
    headers = {"Cache-Control": "no-store"}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def answer(request: Request, status: HTTPStatus, code: str, detail: str = "") -> Response:
    """A page for a person who asked for one, problem+json for everything else."""
    if not for_people(request):
        return problem_json(status, code, detail)
    templates = desk_of(request).templates
    page = templates.render(
        "problem.html",
        language=templates.language(request),
        path=request.url.path,
        status=int(status),
        code=code,
        study_uid=request.path_params.get("study_uid", ""),
        **frame(request),
    )
    return HTMLResponse(page, status_code=status, headers={"Cache-Control": "no-store"})


def for_people(request: Request) -> bool:
    """Whether a page is asked for, and not data."""
    path = request.url.path
    return not path.startswith(_FOR_MACHINES) and "text/html" in request.headers.get("accept", "")


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, HoichanError)  # registered for this class only
    if isinstance(error, SignInRequired) and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(login_address(request), status_code=HTTPStatus.SEE_OTHER)
    if isinstance(error, SecondFactorRequired) and for_people(request):
        return RedirectResponse("/account/second-factor", status_code=HTTPStatus.SEE_OTHER)
    response = answer(request, status_of(error), error.code, str(error))
    response.headers.update(challenge(request, error))
    return response


def challenge(request: Request, error: HoichanError) -> dict[str, str]:
    """What a program needs to know of why it was not let in (RFC 6750 3, RFC 9110 10.2.3)."""
    realm = 'Bearer realm="hoichan"'
    match error:
        case SignInRequired():
            return {"WWW-Authenticate": realm}
        case TokenRefused():
            return {"WWW-Authenticate": f'{realm}, error="invalid_token"'}
        case TooManyTries():
            return {"Retry-After": str(error.seconds)}
        case Forbidden() if "authorization" in request.headers:
            return {"WWW-Authenticate": f'{realm}, error="insufficient_scope"'}
    return {}


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    response = answer(request, status, _REQUEST_CODES.get(status, "request"))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    where = ", ".join(sorted({str(fault["loc"][-1]) for fault in error.errors()}))
    return answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "request.malformed", f"Malformed: {where}.")


def register(app: FastAPI) -> None:
    """Have the application answer with these forms."""
    app.add_exception_handler(HoichanError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _malformed)
