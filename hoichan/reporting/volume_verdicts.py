"""What a radiologist says about the volumes that a machine measured, and how the signed report says it.

A volume needs no verdict. Without one it stays in the machine's own report, and no signed document has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hoichan import codes
from hoichan.errors import ReviewRefused
from hoichan.reporting.reports import measurement_text
from hoichan.reporting.review_words import REJECTION_REASONS
from hoichan.types import Measurement, Report, Review, Verdict, VolumeJudgement
from hoichan.uids import derived_uuid

LARGEST_ML = 100_000.0
LONGEST_REASON = 500
HEADING: Mapping[str, str] = {"vi": "Thể tích", "en": "Volumes"}
_STANDS: Mapping[Verdict, Mapping[str, str]] = {
    Verdict.ACCEPTED: {"vi": "AI đo, bác sĩ xác nhận", "en": "measured by AI, confirmed by the reader"},
    Verdict.EDITED: {"vi": "số đo của bác sĩ", "en": "the reader's own number"},
}


def measurement_id(report_uid: str, one: Measurement) -> str:
    """The identity of one volume of one report of a machine; that of its FHIR Observation."""
    return str(
        derived_uuid(report_uid, "volume", one.series_instance_uid, one.code.code_value, one.algorithm_name)
    )


def check_volumes(report: Report, given: Sequence[VolumeJudgement]) -> None:
    """Raises ReviewRefused for a verdict that cannot be kept, even in a draft."""
    if report.taken_back and given:
        raise ReviewRefused("taken_back", "The result that a verdict speaks of was taken back.")
    machine = {measurement_id(report.report_uid, one): one for one in report.measurements}
    seen: set[str] = set()
    for one in given:
        measured = machine.get(one.measurement_id)
        if measured is None:
            raise ReviewRefused("unknown_finding", "A verdict speaks of no volume of this report.")
        if one.measurement_id in seen:
            raise ReviewRefused("judged_twice")
        seen.add(one.measurement_id)
        _check_one(one, measured)


def _check_one(one: VolumeJudgement, measured: Measurement) -> None:
    if one.verdict is Verdict.ADDED:
        raise ReviewRefused("wrong_verdict", "A volume that no machine measured is not taken.")
    if one.verdict is Verdict.REJECTED:
        if one.value_ml is not None:
            raise ReviewRefused("wrong_size", "A volume that is rejected has no number.")
        if len(one.reason) > LONGEST_REASON:
            raise ReviewRefused("too_long")
        if one.reason and one.reason.partition(":")[0].strip() not in REJECTION_REASONS:
            raise ReviewRefused("reason_needed")
        return
    if one.reason:
        raise ReviewRefused("wrong_verdict", "Only a rejection has a reason.")
    if one.value_ml is None or not 0 < one.value_ml <= LARGEST_ML:
        raise ReviewRefused("wrong_size", "A volume that somebody stands for has a number.")
    if one.verdict is Verdict.ACCEPTED and one.value_ml != measured.value:
        raise ReviewRefused("wrong_size", "What is confirmed is the machine's number, another is corrected.")


def check_volumes_complete(given: Sequence[VolumeJudgement]) -> None:
    """Raises ReviewRefused for verdicts that cannot be signed yet."""
    if any(one.verdict is Verdict.REJECTED and not one.reason for one in given):
        raise ReviewRefused("reason_needed", "A rejection needs a reason.")


def rebased_volumes(
    given: Sequence[VolumeJudgement], read: Report | None, report: Report
) -> tuple[VolumeJudgement, ...]:
    """Verdicts about a former report as of this one: those on the same number of the same model."""
    here = {_same(one): one for one in report.measurements}
    then = {measurement_id(read.report_uid, one): one for one in read.measurements} if read else {}
    return tuple(
        replace(one, measurement_id=measurement_id(report.report_uid, here[_same(former)]))
        for one in given
        if (former := then.get(one.measurement_id)) is not None and _same(former) in here
    )


def _same(one: Measurement) -> tuple[object, ...]:
    return one.series_instance_uid, one.code, one.algorithm_name, one.algorithm_version, one.value


def volume_judgement_of(review: Review, one: Measurement) -> VolumeJudgement | None:
    """What the person said of a volume: of a signed report, or of the machine's that it judges."""
    identity = one.judged_as or measurement_id(review.judged, one)
    return next((said for said in review.volumes if said.measurement_id == identity), None)


def confirmed(report: Report, review: Review) -> tuple[Measurement, ...]:
    """The volumes that a person stands for, in the machine's order. `report`: the machine's, as judged."""
    stands = []
    for one in report.measurements:
        said = volume_judgement_of(review, one)
        if said is None or said.value_ml is None:
            continue
        own = replace(one, value=said.value_ml, judged_as=said.measurement_id)
        if said.verdict is Verdict.EDITED:  # no machine and no outline gave this number
            own = replace(own, algorithm_name="", algorithm_version="", segmentations={})
        stands.append(own)
    return tuple(stands)


def rejected_volumes(report: Report) -> tuple[tuple[Measurement, VolumeJudgement], ...]:
    """What the machine measured and a person rejected. `report`: a signed one."""
    if report.review is None:
        return ()
    said = ((one, volume_judgement_of(report.review, one)) for one in report.machine_measurements)
    return tuple((one, verdict) for one, verdict in said if verdict and verdict.verdict is Verdict.REJECTED)


def volume_lines(report: Report, review: Review, language: str) -> tuple[str, ...]:
    """Each volume that a person stands for as a sentence, whose it is, and that there is no reference.

    `report`: a signed one. Series are counted as in the machine's report: two crops stay apart.
    """
    order = list(dict.fromkeys(one.series_instance_uid for one in report.machine_measurements))
    lines = []
    for one in report.measurements:
        said = volume_judgement_of(review, one)
        notes = [f"{codes.SERIES[language]} {order.index(one.series_instance_uid) + 1}"] * (len(order) > 1)
        notes += [_STANDS[said.verdict][language]] if said is not None else []
        lines.append(f"{measurement_text(one, language)} ({', '.join(notes)}).")
    return (*lines, codes.NO_REFERENCE[language]) if lines else ()
