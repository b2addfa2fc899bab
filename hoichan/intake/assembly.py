"""When a study is complete, what it is then, and how it moves on.

Pure: the clock is an argument. Early is safe, because a late image makes a new revision; late is not,
because somebody waits for the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from hoichan.errors import IntakeError
from hoichan.intake.evidence import Evidence, Source
from hoichan.settings import Assembly, Sender
from hoichan.types import Instance, Patient, Series, Study, StudyState

T = TypeVar("T")
VOLUME_MODALITIES = frozenset({"CT", "MR", "PT", "NM"})  # many images, often several associations


class StudyEvent(StrEnum):
    """What can happen to one revision of a study."""

    ARRIVED = "arrived"  # one more instance while receiving; later ones start a new revision
    ASSEMBLED = "assembled"  # closed: nothing more enters this revision
    SCORED = "scored"  # at least one model answered
    REFUSED = "refused"  # no model answered, each with its reason
    REPORTED = "reported"  # report, documents and deliveries are saved
    DELIVERED = "delivered"  # the last receiver has it
    SIGNED = "signed"  # a person signed or amended
    FAILED = "failed"  # an error that trying again did not mend
    CANCELLED = "cancelled"  # a person stopped it
    REPLAYED = "replayed"  # a person asked for it once more


_S, _E = StudyState, StudyEvent
TRANSITIONS: Mapping[tuple[StudyState, StudyEvent], StudyState] = {
    (_S.RECEIVING, _E.ARRIVED): _S.RECEIVING,
    (_S.RECEIVING, _E.ASSEMBLED): _S.ASSEMBLED,
    (_S.RECEIVING, _E.FAILED): _S.FAILED,
    (_S.ASSEMBLED, _E.SCORED): _S.SCORED,
    (_S.ASSEMBLED, _E.REFUSED): _S.NOT_ANALYSED,
    (_S.ASSEMBLED, _E.FAILED): _S.FAILED,
    (_S.SCORED, _E.REPORTED): _S.REPORTED,
    (_S.SCORED, _E.FAILED): _S.FAILED,
    (_S.REPORTED, _E.DELIVERED): _S.DELIVERED,
    (_S.REPORTED, _E.SIGNED): _S.SIGNED,  # a receiver that is down does not keep a doctor from signing
    (_S.DELIVERED, _E.DELIVERED): _S.DELIVERED,  # sent again by hand
    (_S.DELIVERED, _E.SIGNED): _S.SIGNED,
    (_S.NOT_ANALYSED, _E.REPORTED): _S.NOT_ANALYSED,  # the refusal is a report too
    (_S.NOT_ANALYSED, _E.DELIVERED): _S.NOT_ANALYSED,
    (_S.NOT_ANALYSED, _E.SIGNED): _S.SIGNED,
    (_S.NOT_ANALYSED, _E.FAILED): _S.FAILED,
    (_S.SIGNED, _E.DELIVERED): _S.SIGNED,
    (_S.SIGNED, _E.SIGNED): _S.SIGNED,  # an amendment
    (_S.ASSEMBLED, _E.CANCELLED): _S.CANCELLED,
    (_S.FAILED, _E.CANCELLED): _S.CANCELLED,
    **dict.fromkeys(
        ((state, _E.REPLAYED) for state in _S if state not in (_S.RECEIVING, _S.SCORED, _S.SIGNED)),
        _S.ASSEMBLED,
    ),
}


def next_state(state: StudyState, event: StudyEvent) -> StudyState:
    """Where the event leads. Raises IntakeError where the table has no such cell."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IntakeError(f"A study that is {state} cannot become {event}.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """Whether a revision can be closed now."""

    complete: bool
    # mpps | ian | source_count | order | association_released | quiet_time | cap; "" while incomplete
    closed_by: str
    look_again_at: datetime | None  # when waiting alone can change the answer; None when complete


_SKEW = timedelta(seconds=60)  # a file may be a little younger than we think: another machine wrote it


