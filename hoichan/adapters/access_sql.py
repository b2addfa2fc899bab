"""Which facilities an account is bound to, and which studies break-glass opens for it, on a SQL database.

Every method may raise RecordsUnavailable (try again).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from hoichan.adapters.opinions_sql import lent
from hoichan.adapters.schema import deliveries, studies, trail, users
from hoichan.adapters.schema_access import account_scopes, emergency_accesses
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.errors import AccountRefused, RecordsUnavailable, StudyUnknown, UserUnknown
from hoichan.guard.emergency import Emergency, Reason
from hoichan.ports import Clock

Senders = Mapping[str, frozenset[str]]  # AE titles by the code of their facility


class AccessSql:
    """Who may see which studies."""

    def __init__(self, engine: sa.Engine, clock: Clock, senders: Senders) -> None:
        self._engine = engine
        self._clock = clock
        self._senders = senders

    @contextmanager
    def _connection(self, *, writing: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() if writing else self._engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    # ------------------------------------------------------------------ facilities
    def sight(self, user_name: str) -> Sight:
        """What an account sees now. A facility that the settings no longer know shows nothing."""
        with self._connection() as connection:
            bound = connection.execute(
                sa.select(account_scopes.c.facilities).where(account_scopes.c.user_name == user_name)
            ).scalar()
            if bound is None:
                return EVERYTHING
            opened = connection.execute(
                sa.select(emergency_accesses.c.study_instance_uid).where(
                    emergency_accesses.c.user_name == user_name,
                    emergency_accesses.c.ends_at > self._clock.now(),
                )
            ).scalars()
            senders = [self._senders.get(code, frozenset()) for code in bound]
            broken = frozenset(opened)
            asked = lent(connection, user_name, bound)
            return Sight(senders=frozenset().union(*senders), opened=broken | asked, lent=asked - broken)

    def facilities(self, user_name: str) -> tuple[str, ...] | None:
        """The codes an account is bound to; None where it sees all."""
        return self.bound().get(user_name)

    def bound(self) -> Mapping[str, tuple[str, ...]]:
        """The codes by account, of those that are bound."""
        with self._connection() as connection:
            rows = connection.execute(sa.select(account_scopes.c.user_name, account_scopes.c.facilities))
            return {name: tuple(codes) for name, codes in rows}

    def bind(self, user_name: str, facilities: Sequence[str] | None) -> None:
        """Bind an account to facilities; to none of them it sees nothing, with None it sees all.

        Raises UserUnknown, and AccountRefused for a facility that the settings do not know.
        """
        unknown = sorted(set(facilities or ()) - set(self._senders))
        if unknown:
            raise AccountRefused("facility", f"No facility {unknown[0]}: see [[facilities]] in the settings.")
        with self._connection(writing=True) as connection:
            known = connection.execute(sa.select(users.c.role).where(users.c.user_name == user_name)).first()
            if known is None:
                raise UserUnknown("No account has this name: `hoichan user list` shows them.")
            connection.execute(account_scopes.delete().where(account_scopes.c.user_name == user_name))
            if facilities is not None:
                connection.execute(
                    account_scopes.insert().values(
                        user_name=user_name,
                        facilities=sorted(set(facilities)),
                        changed_at=self._clock.now(),
                    )
                )

    def is_lent(self, sight: Sight, study: str) -> bool:
        """Whether a study is seen for no other reason than that a colleague asks about it."""
        if study not in sight.lent:
            return False
        return not self.sees(replace(sight, opened=sight.opened - sight.lent), study)

    # ------------------------------------------------------------------ break-glass
    def sees(self, sight: Sight, study: str) -> bool | None:
        """Whether a study is seen; None where there is no such study."""
        with self._connection() as connection:
            head = connection.execute(
                sa.select(studies.c.study_instance_uid, studies.c.calling_ae_title).where(
                    studies.c.study_instance_uid == study
                )
            )
            row = head.mappings().one_or_none()
        return None if row is None else sight.sees(row)

    def study_of(self, idempotency_key: str) -> str | None:
        """The study that a delivery is of; None where there is no such delivery."""
        with self._connection() as connection:
            found: str | None = connection.execute(
                sa.select(deliveries.c.study_instance_uid).where(
                    deliveries.c.idempotency_key == idempotency_key
                )
            ).scalar()
        return found

    def named(self, text: str) -> tuple[str, ...]:
        """UIDs of the studies that a UID or a whole accession number names; two at most.

        Nothing is found by the beginning of a number or by a name: who breaks the glass knows what for.
        """
        wanted = text.strip()
        found = sa.select(studies.c.study_instance_uid).where(
            sa.or_(studies.c.study_instance_uid == wanted, studies.c.accession_number == wanted)
        )
        if not wanted:
            return ()
        with self._connection() as connection:
            return tuple(connection.execute(found.limit(2)).scalars())

    def break_glass(
        self, user_name: str, study: str, *, reason: Reason, words: str, lasts: timedelta
    ) -> Emergency:
        """Open one study to one account for a while; it is on the study's trail. Raises StudyUnknown."""
        now = self._clock.now()
        opened = Emergency(
            user_name=user_name,
            study_instance_uid=study,
            begun_at=now,
            ends_at=now + lasts,
            reason=reason,
            words=words,
        )
        with self._connection(writing=True) as connection:
            head = sa.select(studies.c.state).where(studies.c.study_instance_uid == study)
            if connection.execute(head).first() is None:
                raise StudyUnknown(f"No study {study}.")
            connection.execute(
                emergency_accesses.insert().values(
                    user_name=user_name,
                    study_instance_uid=study,
                    begun_at=now,
                    ends_at=opened.ends_at,
                    reason=reason.value,
                    words=words,
                )
            )
            connection.execute(
                trail.insert().values(
                    study_instance_uid=study,
                    at=now,
                    event="glass_broken",
                    details={"who": user_name, "reason": reason.value, "until": opened.ends_at.isoformat()},
                )
            )
        return opened

    def emergencies(self, *, since: datetime | None = None, limit: int = 200) -> tuple[Emergency, ...]:
        """Who broke the glass, newest first."""
        table = emergency_accesses
        asked = sa.select(table).order_by(table.c.begun_at.desc(), table.c.user_name).limit(limit)
        if since is not None:
            asked = asked.where(table.c.begun_at >= since)
        with self._connection() as connection:
            return tuple(
                Emergency(
                    user_name=row.user_name,
                    study_instance_uid=row.study_instance_uid,
                    begun_at=row.begun_at,
                    ends_at=row.ends_at,
                    reason=Reason(row.reason),
                    words=row.words,
                )
                for row in connection.execute(asked)
            )
