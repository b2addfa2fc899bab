"""The hospital's own sign-in: OpenID Connect Core 1.0, code flow with PKCE (RFC 7636), at one issuer.

The ID token is taken from the token endpoint, and its signature is checked all the same, with the issuer's
present keys and by public-key algorithms only. Nothing that the issuer says stands in an error or a log.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from hoichan.errors import IssuerFailed
from hoichan.settings import Oidc, is_loopback

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS = 60  # clocks of two machines
KEPT_SECONDS = 3600  # the issuer's description
LARGEST_ANSWER = 1024 * 1024  # bytes
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who the issuer says it is."""

    subject: str
    user_name: str
    display_name: str
    roles: tuple[str, ...]
    auth_time: int | None = None  # seconds since 1970 at which the person signed in there


class OidcClient:
    """Asks one issuer. Every method that asks raises IssuerFailed."""

    def __init__(
        self,
        settings: Oidc,
        *,
        transport: httpx2.BaseTransport | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._ticks = ticks
        self._kept: Mapping[str, Any] = {}
        self._until = 0.0

    def address(self, *, state: str, nonce: str, code_verifier: str, anew: bool = False) -> str:
        """Where to send the browser; `anew`: the person signs in again, whatever session is there."""
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge(code_verifier),
            "code_challenge_method": "S256",
        }
        if anew:
            asked |= {"prompt": "login", "max_age": "0"}
        return _with(self._description()["authorization_endpoint"], asked)

    def redeem(self, *, code: str, nonce: str, code_verifier: str) -> Person:
        """Who came back with this code."""
        with self._client() as client:
            said = self._token(client, code, code_verifier)
            claims = self._claims(client, str(said.get("id_token", "")), nonce)
            more: Mapping[str, Any] = {}
            userinfo = self._description().get("userinfo_endpoint")
            wanted = (self._settings.roles_claim, self._settings.user_name_claim, "name")
            if userinfo and any(name not in claims for name in wanted):
                token = {"Authorization": f"Bearer {said.get('access_token', '')}"}
                more = _json(_asked(client, str(userinfo), headers=token))
                if more.get("sub") != claims["sub"]:  # OpenID Connect Core 5.3.2
                    raise IssuerFailed("subject")
        known = {**more, **claims}
        return Person(
            subject=str(claims["sub"]),
            user_name=_text(known.get(self._settings.user_name_claim)).strip().lower(),
            display_name=_text(known.get("name"))[:120],
            roles=_texts(known.get(self._settings.roles_claim)),
            auth_time=_seconds(claims.get("auth_time")),
        )

    def end_session_address(self) -> str | None:
        """Where to sign out at the issuer (RP-Initiated Logout 1.0); None where it has no such place."""
        found = self._description().get("end_session_endpoint")
        if not isinstance(found, str) or not _is_safe(found):
            return None
        back = f"{str(self._settings.public_url).rstrip('/')}/login"
        return _with(found, {"client_id": self._settings.client_id, "post_logout_redirect_uri": back})

    # ------------------------------------------------------------------ asking
    def _client(self) -> httpx2.Client:
        return httpx2.Client(timeout=self._settings.timeout_seconds, transport=self._transport)

    def _description(self) -> Mapping[str, Any]:
        if self._ticks() < self._until:
            return self._kept
        issuer = self._settings.issuer_name
        with self._client() as client:
            found = _json(_asked(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
        if found.get("issuer") != issuer or not all(
            _is_safe(str(found.get(name, ""))) for name in _ENDPOINTS
        ):
            raise IssuerFailed("description")
        self._kept, self._until = found, self._ticks() + KEPT_SECONDS
        return found

    def _token(self, client: httpx2.Client, code: str, code_verifier: str) -> Mapping[str, Any]:
        secret = self._settings.client_secret.get_secret_value()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._settings.redirect_uri,
            "code_verifier": code_verifier,
        }
        address = str(self._description()["token_endpoint"])
        try:
            if secret:
                return _json(client.post(address, data=fields, auth=(self._settings.client_id, secret)))
            return _json(client.post(address, data={**fields, "client_id": self._settings.client_id}))
        except httpx2.HTTPError as error:
            raise IssuerFailed("unreachable") from error

    def _claims(self, client: httpx2.Client, id_token: str, nonce: str) -> Mapping[str, Any]:
        """What a signed ID token says of this sign-in (OpenID Connect Core 3.1.3.7)."""
        keys = _json(_asked(client, str(self._description()["jwks_uri"])))
        try:
            token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": self._settings.issuer_name},
                aud={"essential": True, "value": self._settings.client_id},
                nonce={"essential": True, "value": nonce},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
            ).validate(token.claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise IssuerFailed("id_token") from error
        claims: Mapping[str, Any] = token.claims
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self._settings.client_id) != self._settings.client_id:
            raise IssuerFailed("id_token")
        return claims


def challenge(code_verifier: str) -> str:
    """S256 (RFC 7636 4.2)."""
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _asked(client: httpx2.Client, address: str, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    try:
        return client.get(address, headers=headers)
    except httpx2.HTTPError as error:
        raise IssuerFailed("unreachable") from error


def _json(answer: httpx2.Response) -> Mapping[str, Any]:
    if not answer.is_success or len(answer.content) > LARGEST_ANSWER:
        raise IssuerFailed(f"http_{answer.status_code}")
    try:
        content = answer.json()
    except (ValueError, RecursionError) as error:
        raise IssuerFailed("answer") from error
    if not isinstance(content, dict):
        raise IssuerFailed("answer")
    return content


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _with(address: str, asked: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"


def _text(value: object) -> str:
    """A claim that is text; what is not is no name, and nobody is called "none"."""
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _seconds(value: object) -> int | None:
    """A NumericDate that can be one; the ID token alone is asked for it, since it is signed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < 2**40 else None
