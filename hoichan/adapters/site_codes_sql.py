"""Loaded code tables. The newest load of a table counts; older ones stay on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema_worklists import site_codes
from hoichan.adapters.transactions import transaction
from hoichan.ports import Clock
from hoichan.site_codes import COLUMNS, CodeTable, SiteCode


class SiteCodesSql:
    """Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def load(self, table: CodeTable, rows: Sequence[SiteCode], sha256: str) -> bool:
        """Put a file in force, whole; False when the same file is in force already."""
        with transaction(self._engine) as connection:
            newest = connection.execute(_newest(table)).first()
            if newest is not None and newest.load_sha256 == sha256:
                return False
            now = self._clock.now()
            connection.execute(
                site_codes.insert(),
                [
                    {
                        "code_table": str(table),
                        "load_sha256": sha256,
                        "loaded_at": now,
                        **{name: getattr(row, name) for name in COLUMNS},
                    }
                    for row in rows
                ],
            )
            return True

    def rows(self, table: CodeTable) -> Sequence[SiteCode]:
        """The rows of the newest load, in the order of the file."""
        with transaction(self._engine) as connection:
            newest = connection.execute(_newest(table)).first()
            if newest is None:
                return []
            found = connection.execute(
                sa.select(*(site_codes.c[name] for name in COLUMNS))
                .where(
                    site_codes.c.code_table == str(table),
                    site_codes.c.load_sha256 == newest.load_sha256,
                    site_codes.c.loaded_at == newest.loaded_at,
                )
                .order_by(site_codes.c.id)
            ).mappings()
            return [SiteCode(**row) for row in found]

    def loaded(self) -> Mapping[CodeTable, datetime]:
        """When each table was loaded last."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(site_codes.c.code_table, sa.func.max(site_codes.c.loaded_at)).group_by(
                    site_codes.c.code_table
                )
            )
            return {CodeTable(name): at for name, at in found}


def _newest(table: CodeTable) -> sa.Select[tuple[str, datetime]]:
    return (
        sa.select(site_codes.c.load_sha256, site_codes.c.loaded_at)
        .where(site_codes.c.code_table == str(table))
        .order_by(site_codes.c.loaded_at.desc(), site_codes.c.id.desc())
        .limit(1)
    )