def completeness(
    study: Study,
    *,
    is_open: bool,
    now: datetime,
    rules: Assembly,
    senders: Sequence[Sender] = (),
    evidence: Evidence | None = None,
    expected_instances: int | None = None,
) -> Completeness:
    """Closed when no association sends any more and the quiet time is over, or when the cap is reached.

    At once when everything is here that a finished modality (MPPS) or an image manager (IAN) has named; a
    modality that has begun and not finished holds it until the cap, or as long as its sender's
    `step_seconds` say. Images that came after the named ones
    have their quiet time, else each of them would be a revision. In the same way a source that has as many
    images as we have, and had them some seconds ago, closes the study; one that has more holds it until the
    cap. `expected_instances`: as many as an order asks for; reached, they close it, but fewer hold nothing,
    because an order is a plan.

    The cap counts from the first arrival of the present burst: arrivals that follow each other within the
    quiet time. So an image of yesterday does not make today's late ones close at once. An image of tomorrow
    came before the clock was set back, and is not waited for. `is_open` tells whether an association is still
    sending into the study.
    """
    if not study.instances:
        return Completeness(complete=False, closed_by="", look_again_at=None)
    evidence = evidence or Evidence()
    quiet = timedelta(seconds=quiet_seconds(study, rules, senders))
    arrivals = sorted(instance.received_at for instance in study.instances)
    first = last = arrivals[-1]
    for arrival in reversed(arrivals):
        if first - arrival > quiet:
            break
        first = arrival
    capped_at = first + timedelta(seconds=rules.cap_seconds)
    steps_until = first + timedelta(seconds=_step_seconds(study, rules, senders))
    quiet_at = last + quiet
    if last > now + _SKEW:  # the clock was set back since: how long ago it came, nobody can tell
        quiet_at = capped_at = steps_until = now
    is_performed = not evidence.in_progress or (steps_until < capped_at and now >= steps_until)
    closed_by = _fulfilled(study, evidence, expected_instances) if is_performed else ""
    if closed_by and not (is_open and closed_by in ("source_count", "order")):
        return Completeness(complete=True, closed_by=closed_by, look_again_at=None)
    is_held = is_open or not is_performed or _lacks(study, evidence)
    if not is_held and now >= quiet_at:
        closed_by = "quiet_time" if _is_volume(study) else "association_released"
        return Completeness(complete=True, closed_by=closed_by, look_again_at=None)
    if now >= capped_at:
        return Completeness(complete=True, closed_by="cap", look_again_at=None)
    look_again_at = capped_at if is_held else min(quiet_at, capped_at)
    if not is_performed:
        look_again_at = min(steps_until, look_again_at)
    return Completeness(complete=False, closed_by="", look_again_at=look_again_at)


def _lacks(study: Study, evidence: Evidence) -> bool:
    """Whether a source still has images that have not come since it was asked."""
    here = len(study.instances)
    return any(count.missing > here - count.held >= 0 for count in evidence.counts)


def _fulfilled(study: Study, evidence: Evidence, expected_instances: int | None) -> str:
    """Whose instances are all here, with nothing else after them; "" when nobody's are."""
    arrivals = {instance.sop_instance_uid: instance.received_at for instance in study.instances}
    last = max(arrivals.values())
    for source in Source:
        expected = evidence.expected.get(source)
        if expected and expected <= arrivals.keys() and max(arrivals[uid] for uid in expected) == last:
            return source.value
    here = len(study.instances)
    if any(count.settled and not count.missing and count.held == here for count in evidence.counts):
        return "source_count"
    if expected_instances and here == expected_instances and not _lacks(study, evidence):
        return "order"
    return ""


def quiet_seconds(study: Study, rules: Assembly, senders: Sequence[Sender] = ()) -> float:
    """The quiet time of a study: its sender's own, else that of its modalities."""
    for sender in senders:
        if sender.quiet_seconds is not None and sender.ae_title in ("*", study.calling_ae_title):
            return sender.quiet_seconds
    return rules.quiet_seconds_volume if _is_volume(study) else rules.quiet_seconds


