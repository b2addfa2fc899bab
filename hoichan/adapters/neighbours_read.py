"""When one sender's objects came about the time of a study: what a study of one film cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from hoichan.adapters.schema import instances, trail
from hoichan.adapters.transactions import transaction
from hoichan.types import StudyInstanceUID

LINES = 400  # of all trails, before and after the study's own: an index's stretch, however long the record
MOST_STUDIES = 40
NEAR = timedelta(minutes=2)
RECEIVED = "instances_received"


def came_near(engine: sa.Engine, study: StudyInstanceUID, sender: str) -> Sequence[datetime]:
    """The times, in order, at which the sender's objects came just before and after this study's last one.

    Those of the study are among them. Raises RecordsUnavailable (try again).
    """
    with transaction(engine) as connection:
        own = sa.select(sa.func.max(trail.c.id)).where(
            trail.c.study_instance_uid == study, trail.c.event == RECEIVED
        )
        line = connection.execute(own).scalar()
        if line is None:
            return []
        lines = connection.execute(
            sa.select(trail.c.id, trail.c.study_instance_uid, trail.c.details).where(
                trail.c.id.between(line - LINES, line + LINES), trail.c.event == RECEIVED
            )
        ).all()
        nearest = sorted(lines, key=lambda row: abs(row.id - line))
        found = [row.study_instance_uid for row in nearest if row.details.get("sender") == sender]
        uids = list(dict.fromkeys(found))[:MOST_STUDIES]
        times = connection.execute(
            sa.select(instances.c.study_instance_uid, instances.c.received_at).where(
                instances.c.study_instance_uid.in_(uids)
            )
        ).all()
    last = max((row.received_at for row in times if row.study_instance_uid == study), default=None)
    if last is None:
        return []
    return sorted(row.received_at for row in times if abs(row.received_at - last) <= NEAR)
