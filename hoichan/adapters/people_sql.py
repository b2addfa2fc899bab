"""Accounts, sessions and failed sign-ins on a SQL database.

A session id is 256 random bits that only the browser has; here stands its digest. Every method may raise
RecordsUnavailable (try again).
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, sessions, sign_in_failures, users
from hoichan.errors import AccountRefused, RecordsUnavailable, UserExists, UserUnknown
from hoichan.guard.passwords import FORGOTTEN_AFTER, Patience
from hoichan.guard.roles import ASSIGNABLE, Role, is_user_name
from hoichan.ports import Clock

SESSION_BYTES = 32
_SEEN_EVERY = timedelta(seconds=60)  # a session's last use is written no more often than this
_FIRST_TRY = sa.text(
    "INSERT INTO sign_in_failures (subject_sha256, failures, last_at, blocked_until) "
    "VALUES (:key, 0, :now, :now) ON CONFLICT DO NOTHING"
).bindparams(sa.bindparam("now", type_=UtcDateTime))


class Subject(StrEnum):
    """What failed sign-ins are counted by."""

    ACCOUNT = "account"
    ADDRESS = "address"
    TOKEN_ADDRESS = "token_address"  # wrong tokens of programs; people of that address are not slowed by them


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account. The password's hash is not in it."""

    user_name: str
    display_name: str
    role: Role
    created_at: datetime
    password_changed_at: datetime
    disabled_at: datetime | None
    full_name: str = ""  # as it stands under a signature; "": as it is shown
    licence_number: str = ""  # số chứng chỉ hành nghề; without one nobody signs


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSession:
    """A session that ended by itself."""

    user_name: str
    role: str
    was_idle: bool  # unused; False: it lasted too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a session lasts."""

    idle: timedelta  # since it was last used
    longest: timedelta  # since sign-in


