"""Which reports were given up because their images were not known to be where they go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.images_there import CAUSES
from hoichan.adapters.schema import deliveries
from hoichan.adapters.transactions import transaction
from hoichan.types import DeliveryState

MOST = 500


class ImagesAwaited:
    """On a SQL database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def given_up(self, *, since: datetime) -> Sequence[tuple[str, datetime]]:
        """Key and time of planning of what was planned since then; the newest 500."""
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(deliveries.c.idempotency_key, deliveries.c.created_at)
                .where(
                    deliveries.c.state == DeliveryState.DEAD,
                    deliveries.c.acknowledgement.in_(CAUSES),
                    deliveries.c.created_at >= since,
                )
                .order_by(deliveries.c.created_at.desc())
                .limit(MOST)
            )
            return [(key, created_at) for key, created_at in found]
