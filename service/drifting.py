"""One week of each live model held against its first weeks here, kept for the page, `/metrics` and alarms.

The reference is the first four weeks in which this version answered at this site; the week is the last one
that is over, Monday to Sunday in site time. For everybody and for each sender: films (brightness and others),
scores by finding, the share of positives, refusals, overrides by doctors, and hours to the signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    at: datetime
    sender: str
    value: float
    is_share: bool = False  # 0 or 1, counted rather than spread


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
        begin = datetime.combine(monday, time(), tzinfo=self.zone).astimezone(UTC)
        values = list(self._values(used))
        if not values:
            return []
        first = min(one.at for one in values)
        until = min(first + REFERENCE, begin)
        found = []
        for sender in [EVERYBODY, *sorted({one.sender for one in values})]:
            mine = [one for one in values if sender in {EVERYBODY, one.sender}]
            for measure in sorted({one.measure for one in mine}):
                some = [one for one in mine if one.measure == measure]
                drift = _held(
                    [one for one in some if one.at < until],
                    [one for one in some if begin <= one.at < begin + WEEK],
                )
                found.append(
                    DriftRow(sender=sender, measure=measure, version=used.version.version, drift=drift)
                )
        return found

    def _values(self, used: InUse) -> Iterable[_Value]:
        manifest = used.version.film
        held = used.thresholds or thresholds_of(manifest)
        answers = self.evidence.answers(used.version)
        if not answers:
            return
        since = min(one.at for one in answers)
        refused = self.evidence.refusals(manifest.algorithm_name, since=since)
        signed = self.evidence.signed(since=since)
        films = self.evidence.figures(since=since)
        uids = {a.study_instance_uid for a in answers} | {r.study_instance_uid for r in refused}
        facts = self.evidence.facts(uids | {uid for uid, _, _ in films} | set(signed))
        senders: Mapping[str, str] = {uid: one.sender for uid, one in facts.items()}
        for answer in answers:
            uid = answer.study_instance_uid
            if uid not in facts:
                continue
            one = facts[uid]
            for output in manifest.outputs:
                logit = answer.logits.get(output.name)
                if logit is None or not output.enabled:
                    continue
                key = output.finding_key
                score = probability(float(logit), held.calibration[key])
                point = next(r.operating_point for r in held.rules[key] if r.fits(one.sex, one.age_years))
                yield _Value(measure=f"score:{key}", at=answer.at, sender=one.sender, value=score)
                positive = float(score >= point)
                yield _Value(
                    measure=f"positive:{key}", at=answer.at, sender=one.sender, value=positive, is_share=True
                )
        for no in refused:
            sender = senders.get(no.study_instance_uid, "")
            yield _Value(measure="refused", at=no.at, sender=sender, value=float(no.refused), is_share=True)
        for uid, at, figures in films:
            for name, value in figures.items():
                yield _Value(measure=f"input:{name}", at=at, sender=senders.get(uid, ""), value=value)
        for uid, review in signed.items():
            at, sender = review.reported_at, senders.get(uid, "")
            hours = (review.review.signed_at - at).total_seconds() / 3600
            yield _Value(measure="hours_to_review", at=at, sender=sender, value=hours)
            if review.judged:
                changed = float(review.overridden > 0)
                yield _Value(measure="overridden", at=at, sender=sender, value=changed, is_share=True)


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


def _held(reference: list[_Value], week: list[_Value]) -> Drift:
    before, now = [one.value for one in reference], [one.value for one in week]
    if any(one.is_share for one in (*reference, *week)):
        return compare_shares((int(sum(before)), len(before)), (int(sum(now)), len(now)))
    return compare(before, now)
