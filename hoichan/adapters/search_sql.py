"""Finding studies by what people type: a name without accents, a number, an accession number, a study UID.

Every query is a range of keys, so it walks an index: `search_keys` by (kind, key). A name has one key for
each of its words, the name turned round so that the word comes first; the whole name is in every key, so
words are checked where the walk stands and no row is fetched for those that do not fit. Words that meet in no
name are known by `name_pairs`, so that nothing is walked for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies
from hoichan.adapters.schema_orders import name_pairs, search_keys
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.intake.names import UID_QUERY, KeyKind, number_key, words_of
from hoichan.intake.names import search_keys as keys_of

SHORTEST = 2  # letters or digits of a query
FEW = 1_500  # keys that are sorted rather than walked by time
WALKED = 40_000  # keys of a walk by time: some milliseconds
FAR = 200_000  # keys that are looked at, at most, where such a walk has not found enough
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
    met = {
        (first, other)
        for row in rows
        if row["kind"] == str(KeyKind.NAME)
        for first, *others in [str(row["key"]).split()]
        for other in others
    }
    if not met:
        return
    words = sorted({first for first, _ in met})
    told = connection.execute(
        sa.select(name_pairs).where(
            name_pairs.c.first.in_(words), name_pairs.c.other.in_(sorted({other for _, other in met}))
        )
    )
    new = sorted(met - {(first, other) for first, other in told})
    if new:
        values = [{"first": first, "other": other} for first, other in new]
        connection.execute(insert(name_pairs).on_conflict_do_nothing(), values)


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
        for uid, received_at in _studies(connection, one, count, sight):
            times[uid] = max(received_at, times.get(uid, received_at))
    return sorted(sorted(times), key=times.__getitem__, reverse=True)[:count]


Found = list[tuple[str, datetime]]


def _studies(connection: sa.Connection, wanted: _Range, count: int, sight: Sight) -> Found:
    """The newest `count` studies with a key in a range, and their time.

    Where any of the words is rare, its keys are sorted. Where all are common, as the commonest family name
    is, keys are walked by time: the more common, the sooner there are enough. Words that no name has together
    are known before. Two common words that hardly
    ever meet are found among the keys of the rarer one; where it has more than `FAR`, among the newest `FAR`.
    """
    for one in wanted.turned():
        if _count(connection, one.alone(), FEW) <= FEW:
            return _pairs(connection, one.sorted(FEW), count, sight)
    if not _meet(connection, wanted):
        return []
    found = _pairs(connection, wanted.newest(WALKED), count, sight)
    if len(found) == count:
        return found
    rarest = _rarest(connection, wanted)
    few_enough = _count(connection, rarest.alone(), FAR) <= FAR
    return _pairs(connection, rarest.sorted(FAR) if few_enough else wanted.newest(FAR), count, sight)


def _count(connection: sa.Connection, wanted: _Range, most: int) -> int:
    """How many keys a range has; `most` + 1 is more."""
    keys = wanted.keys().limit(most + 1).subquery()
    counted: int = connection.execute(sa.select(sa.func.count()).select_from(keys)).scalar_one()
    return counted


def _meet(connection: sa.Connection, wanted: _Range) -> bool:
    """Whether some name may have all the words: each of the others stands in one with the first."""
    for one in wanted.turned():
        for word in one.words:
            pair = sa.select(name_pairs.c.first).where(
                *_begins(name_pairs.c.first, one.prefix), *_begins(name_pairs.c.other, word)
            )
            if connection.execute(pair.limit(1)).first() is None:
                return False
    return True


def _begins(column: sa.ColumnElement[str], prefix: str) -> tuple[sa.ColumnElement[bool], ...]:
    return column >= prefix, column < prefix + _LAST


def _rarest(connection: sa.Connection, wanted: _Range) -> _Range:
    """The range turned so that the word is in front that the newest keys have least."""
    turned = list(wanted.turned())
    if len(turned) == 1:
        return wanted
    walk = wanted.walk(WALKED)
    shares = [sa.func.count(sa.case((sa.and_(*one.alone().fits(walk.c.key)), 1))) for one in turned]
    seen = connection.execute(sa.select(*shares).select_from(walk)).one()
    return min(zip(seen, range(len(turned)), turned, strict=True))[2]


def _pairs(connection: sa.Connection, keys: sa.Select[Any], count: int, sight: Sight) -> Found:
    """The first studies of some keys that come newest first. A study may have several of them."""
    kept = keys.where(*sight.narrow_by(keys.selected_columns.study_instance_uid))
    enough = 2 * count
    while True:
        rows = [tuple(row) for row in connection.execute(kept.limit(enough))]
        times: dict[str, datetime] = {}
        for uid, received_at in rows:
            times.setdefault(uid, received_at)
        if len(times) >= count or len(rows) < enough:
            return list(times.items())[:count]
        enough *= 4


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
        chosen = (search_keys.c.kind == str(self.kind), *self.fits(search_keys.c.key))
        return sa.select(search_keys.c.study_instance_uid, search_keys.c.received_at).where(*chosen)

    def sorted(self, most: int) -> sa.Select[Any]:
        """The same, newest first; `most`: there are no more.

        The limit stands in the way of a database that would walk all keys by time to save the sorting.
        """
        few = self.keys().limit(most).subquery()
        return sa.select(few.c.study_instance_uid, few.c.received_at).order_by(few.c.received_at.desc())

    def newest(self, most: int) -> sa.Select[Any]:
        """The same among the newest `most` keys, by `ix_search_keys_by_time`.

        Not sorted again: then whatever is read first is enough, and the walk ends there.
        """
        walk = self.walk(most)
        return sa.select(walk.c.study_instance_uid, walk.c.received_at).where(*self.fits(walk.c.key))

    def walk(self, most: int) -> sa.Subquery:
        """The newest keys of this kind, whatever they are."""
        return (
            sa.select(search_keys.c.study_instance_uid, search_keys.c.received_at, search_keys.c.key)
            .where(search_keys.c.kind == str(self.kind))
            .order_by(search_keys.c.received_at.desc())
            .limit(most)
            .subquery()
        )

    def fits(self, key: sa.ColumnElement[str]) -> tuple[sa.ColumnElement[bool], ...]:
        """Conditions on a key."""
        return (
            *_begins(key, self.prefix),
            *(key.like(f"% {word}%") for word in self.words),  # words hold no wildcards: see `words_of`
        )
