"""One transaction of the record; a database that does not answer is told as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from hoichan.errors import RecordsUnavailable, ValueNotKept


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Committed at the end, undone by an error. Raises RecordsUnavailable (try again) or ValueNotKept."""
    try:
        with engine.begin() as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error
    except sa.exc.DataError:
        raise ValueNotKept("The database cannot hold one of the values.") from None  # its text holds them
