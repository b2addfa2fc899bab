"""Finding studies by what people type: a name without accents, a number, an accession number, a study UID.

Every query is a range of keys, so it walks an index: `search_keys` by (kind, key). A name has one key for
each of its words, the name turned round so that the word comes first; the whole name is in every key, so
words are checked where the walk stands and no row is fetched for those that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies
from hoichan.adapters.schema_orders import search_keys
from hoichan.intake.names import UID_QUERY, KeyKind, number_key, words_of
from hoichan.intake.names import search_keys as keys_of

SHORTEST = 2  # letters or digits of a query
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


def find(connection: sa.Connection, text: str, *, limit: int, offset: int = 0) -> Sequence[Row]:
    """Rows of `studies` that a query finds, newest first; none for a query that is too short."""
    uid = text.strip()
    if UID_QUERY.fullmatch(uid):
        statement = sa.select(studies).where(
            studies.c.study_instance_uid >= uid, studies.c.study_instance_uid < uid + _LAST
        )
        return list(connection.execute(statement.limit(limit).offset(offset)).mappings())
    for parts in _ways(text):
        keys = sa.union(*parts).subquery()
        at = sa.func.max(keys.c.received_at)
        newest = (
            sa.select(keys.c.study_instance_uid, at.label("received_at"))
            .group_by(keys.c.study_instance_uid)
            .order_by(at.desc(), keys.c.study_instance_uid)
            .limit(limit)
            .offset(offset)
            .subquery()
        )
        statement = (
            sa.select(studies)
            .join(newest, newest.c.study_instance_uid == studies.c.study_instance_uid)
            .order_by(newest.c.received_at.desc(), studies.c.study_instance_uid)
        )
        heads = list(connection.execute(statement).mappings())
        if heads or offset:
            return heads
    return []


def studies_under(number: str) -> sa.Select[tuple[object, ...]]:
    """Rows of `studies` that had a number at any time, of a patient or of an order."""
    keys = sa.select(search_keys.c.study_instance_uid).where(
        search_keys.c.kind == str(KeyKind.NUMBER), search_keys.c.key == number_key(number)
    )
    return sa.select(studies).where(studies.c.study_instance_uid.in_(keys))


def _ways(text: str) -> list[list[sa.Select[tuple[str, object]]]]:
    """What to look for, best first: a number, or words as they are spoken; then the words in any order."""
    words = words_of(text)
    letters = sum(map(len, words))
    number = number_key(text)
    if letters < SHORTEST:
        return []
    first = [_range(KeyKind.NUMBER, number)] if any(c.isdigit() for c in number) else []
    if any(word.isalpha() for word in words):
        first.append(_range(KeyKind.NAME, " ".join(words)))
    ways = [first] if first else []
    if len(words) > 1:
        longest = max(words, key=len)
        rest = list(words)
        rest.remove(longest)
        ways.append([_range(KeyKind.NAME, longest, rest)])
    return ways


def _range(kind: KeyKind, prefix: str, words: Sequence[str] = ()) -> sa.Select[tuple[str, object]]:
    """Studies with a key that begins so, and in which each of the words begins another word."""
    key = search_keys.c.key
    chosen = [search_keys.c.kind == str(kind), key >= prefix, key < prefix + _LAST]
    chosen += [key.like(f"% {word}%") for word in words]  # words hold no wildcards: see `words_of`
    return sa.select(search_keys.c.study_instance_uid, search_keys.c.received_at).where(*chosen)
