"""One language of the page: its sentences, and how times, numbers and people are written in it.

Sentences are in `messages/<language>.toml`; concepts that also stand in reports come from
`hoichan.codes`, so that the page and the PACS say the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from hoichan import codes
from hoichan.adapters.views import DeliveryView, ListEntry, SeriesView
from hoichan.ports import TrailEntry
from hoichan.reporting.reports import amount_text, is_calibrated, number_text, score_label
from hoichan.types import DeliveryState, Finding, Measurement, Patient, RefusalCode, StudyState, Tier
from service.causes import cause_of
from service.web import people

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_AGE_STEPS = (("days", 86400), ("hours", 3600), ("minutes", 60))
_SIZE_STEPS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_REFUSALS = frozenset(str(code) for code in RefusalCode)
BY_A_PERSON = frozenset(
    {
        *("delivery_revived", "analysis_requested_again", "assembly_requested_again", "work_cancelled"),
        *("report_signed", "review_withdrawn", "notice_acknowledged"),
        *("follow_up_asked", "follow_up_closed"),
        *("report_begun", "opinion_asked", "opinion_given", "opinion_closed", "share_made", "share_revoked"),
    }
)
AGE_KEYS = ("now", "minutes", "hours", "days")

# Events with a sentence for each value of one detail.
_TOLD_BY = {
    "glass_broken": "reason",
    "notice_raised": "by",
    "follow_up_closed": "outcome",
    "patient_corrected": "source",
    "question_asked": "kind",
    "question_answered": "kind",
    "order_linked": "reason",
    "report_signed": "kind",
    "content_changed": "difference",
}


class Words:
    """The sentences and forms of one language."""

    def __init__(self, language: str, sentences: Mapping[str, str], zone: ZoneInfo) -> None:
        self.language = language
        self._sentences = sentences
        self._zone = zone

    def __call__(self, key: str, **values: object) -> str:
        """The sentence under `key`. Raises KeyError for a key that the catalogue has not."""
        return self._sentences[key].format(**values) if values else self._sentences[key]

    def known(self, key: str, otherwise: str) -> str:
        """The sentence under `key`, or the one under `otherwise`."""
        return self._sentences.get(key) or self._sentences[otherwise]

    # ------------------------------------------------------------------ times and numbers
    def moment(self, at: datetime) -> str:
        """Date and time of day in the site's zone."""
        local = at.astimezone(self._zone)
        if self.language == "vi":
            return f"{local:%H:%M %d/%m/%Y}"
        return f"{local:%H:%M}, {local.day} {_MONTHS[local.month - 1]} {local.year}"

    def short(self, at: datetime) -> str:
        """Time of day and day, without the year, in the site's zone."""
        local = at.astimezone(self._zone)
        return (
            f"{local:%H:%M · %d/%m}"
            if self.language == "vi"
            else f"{local:%H:%M} · {local.day} {_MONTHS[local.month - 1]}"
        )

    def decimal(self, value: float) -> str:
        """Two places, with the language's decimal sign."""
        text = f"{value:.2f}"
        return text.replace(".", ",") if self.language == "vi" else text

    def exact(self, at: datetime) -> str:
        """Time of day to the second in the site's zone."""
        return f"{at.astimezone(self._zone):%H:%M:%S}"

    def day(self, at: datetime) -> str:
        """The date in the site's zone."""
        local = at.astimezone(self._zone)
        if self.language == "vi":
            return f"{local:%d/%m/%Y}"
        return f"{local.day} {_MONTHS[local.month - 1]} {local.year}"

    def age(self, since: datetime, now: datetime) -> str:
        """How long ago, in the largest unit that fits."""
        seconds = (now - since).total_seconds()
        for unit, length in _AGE_STEPS:
            if seconds >= length:
                return self(f"age.{unit}", n=int(seconds // length))
        return self("age.now")

    def seconds(self, value: float) -> str:
        """How long something took, in the unit that fits."""
        value = max(0.0, value)
        if value < 120:
            text = f"{value:.1f}" if value < 10 else f"{value:.0f}"
            return self("seconds.short", n=text.replace(".", ",") if self.language == "vi" else text)
        if value < 7200:
            return self("seconds.minutes", n=round(value / 60))
        return (
            self("seconds.hours", n=round(value / 3600))
            if value < 172800
            else self("seconds.days", n=round(value / 86400))
        )

    def cause(self, name: str | None) -> str:
        """The sentence of a usual fault (`service.causes`); "" for none."""
        return self(f"cause.{name}.what") if name else ""

    def remedy(self, name: str | None) -> str:
        """What to do about it; "" for none."""
        return self(f"cause.{name}.do") if name else ""

    def size(self, size_bytes: int) -> str:
        """How large a file is, in the unit that fits."""
        for unit, length in _SIZE_STEPS:
            if size_bytes >= length:
                text = f"{size_bytes / length:.1f} {unit}"
                return text.replace(".", ",") if self.language == "vi" else text
        return f"{size_bytes} B"

    def age_words(self) -> dict[str, str]:
        """The forms of `age`, for the script that keeps them current."""
        return {key: self._sentences[f"age.{key}"] for key in AGE_KEYS}

    def score(self, finding: Finding) -> str:
        """The number alone; never a percentage while it is not calibrated."""
        return number_text(finding, finding.probability, self.language)

    def threshold(self, finding: Finding) -> str:
        """The bar in the same form as the number."""
        return number_text(finding, finding.operating_point, self.language)

    def score_name(self, finding: Finding) -> str:
        """ "điểm AI", or "độ tin cậy của AI" when calibrated."""
        return score_label(finding, self.language)

    def calibration(self, finding: Finding) -> str:
        """Whether the number is calibrated, in words."""
        return self("calibration.yes" if is_calibrated(finding) else "calibration.no")

    def calibrations(self, findings: Sequence[Finding]) -> list[bool]:
        """Whether the numbers are calibrated; one entry when it is the same for all."""
        return list(dict.fromkeys(is_calibrated(finding) for finding in findings))

    # ------------------------------------------------------------------ people and studies
    def name(self, patient: Patient) -> str:
        """The name as it is spoken."""
        return people.spoken_name(patient.patient_name.reveal()) or self("patient.no_name")

    def about(self, patient: Patient) -> str:
        """Year of birth or age, and sex."""
        born = patient.patient_birth_date
        parts = []
        if born is not None:
            parts.append(self("patient.born", year=born.reveal().year))
        elif patient.patient_age_years is not None:
            parts.append(self("patient.age", years=patient.patient_age_years))
        if patient.patient_sex:
            parts.append(self.known(f"patient.sex.{patient.patient_sex}", "patient.sex.O"))
        return " · ".join(parts)

    def masked_id(self, patient: Patient) -> str:
        """The identifier, masked; "" when there is none."""
        return people.masked(patient.patient_id.reveal())

    def plain(self, text: str | None) -> str:
        """Free text of a sender as one printable line."""
        return people.plain(text)

    def finding(self, finding: Finding) -> str:
        """The name of a finding."""
        term = codes.FINDINGS.get(finding.key)
        return term.display[self.language] if term else finding.key

    def part(self, one: Measurement) -> str:
        """The name of what was measured."""
        return one.display.get(self.language) or one.display["en"]

    def amount(self, one: Measurement) -> str:
        """A volume with its unit."""
        return amount_text(one, self.language)

    def series(self, known: Sequence[SeriesView], uid: str) -> str:
        """Which series of a study: its place among them, and what its sender calls it."""
        for number, one in enumerate(known, start=1):
            if one.series_instance_uid == uid:
                said = people.plain(one.series_description)
                return f"{codes.SERIES[self.language]} {number}" + (f" ({said})" if said else "")
        return ""

    def tier(self, tier: Tier) -> str:
        """The name of a tier."""
        return codes.TIERS[tier][self.language]

    def refusal(self, code: RefusalCode, detail: str = "") -> str:
        """Why something was not analysed."""
        return codes.refusal_words(code, detail)[self.language]

    def reason(self, code: str) -> str:
        """The reason behind a state: a refusal or the code of an error, in words."""
        if code in _REFUSALS:
            return self.refusal(RefusalCode(code))
        return self._sentences.get(f"failure.{code}") or self("failure.other", code=code)

    def unheard(self, code: str) -> str:
        """Why a model that had answered gave no answer again."""
        return self._sentences.get(f"unheard.{code}") or self.reason(code)

    def refused(self, reason: str) -> str:
        """Why an image lies in quarantine."""
        return self.known(f"quarantine.reason.{reason}", "quarantine.reason.other")

    def refused_do(self, reason: str) -> str:
        """What to do about it."""
        return self.known(f"quarantine.do.{reason}", "quarantine.do.other")

    def state(self, state: StudyState) -> str:
        """The name of a state."""
        return self(f"state.{state}")

    def entry_reason(self, entry: ListEntry) -> str:
        """Why a study has no answer; "" where it has one or is still on its way."""
        if entry.state in {StudyState.FAILED, StudyState.NOT_ANALYSED}:
            return self.reason(entry.state_reason or "")
        return ""

    def delivery(self, delivery: DeliveryView) -> str:
        """Where a delivery stands, in two or three words."""
        if delivery.state is DeliveryState.PENDING and delivery.attempts:
            return self("delivery.retrying", time=self.exact(delivery.next_attempt_at)[:5])
        return self(f"delivery.{delivery.state}")

    # ------------------------------------------------------------------ trail
    def happened(self, line: TrailEntry) -> str:
        """One step of the trail as a sentence; an event without one is named as it is."""
        details = {key: people.plain(str(value)) for key, value in line.details.items()}
        key = f"trail.{line.event}"
        if line.event == "report_saved":
            key = f"trail.report_saved.{details.get('outcome', '')}"
        if line.event in {"report_saved", "answer_kept"}:
            say = self.reason if line.event == "report_saved" else self.unheard
            details["reasons"] = " ".join(
                say(code) for code in details.get("refusals", "").split(",") if code
            )
        if line.event in _TOLD_BY:
            key = f"trail.{line.event}.{details.get(_TOLD_BY[line.event], '')}"
        if "code" in details:
            details["reason"] = self.reason(details["code"])
        if line.event == "instance_refused":
            details["why"] = self.refused(details.get("reason", ""))
        if line.event == "delivery_withdrawn":
            details["reason"] = self.cause(cause_of(details.get("reason"))) or details.get("reason", "")
        if "closed_by" in details:
            details["closed_by"] = self.known(f"closed_by.{details['closed_by']}", "closed_by.other")
        if "title" in details:
            details["title"] = self.known(f"rejection.{details['title']}", "rejection.other")
        if "until" in details:
            details["until"] = self._local(details["until"], line.at)
        if "due" in details:
            details["due"] = self._date(details["due"])
        sentence = self._sentences.get(key)
        if sentence is None:
            return self("trail.other", event=line.event)
        try:
            return sentence.format_map(details)
        except KeyError:  # an event of another version, with fewer details
            return self("trail.other", event=line.event)

    def who(self, line: TrailEntry) -> str:
        """Who did it: the sender, the receiver, a person at the page, or this service."""
        for part in ("sender", "destination"):
            if part in line.details and line.event not in BY_A_PERSON:
                return people.plain(str(line.details[part]))
        return self("who.person" if line.event in BY_A_PERSON else "who.service")

    def _local(self, text: str, now: datetime) -> str:
        """A moment of the trail: the time alone where it is of the same day."""
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return text
        if not at.tzinfo:
            return text
        return self.exact(at) if self.day(at) == self.day(now) else self.moment(at)

    def _date(self, text: str) -> str:
        try:
            on = date.fromisoformat(text)
        except ValueError:
            return text
        return self.day(datetime.combine(on, time(12), self._zone))
