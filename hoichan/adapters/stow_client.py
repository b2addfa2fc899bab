"""STOW-RS and QIDO-RS as a client: objects to an archive, and what it says to each (PS3.18 10.5, 10.6).

| answer                                         | an object that it names | one that it does not name |
|------------------------------------------------|-------------------------|---------------------------|
| 200 without a list                             |                         | stored                    |
| 200, 202 with a list: Referenced SOP Sequence  | stored                  | 200 stored, 202 later     |
| ... Failed SOP Sequence, 0xA7xx, 0x0213        | again later             |                           |
| ... Failed SOP Sequence, 0x0111 (is there)     | stored                  |                           |
| ... Failed SOP Sequence, anything else         | refused                 |                           |
| 409                                            | as its reason says      | refused                   |
| 408, 425, 429, 5xx, no answer                  | again later             | again later               |
| any other 4xx, a redirect                      | refused                 | refused                   |

The texts of an answer may quote a patient; statuses, UIDs and numbers of reasons are all that is kept.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2

from hoichan.adapters.reasons import reason_of
from hoichan.adapters.tls import client_context
from hoichan.errors import Unreachable
from hoichan.settings import DicomwebDestination

RETRYABLE = frozenset({408, 425, 429})
DUPLICATE = 0x0111  # PS3.7 annex C: an instance with this UID is there
SOP_CLASS_UNKNOWN = 0x0122
_RESOURCES = range(0xA700, 0xA800)
_PASSING = frozenset({0x0213})
_FAILED, _STORED = "00081198", "00081199"
_UID, _REASON = "00081155", "00081197"
ONE_BY_ONE = 20  # so many images of a series are asked for by their UIDs; of more the series is listed
PAGE = 1000
_LARGEST_ANSWER = 16 * 1024**2  # bytes
_JSON = "application/dicom+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One object to be stored: a Part 10 file in pieces."""

    sop_instance_uid: str
    size_bytes: int
    content: Iterable[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the archive said to one object."""

    stored: bool
    again: bool  # not stored, and another try may succeed
    detail: str  # e.g. "HTTP 200", "HTTP 409 0x0122"
    reason: int | None = None  # Failure Reason (0008,1197)


class StowClient:
    """One archive."""

    def __init__(
        self,
        destination: DicomwebDestination,
        *,
        transport: httpx2.BaseTransport | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self._destination = destination
        self._transport = transport
        self._timeout_seconds = timeout_seconds or destination.timeout_seconds
        self._base = str(destination.url).rstrip("/")

    def store(self, study_instance_uid: str, parcels: Sequence[Parcel]) -> dict[str, Verdict]:
        """Store objects of one study in one request; the verdict by SOP Instance UID.

        Raises Unreachable where nobody answers.
        """
        boundary = secrets.token_hex(16)
        heads = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        size = sum(len(heads) + one.size_bytes for one in parcels) + len(end)

        def body() -> Iterator[bytes]:
            for one in parcels:
                yield heads
                yield from one.content
            yield end

        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(size),
            "Accept": _JSON,
        }
        with self._client() as client:
            try:
                answer = client.post(
                    f"{self._base}/studies/{study_instance_uid}", content=body(), headers=headers
                )
            except (httpx2.TransportError, OSError) as error:
                raise Unreachable(self._destination.name, reason_of(error)) from error
        return judged(answer.status_code, answer.content, [one.sop_instance_uid for one in parcels])

    def holds(self, study_instance_uid: str, images: Mapping[str, Sequence[str]]) -> bool | None:
        """Whether all of these, by their series, are there; None where it cannot be asked.

        Raises Unreachable.
        """
        study = f"{self._base}/studies/{study_instance_uid}"
        with self._client() as client:
            for series, uids in images.items():
                if len(uids) > ONE_BY_ONE:
                    told = self._lists(client, f"{study}/series/{series}/instances", set(uids))
                else:
                    told = self._names(client, f"{study}/instances", uids)
                if not told:
                    return told
        return True

    def _names(self, client: httpx2.Client, url: str, uids: Sequence[str]) -> bool | None:
        """Whether each is found when it is asked for."""
        for uid in uids:
            found = self._search(client, url, {"SOPInstanceUID": uid})
            if found is None or uid not in found:
                return None if found is None else False
        return True

    def _lists(self, client: httpx2.Client, url: str, uids: set[str]) -> bool | None:
        """Whether all stand in the list of a series; page by page, of whatever size the server likes."""
        seen: set[str] = set()
        while not uids <= seen:
            found = self._search(client, url, {"limit": str(PAGE), "offset": str(len(seen))})
            if found is None or found <= seen:
                return None if found is None else False
            seen |= found
        return True

    def _search(self, client: httpx2.Client, url: str, params: Mapping[str, str]) -> set[str] | None:
        """SOP Instance UIDs that QIDO-RS finds; None where it answers no such question."""
        try:
            answer = client.get(url, params=params, headers={"Accept": _JSON})
        except httpx2.TransportError as error:
            raise Unreachable(self._destination.name, reason_of(error)) from error
        if answer.status_code == HTTPStatus.NOT_FOUND and not self._answers_searches(client):
            return None  # it is the search that it does not know
        if answer.status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
            return set()
        found = _document(answer.content) if answer.is_success else None
        return {str(_value(one, "00080018")) for one in found} if isinstance(found, list) else None

    def knock(self) -> int:
        """The status of a search for one study. Raises Unreachable."""
        with self._client() as client:
            return self._search_one(client)

    def _answers_searches(self, client: httpx2.Client) -> bool:
        return HTTPStatus.OK <= self._search_one(client) < HTTPStatus.MULTIPLE_CHOICES

    def _search_one(self, client: httpx2.Client) -> int:
        try:
            return client.get(
                f"{self._base}/studies", params={"limit": "1"}, headers={"Accept": _JSON}
            ).status_code
        except httpx2.TransportError as error:
            raise Unreachable(self._destination.name, reason_of(error)) from error

    def _client(self) -> httpx2.Client:
        destination = self._destination
        auth = destination.auth
        headers = {}
        if auth.kind == "bearer":
            headers["Authorization"] = f"Bearer {auth.token.get_secret_value()}"
        basic = httpx2.BasicAuth(auth.username, auth.password.get_secret_value())
        try:
            verify = client_context(destination.tls) if destination.tls is not None else True
        except OSError as error:
            raise Unreachable(destination.name, "certificate") from error
        return httpx2.Client(
            timeout=self._timeout_seconds,
            transport=self._transport,
            auth=basic if auth.kind == "basic" else None,
            headers=headers,
            verify=verify,
            follow_redirects=False,  # images and tokens go where the setting says, and nowhere else
        )


def judged(status: int, content: bytes, uids: Sequence[str]) -> dict[str, Verdict]:
    """The table of this module, for each of the objects that were sent."""
    told = f"HTTP {status}"
    if status in RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return dict.fromkeys(uids, Verdict(stored=False, again=True, detail=told))
    success = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    document = _document(content)
    readable = isinstance(document, dict) and (_FAILED in document or _STORED in document)
    if not (success or status == HTTPStatus.CONFLICT) or (status == HTTPStatus.ACCEPTED and not readable):
        return dict.fromkeys(uids, Verdict(stored=False, again=False, detail=told))
    lists = document if readable else {}
    reasons = {_value(item, _UID): _value(item, _REASON) for item in _items(lists, _FAILED)}
    stored = {_value(item, _UID) for item in _items(lists, _STORED)}
    verdicts = {}
    for uid in uids:
        if uid in reasons:
            verdicts[uid] = _of_reason(told, reasons[uid])
        elif uid in stored or (success and status != HTTPStatus.ACCEPTED):
            verdicts[uid] = Verdict(stored=True, again=False, detail=told)
        else:
            verdicts[uid] = Verdict(stored=False, again=success, detail=told)
    return verdicts


def _of_reason(told: str, reason: object) -> Verdict:
    number = reason if isinstance(reason, int) and 0 <= reason <= 0xFFFF else None
    detail = told if number is None else f"{told} 0x{number:04X}"
    return Verdict(
        stored=number == DUPLICATE,
        again=number is not None and (number in _RESOURCES or number in _PASSING),
        detail=detail,
        reason=number,
    )


def _document(content: bytes) -> Any:  # noqa: ANN401  JSON of somebody else
    if len(content) > _LARGEST_ANSWER:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _items(document: Any, tag: str) -> list[Any]:  # noqa: ANN401
    found = document.get(tag) if isinstance(document, dict) else None
    values = found.get("Value") if isinstance(found, dict) else None
    return values if isinstance(values, list) else []


def _value(item: Any, tag: str) -> object:  # noqa: ANN401
    values = _items(item, tag)
    return values[0] if values and isinstance(values[0], str | int) else None