class PeopleSql:
    """Who may sign in, who is signed in, and who tried in vain."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    # ------------------------------------------------------------------ accounts
    def any_user(self) -> bool:
        """Whether there is an account at all, disabled ones too."""
        with self._reading() as connection:
            return (
                connection.execute(sa.select(sa.literal(1)).select_from(users).limit(1)).first() is not None
            )

    def add(self, user_name: str, *, display_name: str, role: Role, password_hash: str) -> User:
        """A new account. Raises AccountRefused for a name that cannot be one, UserExists for a used one."""
        row = account_row(
            user_name,
            display_name=display_name,
            role=role,
            password_hash=password_hash,
            now=self._clock.now(),
        )
        try:
            with self._writing() as connection:
                connection.execute(users.insert().values(row))
        except sa.exc.IntegrityError as error:
            raise UserExists(f"The user name {user_name} is taken, or was once.") from error
        return self.user(user_name)

    def users(self) -> Sequence[User]:
        """Every account, by name."""
        with self._reading() as connection:
            return [_user(row) for row in connection.execute(sa.select(users).order_by(users.c.user_name))]

    def user(self, user_name: str) -> User:
        """One account. Raises UserUnknown."""
        row = None
        if is_user_name(user_name):  # what is none may have signs that no column can hold
            with self._reading() as connection:
                row = connection.execute(sa.select(users).where(users.c.user_name == user_name)).first()
        if row is None:
            raise UserUnknown("No account has this name: `hoichan user list` shows them.")
        return _user(row)

    def role(self, user_name: str) -> Role | None:
        """The role of an account, closed or not; None where there is none."""
        if not is_user_name(user_name):
            return None
        with self._reading() as connection:
            role: str | None = connection.execute(
                sa.select(users.c.role).where(users.c.user_name == user_name)
            ).scalar()
        return Role(role) if role else None

    def password_hash(self, user_name: str) -> str | None:
        """The kept hash of an account that may sign in; None for one that is disabled or not there."""
        with self._reading() as connection:
            kept: str | None = connection.execute(
                sa.select(users.c.password_hash).where(
                    users.c.user_name == user_name, users.c.disabled_at.is_(None)
                )
            ).scalar()
        return kept

    def disable(self, user_name: str) -> None:
        """The account can no longer be used; whoever is signed in with it is out. Raises UserUnknown."""
        self._change(user_name, disabled_at=self._clock.now())

    def enable(self, user_name: str) -> None:
        """The account can be used again. Raises UserUnknown."""
        self._change(user_name, disabled_at=None)

    def set_licence(self, user_name: str, *, full_name: str, licence_number: str) -> None:
        """Who somebody is under a signature. Sessions go on. Raises UserUnknown."""
        with self._writing() as connection:
            done = connection.execute(
                users.update()
                .where(users.c.user_name == user_name)
                .values(full_name=full_name.strip() or None, licence_number=licence_number.strip() or None)
            )
        if not done.rowcount:
            raise UserUnknown("No account has this name: `hoichan user list` shows them.")

    def set_role(self, user_name: str, role: Role) -> None:
        """Another role; every session of the account ends. Raises UserUnknown, AccountRefused."""
        if role not in ASSIGNABLE:
            raise AccountRefused("role", f"The role {role} is not for accounts.")
        self._change(user_name, role=role.value)

    def set_password(self, user_name: str, password_hash: str) -> None:
        """Another password; every session of the account ends. Raises UserUnknown."""
        self._change(user_name, password_hash=password_hash, password_changed_at=self._clock.now())

    def keep_newer_hash(self, user_name: str, password_hash: str) -> None:
        """The same password hashed at today's cost; sessions stay."""
        with self._writing() as connection:
            connection.execute(
                users.update().where(users.c.user_name == user_name).values(password_hash=password_hash)
            )

    def _change(self, user_name: str, **values: object) -> None:
        with self._writing() as connection:
            done = connection.execute(users.update().where(users.c.user_name == user_name).values(values))
            connection.execute(sessions.delete().where(sessions.c.user_name == user_name))
            connection.execute(
                sign_in_failures.delete().where(
                    sign_in_failures.c.subject_sha256 == _subject(Subject.ACCOUNT, user_name)
                )
            )
        if not done.rowcount:
            raise UserUnknown("No account has this name: `hoichan user list` shows them.")

    # ------------------------------------------------------------------ sessions
    def begin_session(self, user_name: str) -> str:
        """A new session id, for the browser only."""
        session_id = secrets.token_urlsafe(SESSION_BYTES)
        now = self._clock.now()
        with self._writing() as connection:
            connection.execute(
                sessions.insert().values(
                    session_sha256=digest(session_id), user_name=user_name, created_at=now, seen_at=now
                )
            )
        return session_id

    def signed_in(self, session_id: str, lifetime: Lifetime, *, by_hand: bool) -> User | None:
        """Whose session this is; None when there is none, or it is over.

        A question that a page asks by itself (not `by_hand`) does not keep the session alive.
        """
        now = self._clock.now()
        with self._reading() as connection:
            row = connection.execute(
                sa.select(users, sessions.c.created_at.label("begun_at"), sessions.c.seen_at)
                .join(sessions, sessions.c.user_name == users.c.user_name)
                .where(sessions.c.session_sha256 == digest(session_id))
            ).first()
        if row is None:
            return None
        over = now - row.seen_at >= lifetime.idle or now - row.begun_at >= lifetime.longest
        if over or row.disabled_at is not None:
            return None  # `ended_sessions` forgets it, and whoever calls that records its end
        if by_hand and now - row.seen_at >= min(_SEEN_EVERY, lifetime.idle / 2):
            with suppress(RecordsUnavailable):  # a full disk must not blind the reader
                self._keep_alive(session_id, now)
        return _user(row)

    def _keep_alive(self, session_id: str, now: datetime) -> None:
        with self._writing() as connection:
            connection.execute(
                sessions.update().where(sessions.c.session_sha256 == digest(session_id)).values(seen_at=now)
            )

    def end_session(self, session_id: str) -> None:
        """Sign out. Nothing happens when the session is over already."""
        with self._writing() as connection:
            connection.execute(sessions.delete().where(sessions.c.session_sha256 == digest(session_id)))

    def ended_sessions(self, lifetime: Lifetime) -> Sequence[EndedSession]:
        """Forget the sessions that are over; whose they were. Each is told once."""
        now = self._clock.now()
        over = sa.or_(
            sessions.c.seen_at <= now - lifetime.idle, sessions.c.created_at <= now - lifetime.longest
        )
        asked = sessions.delete().where(over).returning(sessions.c.user_name, sessions.c.seen_at)
        with self._writing() as connection:
            ended = connection.execute(asked).all()
            roles = dict(connection.execute(sa.select(users.c.user_name, users.c.role)).all())
        return [
            EndedSession(
                user_name=row.user_name,
                role=roles.get(row.user_name, "unknown"),
                was_idle=row.seen_at <= now - lifetime.idle,
            )
            for row in ended
        ]

    # ------------------------------------------------------------------ failed sign-ins
    def try_sign_in(self, subject: Subject, name: str, patience: Patience) -> timedelta:
        """Count a try before it is made; how long to wait first, zero when it may be made now.

        Counted as failed until `succeeded` says otherwise, so that many tries at once count as many. A try
        while the subject is blocked is not counted: waiting must end.
        """
        now, key = self._clock.now(), _subject(subject, name)
        table = sign_in_failures
        with self._writing() as connection:
            connection.execute(table.delete().where(table.c.last_at <= now - FORGOTTEN_AFTER))
            connection.execute(_FIRST_TRY, {"key": key, "now": now})
            row = connection.execute(
                sa.select(table).where(table.c.subject_sha256 == key).with_for_update()
            ).one()
            if row.blocked_until > now:
                left: timedelta = row.blocked_until - now
                return left
            failures = patience.remembered(row.failures, now - row.last_at) + 1
            connection.execute(
                table.update()
                .where(table.c.subject_sha256 == key)
                .values(failures=failures, last_at=now, blocked_until=now + patience.pause(failures))
            )
            return timedelta(0)

    def succeeded(self, user_name: str, address: str) -> None:
        """The password was right: the account's failures no longer count, nor does this try of the address.

        Failures of others from that address stay: an own account must not buy an attacker more guesses.
        """
        table, now = sign_in_failures, self._clock.now()
        with self._writing() as connection:
            connection.execute(
                table.delete().where(table.c.subject_sha256 == _subject(Subject.ACCOUNT, user_name))
            )
            connection.execute(
                table.update()
                .where(table.c.subject_sha256 == _subject(Subject.ADDRESS, address), table.c.failures > 0)
                .values(failures=table.c.failures - 1, blocked_until=now)
            )


