"""Tokens of programs on a SQL database.

A token is 256 random bits that only the program has; here stands its digest. Every method may raise
RecordsUnavailable (try again).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from hoichan.adapters.people_sql import digest
from hoichan.adapters.schema_tokens import tokens
from hoichan.errors import RecordsUnavailable, TokenExists, TokenUnknown
from hoichan.guard.scopes import Scope, is_token_name
from hoichan.ports import Clock

PREFIX = "hoichan_"  # so that scanners for lost secrets can find one
_BYTES = 32
_USED_EVERY = timedelta(seconds=60)  # the last use is written no more often than this


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token. The token itself is not in it."""

    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokensSql:
    """Which programs may ask."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    @contextmanager
    def _connection(self, *, writing: bool) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() if writing else self._engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    def any_token(self, scope: Scope) -> bool:
        """Whether a token with this scope can be used now."""
        return any(scope in one.scopes and self._is_live(one) for one in self.tokens())

    def add(self, name: str, scopes: Collection[Scope], *, lifetime: timedelta | None = None) -> str:
        """A new token, told this once. Raises TokenExists for a used name, ValueError for what is none."""
        if not is_token_name(name) or not scopes:
            raise ValueError("A name of a-z, 0-9, dot, dash, underscore, and at least one scope.")
        now, text = self._clock.now(), PREFIX + secrets.token_urlsafe(_BYTES)
        try:
            with self._connection(writing=True) as connection:
                connection.execute(
                    tokens.insert().values(
                        name=name,
                        token_sha256=digest(text),
                        scopes=sorted({scope.value for scope in scopes}),
                        created_at=now,
                        expires_at=now + lifetime if lifetime else None,
                    )
                )
        except sa.exc.IntegrityError as error:
            raise TokenExists(f"The token name {name} is taken, or was once.") from error
        return text

    def tokens(self) -> Sequence[Token]:
        """Every token, by name; revoked and expired ones too."""
        with self._connection(writing=False) as connection:
            return [_token(row) for row in connection.execute(sa.select(tokens).order_by(tokens.c.name))]

    def revoke(self, name: str) -> None:
        """The token can no longer be used; nothing more happens the second time. Raises TokenUnknown."""
        with self._connection(writing=True) as connection:
            done = connection.execute(
                tokens.update()
                .where(tokens.c.name == name)
                .values(revoked_at=sa.func.coalesce(tokens.c.revoked_at, self._clock.now()))
            )
        if not done.rowcount:
            raise TokenUnknown("No token has this name: `hoichan token list` shows them.")

    def holder(self, text: str) -> Token | None:
        """Whose token this is; None when there is none, or it is expired or revoked."""
        if not text.startswith(PREFIX) or len(text) > 256:
            return None
        with self._connection(writing=False) as connection:
            row = connection.execute(sa.select(tokens).where(tokens.c.token_sha256 == digest(text))).first()
        token = _token(row) if row is not None else None
        if token is None or not self._is_live(token):
            return None
        now = self._clock.now()
        if token.last_used_at is None or now - token.last_used_at >= _USED_EVERY:
            with suppress(RecordsUnavailable):  # a full disk must not stop a program that reads
                self._used(token, now)
        return token

    def _used(self, token: Token, now: datetime) -> None:
        with self._connection(writing=True) as connection:
            connection.execute(tokens.update().where(tokens.c.name == token.name).values(last_used_at=now))

    def _is_live(self, token: Token) -> bool:
        over = token.expires_at is not None and token.expires_at <= self._clock.now()
        return token.revoked_at is None and not over


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    return Token(
        name=row.name,
        scopes=tuple(Scope(scope) for scope in row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
