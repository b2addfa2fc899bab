"""Whether every signed review is as it was signed: its own hash, and the hash that the audit log has of it.

Where a certificate signed the page too, the page must be the very bytes that the log knows, and prove itself.

The database alone does not prove it: whoever writes there could write a review and its hash anew. The log's
chain has each hash too, under a key that the database does not know.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hoichan.adapters.audit_sql import AuditSql, Wanted
from hoichan.adapters.page_seal import PageSeal, digest, is_sealed_page
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.guard.audit import Audited, Outcome
from hoichan.reporting.sealing import is_sealed
from hoichan.types import Review, ReviewKind

_AT_ONCE = 500
_SIGNATURES = (Audited.RESULT_SIGNED, Audited.RESULT_WITHDRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found."""

    reviews: int
    changed: tuple[str, ...]  # report UIDs of reviews that are not as they were signed, or not in the log
    missing: tuple[str, ...]  # report UIDs that the log has and the record of reviews has not
    sealed_pages: int = 0  # that a certificate signed
    bad_pages: tuple[tuple[str, str], ...] = ()  # report UID and what is wrong: `PageSeal.check`

    @property
    def is_intact(self) -> bool:
        """Whether all is as it was signed."""
        return not (self.changed or self.missing or self.bad_pages)


def check_reviews(reviews: ReviewsSql, log: AuditSql, seal: PageSeal | None = None) -> Checked:
    """Hold every review against its hash and the log. May raise RecordsUnavailable (try again).

    `seal`: what proves pages; without it a page is held against the log alone.
    """
    told = _told(log)
    changed: list[str] = []
    pages, bad = 0, []
    seen: set[str] = set()
    for review in reviews.every_review():
        seen.add(review.report_uid)
        known = dict(told.get(review.report_uid, ()))
        if not is_sealed(review) or review.content_sha256 not in known:
            changed.append(review.report_uid)
            continue
        if review.kind is ReviewKind.WITHDRAWAL:
            continue
        of_log = known[review.content_sha256]
        page = reviews.signed_page(review.report_uid) if of_log or seal is not None else b""
        if not of_log and not is_sealed_page(page):
            continue  # signed before there were certificates here
        pages += 1
        problem = _problem(page, of_log, review, seal)
        if problem:
            bad.append((review.report_uid, problem))
    return Checked(
        reviews=len(seen),
        changed=tuple(changed),
        missing=tuple(sorted(set(told) - seen)),
        sealed_pages=pages,
        bad_pages=tuple(bad),
    )


def _problem(page: bytes, of_log: str, review: Review, seal: PageSeal | None) -> str:
    """What is wrong with a page that a certificate signed; "" where nothing is."""
    if not page:
        return "gone"
    if digest(page) != of_log:
        return "changed"
    return seal.check(page, review).problem if seal is not None else ""


def _told(log: AuditSql) -> dict[str, set[tuple[str, str]]]:
    """The hashes of signatures that the log says were kept, and of their pages or "", by report UID."""
    hashes: dict[str, set[tuple[str, str]]] = {}
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
                    _, content, page = f"{record.detail}  ".split(" ")[:3]
                    hashes.setdefault(record.uids[1], set()).add((content, page))
                else:
                    kept[record.uids[1]] -= 1
            if len(lines) < _AT_ONCE:
                break
            offset += _AT_ONCE
    return {uid: found for uid, found in hashes.items() if kept[uid] > 0}
