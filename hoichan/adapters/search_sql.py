"""Finding studies by what people type: a name without accents, a number, an accession number, a study UID.

Every query is a range of keys, so it walks an index: `search_keys` by (kind, key). A name has one key for
each of its words, the name turned round so that the word comes first; the whole name is in every key, so
words are checked where the walk stands and no row is fetched for those that do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies
from hoichan.adapters.schema_orders import search_keys
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.intake.names import UID_QUERY, KeyKind, number_key, words_of
from hoichan.intake.names import search_keys as keys_of

SHORTEST = 2  # letters or digits of a query
FEW = 1_500  # keys that are fetched and sorted rather than walked by time
WALKED = (
    200_000  # keys at most of such a walk: who looks for two common words that hardly meet finds the newest
)
_KEYS_OF_A_NAME = 6  # words of one name that may begin the same
_LAST = "\U0010ffff"  # sorts after every letter


def write_keys(
    connection: sa.Connection,
    study: str,
    received_at: object,
    *,
    names: Sequence[str],
    numbers: Sequence[str],
) -> None:
    """Add keys of a study; those it had before stay, so that it is found under its former patient too."""
    rows = [
        {"kind": str(kind), "key": key, "study_instance_uid": study, "received_at": received_at}
        for kind, key in sorted(keys_of(names, numbers))
    ]
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]  # noqa: PLC0415
    connection.execute(insert(search_keys).on_conflict_do_nothing(), rows)


def find(
    connection: sa.Connection, text: str, *, limit: int, offset: int = 0, sight: Sight = EVERYTHING
) -> Sequence[Row]:
    """Rows of `studies` that a query finds, newest first; none for a query that is too short."""
    uid = text.strip()
    if UID_QUERY.fullmatch(uid):
        statement = sa.select(studies).where(
            studies.c.study_instance_uid >= uid,
            studies.c.study_instance_uid < uid + _LAST,
            *sight.narrow(),
        )
        return list(connection.execute(statement.limit(limit).offset(offset)).mappings())
    for ranges in _ways(text):
        found = _newest(connection, ranges, limit + offset, sight)
        if found:
            return _heads(connection, found[offset:])
    return []


def _newest(connection: sa.Connection, ranges: Sequence[_Range], count: int, sight: Sight) -> list[str]:
    """The newest studies with a key in any of the ranges, newest first; so many at most."""
    times: dict[str, datetime] = {}
    for one in ranges:
        for uid, received_at in _keys(connection, one, count * _KEYS_OF_A_NAME, sight):
            times[uid] = max(received_at, times.get(uid, received_at))
    return sorted(sorted(times), key=times.__getitem__, reverse=True)[:count]


def _keys(connection: sa.Connection, wanted: _Range, count: int, sight: Sight) -> list[tuple[str, datetime]]:
    """Study and time of the keys in a range; of a range that many keys fit the newest `count`.

    Where any of the words is rare its keys are fetched and sorted. Where all are common, as the commonest
    family name is, keys are walked by time until there are enough: the more common, the sooner there are.
    """
    for one in wanted.turned():
        few = sa.select(sa.func.count()).select_from(one.alone().keys().limit(FEW + 1).subquery())
        if connection.execute(few).scalar_one() <= FEW:
            return _pairs(connection, one.keys(), sight)
    return _pairs(connection, wanted.newest().limit(count), sight)


def _pairs(connection: sa.Connection, keys: sa.Select[Any], sight: Sight) -> list[tuple[str, datetime]]:
    seen = sight.narrow_by(keys.selected_columns.study_instance_uid)
    found = connection.execute(keys.where(*seen)).mappings()
    return [(row["study_instance_uid"], row["received_at"]) for row in found]


def _heads(connection: sa.Connection, uids: Sequence[str]) -> list[Row]:
    found = connection.execute(sa.select(studies).where(studies.c.study_instance_uid.in_(uids))).mappings()
    heads = {row["study_instance_uid"]: row for row in found}
    return [heads[uid] for uid in uids if uid in heads]


def studies_under(number: str) -> sa.Select[tuple[object, ...]]:
    """Rows of `studies` that had a number at any time, of a patient or of an order."""
    keys = sa.select(search_keys.c.study_instance_uid).where(
        search_keys.c.kind == str(KeyKind.NUMBER), search_keys.c.key == number_key(number)
    )
    return sa.select(studies).where(studies.c.study_instance_uid.in_(keys))


def _ways(text: str) -> list[list[_Range]]:
    """What to look for, best first: a number, or words as they are spoken; then the words in any order."""
    words = words_of(text)
    letters = sum(map(len, words))
    number = number_key(text)
    if letters < SHORTEST:
        return []
    first = [_Range(KeyKind.NUMBER, number)] if any(c.isdigit() for c in number) else []
    if any(word.isalpha() for word in words):
        first.append(_Range(KeyKind.NAME, " ".join(words)))
    ways = [first] if first else []
    if len(words) > 1:
        longest = max(words, key=len)
        rest = list(words)
        rest.remove(longest)
        ways.append([_Range(KeyKind.NAME, longest, tuple(rest))])
    return ways


@dataclass(frozen=True, slots=True)
class _Range:
    """Keys of a kind that begin so, and in which each of the words begins another word."""

    kind: KeyKind
    prefix: str
    words: tuple[str, ...] = ()

    def alone(self) -> _Range:
        """The range without its further words."""
        return replace(self, words=())

    def turned(self) -> Iterator[_Range]:
        """The same with each word in front; all find the same studies."""
        yield self
        for number, word in enumerate(self.words):
            others = (*self.words[:number], *self.words[number + 1 :])
            yield replace(self, prefix=word, words=(self.prefix, *others))

    def keys(self) -> sa.Select[Any]:
        """Study and time, by the primary key."""
        chosen = (search_keys.c.kind == str(self.kind), *self._fits(search_keys.c.key))
        return sa.select(search_keys.c.study_instance_uid, search_keys.c.received_at).where(*chosen)

    def newest(self) -> sa.Select[Any]:
        """The same, newest first, among the newest `WALKED` keys, by `ix_search_keys_by_time`."""
        walk = (
            sa.select(search_keys.c.study_instance_uid, search_keys.c.received_at, search_keys.c.key)
            .where(search_keys.c.kind == str(self.kind))
            .order_by(search_keys.c.received_at.desc())
            .limit(WALKED)
            .subquery()
        )
        return sa.select(walk.c.study_instance_uid, walk.c.received_at).where(*self._fits(walk.c.key))

    def _fits(self, key: sa.ColumnElement[str]) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            key >= self.prefix,
            key < self.prefix + _LAST,
            *(key.like(f"% {word}%") for word in self.words),  # words hold no wildcards: see `words_of`
        )
