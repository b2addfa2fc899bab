"""What of the record one reader may see: everything, or the studies of some senders and a few more.

The only place where a reader's facilities become a condition of a query. Whatever reads studies for a person
takes a `Sight` and asks it; the gate of the page asks it too, for every address that names a study.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Whose studies are seen. `opened`: studies that break-glass has opened for a while."""

    senders: frozenset[str] | None = None  # AE titles; None: every sender, and `opened` says nothing more
    opened: frozenset[str] = frozenset()
    lent: frozenset[str] = frozenset()  # of `opened`: only to read and to answer a colleague's question

    @property
    def is_bound(self) -> bool:
        """Whether there is anything that is not seen."""
        return self.senders is not None

    def sees(self, head: Row) -> bool:
        """Whether a row of `studies` is seen."""
        return (
            self.senders is None
            or head["calling_ae_title"] in self.senders
            or head["study_instance_uid"] in self.opened
        )

    def narrow(self) -> tuple[sa.ColumnElement[bool], ...]:
        """Conditions on `studies` for a query; () where everything is seen."""
        if self.senders is None:
            return ()
        return (
            sa.or_(
                studies.c.calling_ae_title.in_(sorted(self.senders)),
                studies.c.study_instance_uid.in_(sorted(self.opened)),
            ),
        )

    def narrow_by(self, study: sa.ColumnElement[str]) -> tuple[sa.ColumnElement[bool], ...]:
        """The same for a query that has the UID of a study but not its row."""
        if self.senders is None:
            return ()
        return (
            sa.exists()
            .where(studies.c.study_instance_uid == study, *self.narrow())
            .correlate_except(studies),
        )


EVERYTHING = Sight()
