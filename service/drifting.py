"""One week of each live model held against its first weeks here, kept for the page, `/metrics` and alarms.

The reference is the first four weeks in which this version answered at this site; the week is the last one
that is over, Monday to Sunday in site time. For everybody and for each sender: films (brightness and others),
scores by finding, the share of positives, refusals, overrides by doctors, and hours to the signature.

Both are read a day at a time, and of each number only itself is kept, so a version that answered for years
costs what five weeks cost.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from hoichan.adapters.drift_sql import DriftRow, DriftSql
from hoichan.adapters.evidence_sql import EvidenceSql
from hoichan.analysis.drift import Drift, compare, compare_shares
from hoichan.analysis.findings import probability
from hoichan.analysis.standing import InUse
from hoichan.analysis.versions import thresholds_of
from hoichan.ports import Clock
from service.roster import Roster

REFERENCE = timedelta(weeks=4)
WEEK = timedelta(weeks=1)
STEP_SECONDS = 3600.0  # between two looks whether the week is done
EVERYBODY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """One number of one study."""

    measure: str
    sender: str
    value: float
    is_share: bool = False  # 0 or 1, counted rather than spread


@dataclass(slots=True)
class _Held:
    """One measure of one sender: the reference and the week."""

    reference: array[float] = field(default_factory=lambda: array("d"))
    week: array[float] = field(default_factory=lambda: array("d"))
    is_share: bool = False

    def drift(self) -> Drift:
        before, now = self.reference, self.week
        if self.is_share:
            return compare_shares((int(sum(before)), len(before)), (int(sum(now)), len(now)))
        return compare(before, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifting:
    """Holds weeks against the reference."""

    roster: Roster
    evidence: EvidenceSql
    rows: DriftSql
    clock: Clock
    zone: tzinfo

    def step(self) -> int:
        """Judge the last week of each live model, once; how many models were judged.

        Raises RecordsUnavailable.
        """
        done = 0
        monday = self.last_monday()
        for one in self.roster.standing().live:
            if one.volume() is None and not self.rows.is_done(one.version.name, monday, one.version.version):
                self.rows.keep(one.version.name, monday, one.version.version, self.judge(one, monday))
                done += 1
        return done

    def last_monday(self) -> date:
        """The Monday of the last week that is over, in site time."""
        today = self.clock.now().astimezone(self.zone).date()
        return today - timedelta(days=today.weekday() + 7)

    def judge(self, used: InUse, monday: date) -> list[DriftRow]:
        """Every measure of one week, for everybody and each sender."""
        first = self.evidence.first_answer(used.version)
        if first is None:
            return []
        begin = datetime.combine(monday, time(), tzinfo=self.zone).astimezone(UTC)
        held: dict[tuple[str, str], _Held] = defaultdict(_Held)  # by sender and measure
        for one in self._values(used, first, min(first + REFERENCE, begin)):
            for kept in _kept(held, one):
                kept.reference.append(one.value)
        for one in self._values(used, max(first, begin), begin + WEEK):
            for kept in _kept(held, one):
                kept.week.append(one.value)
        return [
            DriftRow(sender=sender, measure=measure, version=used.version.version, drift=kept.drift())
            for (sender, measure), kept in sorted(held.items(), key=lambda one: one[0])
        ]

    def _values(self, used: InUse, since: datetime, until: datetime) -> Iterator[_Value]:
        """The numbers of the reports of these days; of an image with several answers the last one's."""
        seen: set[int] = set()
        for begin, end in reversed(list(_days(since, until))):
            yield from self._of_a_day(used, begin, end, seen)

    def _of_a_day(self, used: InUse, since: datetime, until: datetime, seen: set[int]) -> Iterator[_Value]:
        manifest = used.version.film
        held = used.thresholds or thresholds_of(manifest)
        answers = self.evidence.answers(used.version, since=since, until=until)
        refused = self.evidence.refusals(manifest.algorithm_name, since=since, until=until)
        signed = self.evidence.signed(since=since, until=until)
        films = self.evidence.figures(since=since, until=until)
        uids = {a.study_instance_uid for a in answers} | {r.study_instance_uid for r in refused}
        facts = self.evidence.facts(uids | {uid for uid, _, _ in films} | set(signed))
        senders: Mapping[str, str] = {uid: one.sender for uid, one in facts.items()}
        for answer in answers:
            uid = answer.study_instance_uid
            image = hash((uid, answer.sop_instance_uid))
            if uid not in facts or image in seen:
                continue
            seen.add(image)
            one = facts[uid]
            for output in manifest.outputs:
                logit = answer.logits.get(output.name)
                if logit is None or not output.enabled:
                    continue
                key = output.finding_key
                score = probability(float(logit), held.calibration[key])
                point = next(r.operating_point for r in held.rules[key] if r.fits(one.sex, one.age_years))
                yield _Value(measure=f"score:{key}", sender=one.sender, value=score)
                positive = float(score >= point)
                yield _Value(measure=f"positive:{key}", sender=one.sender, value=positive, is_share=True)
        for no in refused:
            sender = senders.get(no.study_instance_uid, "")
            yield _Value(measure="refused", sender=sender, value=float(no.refused), is_share=True)
        for uid, _, figures in films:
            for name, value in figures.items():
                yield _Value(measure=f"input:{name}", sender=senders.get(uid, ""), value=value)
        for uid, review in signed.items():
            at, sender = review.reported_at, senders.get(uid, "")
            hours = (review.review.signed_at - at).total_seconds() / 3600
            yield _Value(measure="hours_to_review", sender=sender, value=hours)
            if review.judged:
                changed = float(review.overridden > 0)
                yield _Value(measure="overridden", sender=sender, value=changed, is_share=True)


def as_line(row: DriftRow) -> dict[str, Any]:
    """One measure, as it is told."""
    drift = row.drift
    return {
        "sender": row.sender,
        "measure": row.measure,
        "version": row.version,
        "state": str(drift.state),
        "reference": drift.reference_value,
        "reference_count": drift.reference_count,
        "value": drift.week_value,
        "count": drift.week_count,
        "psi": drift.psi,
        "ks": drift.ks,
        "p_value": drift.p_value,
    }


def _kept(held: dict[tuple[str, str], _Held], one: _Value) -> list[_Held]:
    """Where a number is kept: for everybody and, where its sender is known, for that one."""
    found = [held[sender, one.measure] for sender in sorted({EVERYBODY, one.sender})]
    for kept in found:
        kept.is_share = one.is_share
    return found


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    while since < until:
        end = min(since + timedelta(days=1), until)
        yield since, end
        since = end
