"""Accounts that the hospital's own sign-in keeps, and sign-ins that went there, on a SQL database.

Every method may raise RecordsUnavailable (try again).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from hoichan.adapters.people_sql import account_row, digest
from hoichan.adapters.schema import users
from hoichan.adapters.schema_access import external_accounts, external_sign_ins
from hoichan.errors import RecordsUnavailable, UserExists
from hoichan.guard.roles import Role
from hoichan.ports import Clock

AWAY = timedelta(minutes=10)  # how long a person may take at the issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One sign-in on its way to the issuer."""

    state: str
    nonce: str
    code_verifier: str
    back: str


class ExternalAccounts:
    """Who signs in elsewhere."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    @contextmanager
    def _connection(self, *, writing: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() if writing else self._engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    def begin(self, back: str) -> Errand:
        """What a sign-in takes along; those that never came back are forgotten."""
        table, now = external_sign_ins, self._clock.now()
        errand = Errand(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            code_verifier=secrets.token_urlsafe(48),
            back=back,
        )
        with self._connection(writing=True) as connection:
            connection.execute(table.delete().where(table.c.begun_at <= now - AWAY))
            connection.execute(
                table.insert().values(
                    state_sha256=digest(errand.state),
                    nonce=errand.nonce,
                    code_verifier=errand.code_verifier,
                    begun_at=now,
                    back=back,
                )
            )
        return errand

    def take(self, state: str) -> Errand | None:
        """The sign-in that comes back, once; None for one that is not awaited."""
        table = external_sign_ins
        with self._connection(writing=True) as connection:
            row = connection.execute(
                table.delete()
                .where(table.c.state_sha256 == digest(state), table.c.begun_at > self._clock.now() - AWAY)
                .returning(table.c.nonce, table.c.code_verifier, table.c.back)
            ).first()
        if row is None:
            return None
        return Errand(state=state, nonce=row.nonce, code_verifier=row.code_verifier, back=row.back)

    def user_of(self, issuer: str, subject: str) -> str | None:
        """The account of somebody of the issuer."""
        with self._connection() as connection:
            found: str | None = connection.execute(
                sa.select(external_accounts.c.user_name).where(
                    external_accounts.c.issuer == issuer, external_accounts.c.subject == subject
                )
            ).scalar()
        return found

    def add(
        self,
        issuer: str,
        subject: str,
        user_name: str,
        *,
        display_name: str,
        role: Role,
        password_hash: str,
    ) -> None:
        """A new account that is that person's: both at once, or neither.

        Raises AccountRefused for a name that cannot be one, UserExists for a used one, and for a person who
        has an account since.
        """
        now = self._clock.now()
        row = account_row(
            user_name, display_name=display_name, role=role, password_hash=password_hash, now=now
        )
        try:
            with self._connection(writing=True) as connection:
                connection.execute(users.insert().values(row))
                connection.execute(
                    external_accounts.insert().values(
                        issuer=issuer, subject=subject, user_name=user_name, linked_at=now
                    )
                )
        except sa.exc.IntegrityError as error:
            raise UserExists(f"The user name {user_name} is taken, or was once.") from error

    def is_external(self, user_name: str) -> bool:
        """Whether the account signs in at an issuer."""
        with self._connection() as connection:
            asked = sa.select(external_accounts.c.issuer).where(external_accounts.c.user_name == user_name)
            return connection.execute(asked).first() is not None