def account_row(
    user_name: str, *, display_name: str, role: Role, password_hash: str, now: datetime
) -> dict[str, object]:
    """A new account as it is kept. Raises AccountRefused for a name or a role that cannot be."""
    if not is_user_name(user_name):
        raise AccountRefused(
            "name", "A user name is 2 to 32 of a-z, 0-9, dot, dash, underscore; a letter first."
        )
    if role not in ASSIGNABLE:
        raise AccountRefused("role", f"The role {role} is not for accounts.")
    return {
        "user_name": user_name,
        "display_name": display_name,
        "role": role.value,
        "password_hash": password_hash,
        "created_at": now,
        "password_changed_at": now,
        "disabled_at": None,
    }


def digest(session_id: str) -> str:
    """What is kept of a session id: SHA-256; its 256 random bits need no salt."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def neighbourhood(address: str) -> str:
    """The address that failures are counted by: IPv6 by /64, one household has 2^64 of them."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _subject(subject: Subject, name: str) -> str:
    text = neighbourhood(name) if subject is not Subject.ACCOUNT else name
    return hashlib.sha256(f"{subject.value}:{text}".encode()).hexdigest()


def _user(row: sa.Row[tuple[object, ...]]) -> User:
    return User(
        user_name=row.user_name,
        display_name=row.display_name,
        role=Role(row.role),
        created_at=row.created_at,
        password_changed_at=row.password_changed_at,
        disabled_at=row.disabled_at,
        full_name=row.full_name or "",
        licence_number=row.licence_number or "",
    )