def _step_seconds(study: Study, rules: Assembly, senders: Sequence[Sender]) -> float:
    """How long a step that is in progress holds a study: what its sender has, at most the cap."""
    for sender in senders:
        if sender.step_seconds is not None and sender.ae_title in ("*", study.calling_ae_title):
            return min(sender.step_seconds, rules.cap_seconds)
    return rules.cap_seconds


def _is_volume(study: Study) -> bool:
    return any(series.modality in VOLUME_MODALITIES for series in study.series)


def merge(parts: Sequence[Study]) -> Study:
    """One study of all parts, series and instances in their own order, each instance once.

    Attributes of patient and study are the earliest arrival's, filled up from later ones where it has none.
    Where the images of a series disagree on view or side, the series says None rather than one of them.
    Raises IntakeError when the parts are not of one study, or when there are none.
    """
    if not parts or len({part.study_instance_uid for part in parts}) != 1:
        raise IntakeError("Only parts of one study can be merged.")
    ordered = sorted(parts, key=_first_arrival)
    series: dict[str, list[Series]] = {}
    seen: set[str] = set()
    for part in ordered:
        for entry in part.series:
            fresh = tuple(i for i in entry.instances if i.sop_instance_uid not in seen)
            seen.update(i.sop_instance_uid for i in fresh)
            if fresh:
                series.setdefault(entry.series_instance_uid, []).append(replace(entry, instances=fresh))
    return replace(
        ordered[0],
        patient=_merge_patients([part.patient for part in ordered]),
        accession_number=_first(part.accession_number for part in ordered),
        study_id=_first(part.study_id for part in ordered),
        study_datetime=_first(part.study_datetime for part in ordered),
        study_description=_first(part.study_description for part in ordered),
        urgency=min((part.urgency for part in ordered if part.urgency), key=lambda u: u.rank, default=None),
        series=tuple(sorted((_merge_series(same) for same in series.values()), key=_series_order)),
    )


def _merge_series(same: Sequence[Series]) -> Series:
    return replace(
        same[0],
        series_number=_first(entry.series_number for entry in same),
        series_description=_first(entry.series_description for entry in same),
        body_part_examined=_agreed(entry.body_part_examined for entry in same),
        view_position=_agreed(entry.view_position for entry in same),
        laterality=_agreed(entry.laterality for entry in same),
        manufacturer=_first(entry.manufacturer for entry in same),
        manufacturer_model_name=_first(entry.manufacturer_model_name for entry in same),
        instances=tuple(sorted((i for entry in same for i in entry.instances), key=_instance_order)),
    )


def _merge_patients(same: Sequence[Patient]) -> Patient:
    """The first patient; only what it lacks comes from others with the same id and issuer."""
    first = same[0]
    alike = [
        patient
        for patient in same
        if (patient.patient_id, patient.issuer_of_patient_id)
        == (first.patient_id, first.issuer_of_patient_id)
    ]
    return replace(
        first,
        national_id=_first(patient.national_id for patient in alike),
        patient_birth_date=_first(patient.patient_birth_date for patient in alike),
        patient_sex=_first(patient.patient_sex for patient in alike),
        patient_age_years=_first(patient.patient_age_years for patient in alike),
    )


def _first_arrival(study: Study) -> tuple[datetime, str]:
    return min((i.received_at, str(i.sop_instance_uid)) for i in study.instances)


def _series_order(series: Series) -> tuple[bool, int, str]:
    return series.series_number is None, series.series_number or 0, series.series_instance_uid


def _instance_order(instance: Instance) -> tuple[bool, int, str]:
    return instance.instance_number is None, instance.instance_number or 0, instance.sop_instance_uid


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _agreed(values: Iterable[T | None]) -> T | None:
    """The only value besides None; None when there are several."""
    known = {value for value in values if value is not None}
    return known.pop() if len(known) == 1 else None
