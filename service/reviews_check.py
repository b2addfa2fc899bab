"""Whether every signed review is as it was signed: its own hash, and the hash that the audit log has of it.

The database alone does not prove it: whoever writes there could write a review and its hash anew. The log's
chain has each hash too, under a key that the database does not know.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hoichan.adapters.audit_sql import AuditSql, Wanted
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.guard.audit import Audited, Outcome
from hoichan.reporting.sealing import is_sealed

_AT_ONCE = 500
_SIGNATURES = (Audited.RESULT_SIGNED, Audited.RESULT_WITHDRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found."""

    reviews: int
    changed: tuple[str, ...]  # report UIDs of reviews that are not as they were signed, or not in the log
    missing: tuple[str, ...]  # report UIDs that the log has and the record of reviews has not

    @property
    def is_intact(self) -> bool:
        """Whether all is as it was signed."""
        return not (self.changed or self.missing)


def check_reviews(reviews: ReviewsSql, log: AuditSql) -> Checked:
    """Hold every review against its hash and the log. May raise RecordsUnavailable (try again)."""
    told = _told(log)
    changed: list[str] = []
    seen: set[str] = set()
    for review in reviews.every_review():
        seen.add(review.report_uid)
        if not is_sealed(review) or review.content_sha256 not in told.get(review.report_uid, ()):
            changed.append(review.report_uid)
    missing = sorted(set(told) - seen)
    return Checked(reviews=len(seen), changed=tuple(changed), missing=tuple(missing))


def _told(log: AuditSql) -> dict[str, set[str]]:
    """The hashes of signatures that the log says were kept, by report UID."""
    hashes: dict[str, set[str]] = {}
    kept: Counter[str] = Counter()
    for what in _SIGNATURES:
        offset = 0
        while True:
            _, lines = log.search(Wanted(what=what), limit=_AT_ONCE, offset=offset)
            for line in lines:
                record = line.record
                if len(record.uids) < 2:  # asked for, and refused before there was anything to keep
                    continue
                if record.outcome is Outcome.SUCCESS:
                    kept[record.uids[1]] += 1
                    hashes.setdefault(record.uids[1], set()).add(record.detail.partition(" ")[2])
                else:
                    kept[record.uids[1]] -= 1
            if len(lines) < _AT_ONCE:
                break
            offset += _AT_ONCE
    return {uid: found for uid, found in hashes.items() if kept[uid] > 0}
