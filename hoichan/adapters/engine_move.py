"""Moves the engine's waiting work from one database to another, through the engine's own interface.

What was running when the house stopped begins anew in the target; the record makes that harmless. The same
piece twice is one piece, so a move may be repeated. Work that ended stays behind: the record has its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import sqlalchemy as sa
from dbos import DBOS, DBOSClient

from hoichan.adapters.database import open_database
from hoichan.adapters.engine_dbos import enqueue_again
from hoichan.adapters.engine_queued import queued
from hoichan.errors import RecordsError

_OPEN = ["ENQUEUED", "DELAYED", "PENDING"]


def move_work(source: str, target: str, progress: Callable[[], object] = lambda: None) -> Mapping[str, int]:
    """Enqueue in the target what waits or ran in the source; how many pieces by queue.

    Both are database URLs. Raises RecordsError where the target does not hold all of it afterwards.
    """
    if not queued(source):
        return {}
    DBOS.migrate(sa.make_url(target).render_as_string(hide_password=False))
    engines = open_database(source), open_database(target)
    here, there = (DBOSClient(system_database_engine=engine) for engine in engines)
    try:
        waiting = here.list_workflows(status=_OPEN, load_output=False)
        for workflow in waiting:
            enqueue_again(there.enqueue, workflow)
            progress()
        wanted = {workflow.workflow_id for workflow in waiting}
        found = there.list_workflows(status=_OPEN, load_input=False, load_output=False)
        missing = wanted - {workflow.workflow_id for workflow in found}
        if missing:
            raise RecordsError(f"{len(missing)} pieces of waiting work did not arrive in the target.")
        return Counter(workflow.queue_name or "" for workflow in waiting)
    finally:
        here.destroy()
        there.destroy()
        for engine in engines:
            engine.dispose()


def foreign_work(source: str, target: str) -> int:
    """How many pieces of work the target has that do not come from this source."""
    if not queued(target):
        return 0
    return len(_names(target) - _names(source))


def _names(url: str) -> set[str]:
    file = sa.make_url(url).database if url.startswith("sqlite") else None
    if file is not None and not Path(file).exists():
        return set()
    engine = open_database(url)
    client = DBOSClient(system_database_engine=engine)
    try:
        return {w.workflow_id for w in client.list_workflows(load_input=False, load_output=False)}
    finally:
        client.destroy()
        engine.dispose()
