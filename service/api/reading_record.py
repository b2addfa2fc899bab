"""What is told of a reading: the audit log hears each verdict, and that somebody has had the study open for a
while; the EMR that somebody has begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog
from fastapi import Request

from hoichan.adapters.begun_sql import BegunSql
from hoichan.adapters.reviews_sql import SoftLock
from hoichan.errors import RecordsError
from hoichan.guard.audit import LOOKED, Audited
from hoichan.reporting.reviews import Signer
from hoichan.types import Judgement, Report, ReviewDraft, StudyInstanceUID
from service.api.desk import Desk
from service.begun import Begun

log = structlog.get_logger()

LOCK_SECONDS = 90.0
LOOKED_AFTER = timedelta(seconds=25)  # the room says every 30 seconds that it is open
MOST_TOLD = 12  # verdicts in one record
BEGUN = "begun"  # words or none: somebody works on it


def record_verdicts(request: Request, desk: Desk, draft: ReviewDraft, kept: ReviewDraft | None) -> None:
    """Record what a draft says otherwise than the kept one: verdicts and keys, no word of the report."""
    if draft.version != (kept.version if kept else 0):  # it will be refused
        return
    before, now = _verdicts(kept), _verdicts(draft)
    said = [f"{one.verdict.value} {one.key}" for at, one in now.items() if not _is_same(before.get(at), one)]
    said += [f"undone {one.key}" for at, one in before.items() if at not in now]
    said += _said_of_volumes(draft, kept)
    if kept is not None and not said:
        return
    detail = ", ".join(said[:MOST_TOLD]) or BEGUN
    uid = draft.study_instance_uid
    desk.witness.record(request, Audited.RESULT_REVIEWED, uid, draft.report_uid, detail=detail)


def tell_begun(desk: Desk, report: Report, reader: Signer) -> None:
    """Tell the EMR that somebody reads. The draft is kept: what cannot be told now, the next one tells."""
    begun = BegunSql(desk.reading.engine, desk.reading.objects, desk.clock)
    try:
        Begun(begun, desk.settings, desk.clock).tell(report, reader)
    except RecordsError as error:
        log.warning("reading_not_told", study=report.study_instance_uid, code=error.code)


def record_look(
    request: Request, desk: Desk, uid: StudyInstanceUID, before: SoftLock | None, lock: SoftLock
) -> None:
    """Record once that the one who has the study has had it open for a while."""
    if before is None or before.reader != lock.reader or before.since != lock.since:
        return
    if _open_for(before) < LOOKED_AFTER <= _open_for(lock) and lock.until > before.until:
        desk.witness.record(request, Audited.VIEWED, uid, detail=LOOKED)


def _open_for(lock: SoftLock) -> timedelta:
    """How long it had been open when it was last said that it is."""
    return lock.until - lock.since - timedelta(seconds=LOCK_SECONDS)


def _said_of_volumes(draft: ReviewDraft, kept: ReviewDraft | None) -> list[str]:
    """Verdicts on volumes that are new or undone: no number, which may still be typed."""
    before = {one.measurement_id: one.verdict for one in kept.volumes} if kept else {}
    now = {one.measurement_id: one.verdict for one in draft.volumes}
    said = [f"{verdict.value} volume" for at, verdict in now.items() if before.get(at) is not verdict]
    return said + ["undone volume" for at in before if at not in now]


def _verdicts(draft: ReviewDraft | None) -> Mapping[tuple[str | None, int], Judgement]:
    """By finding; added ones by their place among the added."""
    given = draft.judgements if draft else ()
    made: dict[tuple[str | None, int], Judgement] = {}
    added = 0
    for one in given:
        made[one.finding_id, added if one.finding_id is None else 0] = one
        added += one.finding_id is None
    return made


def _is_same(before: Judgement | None, now: Judgement) -> bool:
    """Whether it is the same verdict; sizes and words may still be typed."""
    if before is None:
        return False

    def told(one: Judgement) -> tuple[object, ...]:
        return one.verdict, one.key, one.reason.partition(":")[0], one.laterality, one.site

    return told(before) == told(now)
