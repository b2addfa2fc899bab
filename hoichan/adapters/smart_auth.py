"""SMART Backend Services: a program shows who it is with a signed assertion (SMART App Launch 2.2, RFC 7523).

The site registers our public key at the EMR; we sign a short assertion with the private one and get an access
token for some minutes. Nobody's password is kept here, and a token that leaks soon ends by itself.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from hoichan.errors import ConfigurationError, Unreachable
from hoichan.settings import Auth

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 240  # five minutes at most (SMART App Launch, asymmetric authentication)
SPARE_SECONDS = 30  # a token is not used in its last moments
LIFE_WITHOUT_WORD_SECONDS = 300  # of a token whose answer names none
WELL_KNOWN = "/.well-known/smart-configuration"
# RFC 6749 5.2. Anything else in that place is not repeated.
ERRORS = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "invalid_scope"),
        *("unauthorized_client", "unsupported_grant_type"),
    }
)


class SmartAuth(httpx2.Auth):
    """One client at one server; a token is kept as long as it lives, for all threads."""

    requires_response_body = True  # of the answers with the token; the EMR's own are read anyway

    def __init__(
        self,
        name: str,
        auth: Auth,
        base_url: str,
        *,
        now: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name`: the receiver's, for errors. Raises ConfigurationError for a key that cannot be used."""
        self._name = name
        self._auth = auth
        self._base = base_url.rstrip("/")
        self._now, self._ticks = now, ticks
        self._key, self._algorithm = _signing_key(name, auth)
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0
        self._token_url = str(auth.token_url) if auth.token_url is not None else ""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """The request with a token; once again with a new one after a 401. Raises Unreachable."""
        token = yield from self._current(stale="")
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:  # taken back, or the server lost it
            token = yield from self._current(stale=token)
            request.headers["Authorization"] = f"Bearer {token}"
            yield request

    def _current(self, *, stale: str) -> Generator[httpx2.Request, httpx2.Response, str]:
        """The kept token, or a new one when it is `stale` or at its end; one thread asks, the others wait."""
        with self._lock:
            if self._token and self._token != stale and self._ticks() < self._until:
                return self._token
            self._token = ""
            if not self._token_url:
                self._token_url = yield from self._discover()
            answer = yield self._ask(self._token_url)
            self._token, life = self._read(answer)
            self._until = self._ticks() + max(life - SPARE_SECONDS, 1.0)
            return self._token

    def _discover(self) -> Generator[httpx2.Request, httpx2.Response, str]:
        """The token endpoint that the server names; never one that would take our proof in the clear."""
        answer = yield httpx2.Request(
            "GET", f"{self._base}{WELL_KNOWN}", headers={"Accept": "application/json"}
        )
        found = _json(answer).get("token_endpoint")
        if not answer.is_success or not isinstance(found, str) or not found:
            raise Unreachable(self._name, f"no token endpoint (HTTP {answer.status_code})")
        target = urlsplit(found)
        if target.scheme not in ("https", urlsplit(self._base).scheme) or not target.netloc:
            raise Unreachable(self._name, "token endpoint without TLS")
        return found

    def _ask(self, token_url: str) -> httpx2.Request:
        now = int(self._now())
        claims = {
            "iss": self._auth.client_id,
            "sub": self._auth.client_id,
            "aud": token_url,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        header = {"alg": self._algorithm, "typ": "JWT", "kid": self._auth.key_id or self._key.thumbprint()}
        fields = {
            "grant_type": "client_credentials",
            "scope": self._auth.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode(header, claims, self._key, algorithms=[self._algorithm]),
        }
        return httpx2.Request("POST", token_url, data=fields, headers={"Accept": "application/json"})

    def _read(self, answer: httpx2.Response) -> tuple[str, float]:
        said = _json(answer)
        token, kind = said.get("access_token"), said.get("token_type")
        if answer.is_success and isinstance(token, str) and token and str(kind).lower() == "bearer":
            life = said.get("expires_in")
            if isinstance(life, int | float) and life > 0:
                return token, float(life)
            return token, LIFE_WITHOUT_WORD_SECONDS
        code = said.get("error")
        told = f" ({code})" if code in ERRORS else ""
        raise Unreachable(self._name, f"no token: HTTP {answer.status_code}{told}")


def _json(answer: httpx2.Response) -> dict[str, object]:
    try:
        content = answer.json()
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _signing_key(name: str, auth: Auth) -> tuple[jwk.RSAKey | jwk.ECKey, str]:
    """The private key and what it signs with: RS384 or ES384, the two that every server must know."""
    problem = f"destinations.{name}.auth.private_key: "
    if auth.private_key is None:
        raise ConfigurationError(problem + "missing.")
    try:
        content = auth.private_key.read_bytes()
    except OSError as error:
        raise ConfigurationError(problem + f"cannot be read: {error.strerror}.") from error
    with suppress(ValueError, TypeError, JoseError):
        rsa = jwk.RSAKey.import_key(content)
        if rsa.is_private:
            return rsa, "RS384"
    with suppress(ValueError, TypeError, JoseError):
        curve = jwk.ECKey.import_key(content)
        if curve.is_private and curve.curve_name == "P-384":
            return curve, "ES384"
    raise ConfigurationError(problem + "no private RSA or P-384 key in PEM.")


def auth_of(name: str, auth: Auth, base_url: str) -> httpx2.Auth | None:
    """What shows to one server who we are; None where it asks for nothing. Raises ConfigurationError."""
    match auth.kind:
        case "basic":
            return httpx2.BasicAuth(auth.username, auth.password.get_secret_value())
        case "bearer":
            return _Bearer(auth.token.get_secret_value())
        case "smart":
            return SmartAuth(name, auth, base_url)
        case _:
            return None


class _Bearer(httpx2.Auth):
    """A token that a person wrote down."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request
