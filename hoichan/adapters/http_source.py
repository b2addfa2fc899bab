"""Asking a source over HTTP: authentication, TLS, and what an answer means. URLs hold UIDs and dates only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx2

from hoichan.adapters.tls import client_context
from hoichan.errors import Refused, Unreachable
from hoichan.settings import DicomwebSource, OrthancSource

RETRYABLE = frozenset({408, 425, 429})
MISSING = frozenset({404, 410})
LARGEST_BYTES = 4 * 1024**3  # of one instance
Params = Mapping[str, str | int | list[str]]


class HttpSource:
    """One server. Every call raises Unreachable (network, 408, 425, 429, 5xx) or Refused (other 4xx)."""

    def __init__(
        self, source: DicomwebSource | OrthancSource, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._source = source
        self._base = str(source.url).rstrip("/")
        self._transport = transport

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Connections that are kept open over several calls."""
        source = self._source
        auth = source.auth
        basic = auth.kind == "basic"
        bearer = {"Authorization": f"Bearer {auth.token.get_secret_value()}"} if auth.kind == "bearer" else {}
        try:
            verify: Any = client_context(source.tls) if source.tls is not None else True
        except OSError as error:
            raise Unreachable(source.name, "the certificates of tls cannot be used") from error
        with httpx2.Client(
            timeout=httpx2.Timeout(source.timeout_seconds, read=source.fetch_timeout_seconds),
            transport=self._transport,
            verify=verify,
            auth=httpx2.BasicAuth(auth.username, auth.password.get_secret_value()) if basic else None,
            headers=bearer,
            follow_redirects=False,
        ) as client:
            yield Session(client, self._base, source.name)


class Session:
    """Several questions to one server."""

    def __init__(self, client: httpx2.Client, base: str, name: str) -> None:
        self._client = client
        self._base = base
        self._name = name

    def get(self, path: str, params: Params | None = None, *, accept: str = "application/json") -> Any:  # noqa: ANN401 (JSON)
        """The JSON of an answer; None for 204, 404 and 410."""
        return self._json("GET", path, params=params, headers={"Accept": accept})

    def post(self, path: str, *, json: object = None, content: str | None = None) -> Any:  # noqa: ANN401 (JSON)
        """As `get`, with a body; what is about a person goes this way."""
        if content is not None:
            return self._json("POST", path, content=content.encode())
        return self._json("POST", path, json=json)

    def _json(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401
        try:
            response = self._client.request(method, f"{self._base}/{path}", **options)
        except httpx2.HTTPError as error:  # its text has the URL
            raise Unreachable(self._name, type(error).__name__) from None
        if response.status_code in MISSING or response.status_code == HTTPStatus.NO_CONTENT:
            return None
        self._check(response.status_code)
        try:
            return response.json()
        except ValueError:
            raise Refused(self._name, "the answer is not JSON") from None

    @contextmanager
    def stream(self, path: str, *, accept: str) -> Iterator[tuple[str, Iterator[bytes]] | None]:
        """Content type and body of an answer; None for 404 and 410."""
        try:
            with self._client.stream("GET", f"{self._base}/{path}", headers={"Accept": accept}) as response:
                if response.status_code in MISSING:
                    yield None
                    return
                self._check(response.status_code)
                yield response.headers.get("content-type", ""), response.iter_bytes()
        except httpx2.HTTPError as error:
            raise Unreachable(self._name, type(error).__name__) from None

    def _check(self, status: int) -> None:
        if status in RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unreachable(self._name, f"HTTP {status}")
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise Refused(self._name, f"HTTP {status}")
