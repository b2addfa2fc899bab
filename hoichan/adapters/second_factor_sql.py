"""Second factors and half-done sign-ins on a SQL database.

The secret of an authenticator is sealed (AES-256-GCM, the account's name bound in) under a key that is
derived from the audit log's: a copy of the database alone makes no codes. Every method may raise
RecordsUnavailable (try again).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hoichan.adapters.people_sql import digest
from hoichan.adapters.schema import users
from hoichan.adapters.schema_access import half_sign_ins, recovery_codes, second_factors
from hoichan.errors import RecordsUnavailable
from hoichan.guard import second_factor as rules
from hoichan.ports import Clock

HALF_WAY = timedelta(minutes=5)  # between the password and the code
SHOWN_FOR = timedelta(minutes=15)  # an authenticator is set up within this time, or it is begun again
_NONCE_BYTES = 12


class Proof(Enum):
    """What was shown."""

    CODE = "code"
    RECOVERY = "recovery"


class SecondFactors:
    """Who has a second factor, and whether what is typed is it."""

    def __init__(self, engine: sa.Engine, clock: Clock, key: Callable[[], bytes]) -> None:
        """`key`: 32 bytes, asked for when they are needed."""
        self._engine = engine
        self._clock = clock
        self._key = key

    @contextmanager
    def _connection(self, *, writing: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() if writing else self._engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    # ------------------------------------------------------------------ setting up
    def on(self) -> frozenset[str]:
        """The accounts that are asked for a code."""
        with self._connection() as connection:
            asked = sa.select(second_factors.c.user_name).where(second_factors.c.confirmed_at.is_not(None))
            return frozenset(connection.execute(asked).scalars())

    def is_on(self, user_name: str) -> bool:
        """Whether an account is asked for a code."""
        with self._connection() as connection:
            return (
                connection.execute(
                    sa.select(second_factors.c.user_name).where(
                        second_factors.c.user_name == user_name, second_factors.c.confirmed_at.is_not(None)
                    )
                ).first()
                is not None
            )

    def begin(self, user_name: str) -> bytes:
        """A new secret, not asked for yet; one that was begun before is forgotten, one that is on stays."""
        secret, now = rules.new_secret(), self._clock.now()
        with self._connection(writing=True) as connection:
            connection.execute(
                second_factors.delete().where(
                    second_factors.c.user_name == user_name, second_factors.c.confirmed_at.is_(None)
                )
            )
            connection.execute(
                second_factors.insert().values(
                    user_name=user_name,
                    sealed_secret=self._sealed(user_name, secret),
                    created_at=now,
                    confirmed_at=None,
                    last_step=0,
                )
            )
        return secret

    def begun(self, user_name: str) -> bytes | None:
        """The secret that was begun and waits for its first code; None where none does."""
        with self._connection() as connection:
            row = connection.execute(
                sa.select(second_factors).where(
                    second_factors.c.user_name == user_name,
                    second_factors.c.confirmed_at.is_(None),
                    second_factors.c.created_at > self._clock.now() - SHOWN_FOR,
                )
            ).first()
        return None if row is None else self._opened(user_name, row.sealed_secret)

    def confirm(self, user_name: str, code: str) -> tuple[str, ...] | None:
        """Ask for codes from now on, after the first right one; the recovery codes, shown this once."""
        secret = self.begun(user_name)
        step = rules.matching_step(secret, code, self._clock.now(), 0) if secret else None
        if step is None:
            return None
        codes = rules.new_recovery_codes()
        with self._connection(writing=True) as connection:
            done = connection.execute(
                second_factors.update()
                .where(second_factors.c.user_name == user_name, second_factors.c.confirmed_at.is_(None))
                .values(confirmed_at=self._clock.now(), last_step=step)
            )
            if not done.rowcount:
                return None
            connection.execute(recovery_codes.delete().where(recovery_codes.c.user_name == user_name))
            connection.execute(recovery_codes.insert(), _rows(user_name, codes))
        return codes

    def remove(self, user_name: str) -> bool:
        """No code is asked for any more; whether one was."""
        with self._connection(writing=True) as connection:
            for table in (recovery_codes, half_sign_ins):
                connection.execute(table.delete().where(table.c.user_name == user_name))
            done = connection.execute(second_factors.delete().where(second_factors.c.user_name == user_name))
        return bool(done.rowcount)

    # ------------------------------------------------------------------ asking
    def check(self, user_name: str, text: str) -> Proof | None:
        """Whether this opens: a code of the authenticator, or a recovery code. Either counts once."""
        lost = rules.recovery_digest(text)
        if lost is not None:
            return Proof.RECOVERY if self._use_recovery(user_name, lost) else None
        with self._connection() as connection:
            row = connection.execute(
                sa.select(second_factors).where(
                    second_factors.c.user_name == user_name, second_factors.c.confirmed_at.is_not(None)
                )
            ).first()
        if row is None:
            return None
        secret = self._opened(user_name, row.sealed_secret)
        step = rules.matching_step(secret, text, self._clock.now(), row.last_step) if secret else None
        if step is None:
            return None
        with self._connection(writing=True) as connection:
            done = connection.execute(  # of two that come with the same code at once, one is first
                second_factors.update()
                .where(second_factors.c.user_name == user_name, second_factors.c.last_step < step)
                .values(last_step=step)
            )
        return Proof.CODE if done.rowcount else None

    def recovery_left(self, user_name: str) -> int:
        """How many recovery codes were not used."""
        with self._connection() as connection:
            return connection.execute(
                sa.select(sa.func.count()).where(
                    recovery_codes.c.user_name == user_name, recovery_codes.c.used_at.is_(None)
                )
            ).scalar_one()

    def _use_recovery(self, user_name: str, kept: str) -> bool:
        with self._connection(writing=True) as connection:
            done = connection.execute(
                recovery_codes.update()
                .where(
                    recovery_codes.c.user_name == user_name,
                    recovery_codes.c.code_sha256 == kept,
                    recovery_codes.c.used_at.is_(None),
                )
                .values(used_at=self._clock.now())
            )
        return bool(done.rowcount)

    # ------------------------------------------------------------------ half way in
    def begin_half(self, user_name: str, back: str) -> str:
        """The password was right: an id for the browser, with which the code may be shown."""
        step, now = secrets.token_urlsafe(32), self._clock.now()
        with self._connection(writing=True) as connection:
            connection.execute(half_sign_ins.delete().where(half_sign_ins.c.begun_at <= now - HALF_WAY))
            connection.execute(
                half_sign_ins.insert().values(
                    step_sha256=digest(step), user_name=user_name, begun_at=now, back=back
                )
            )
        return step

    def half(self, step: str) -> tuple[str, str] | None:
        """Whose code is waited for, and where to go then; None where none is, or the account is closed."""
        asked = (
            sa.select(half_sign_ins.c.user_name, half_sign_ins.c.back)
            .join(users, users.c.user_name == half_sign_ins.c.user_name)
            .where(
                half_sign_ins.c.step_sha256 == digest(step),
                half_sign_ins.c.begun_at > self._clock.now() - HALF_WAY,
                users.c.disabled_at.is_(None),
                users.c.password_changed_at <= half_sign_ins.c.begun_at,
            )
        )
        with self._connection() as connection:
            row = connection.execute(asked).first()
        return None if row is None else (row.user_name, row.back)

    def end_half(self, step: str) -> None:
        """It is done, or given up."""
        with self._connection(writing=True) as connection:
            connection.execute(half_sign_ins.delete().where(half_sign_ins.c.step_sha256 == digest(step)))

    # ------------------------------------------------------------------ sealing
    def _sealed(self, user_name: str, secret: bytes) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key()).encrypt(nonce, secret, user_name.encode())
        return base64.b64encode(nonce + sealed).decode("ascii")

    def _opened(self, user_name: str, sealed: str) -> bytes | None:
        """None for what was sealed under another key or for another account: then no code is right."""
        raw = base64.b64decode(sealed)
        try:
            return AESGCM(self._key()).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], user_name.encode())
        except InvalidTag:
            return None


def _rows(user_name: str, codes: Sequence[str]) -> list[dict[str, object]]:
    return [
        {"user_name": user_name, "code_sha256": rules.recovery_digest(code), "used_at": None}
        for code in codes
    ]
