"""The main flow. Read this file first.

A study walks down `analyse` once. Each line is one step between one read and one write, and
`studies.save` is the only write: a crash anywhere repeats the whole walk and changes nothing twice. (In its
place stands `studies.keep` where an analysis is repeated and nobody can be heard.)
"""

from __future__ import annotations

from collections.abc import Sequence

from hoichan.analysis.findings import interpret
from hoichan.analysis.selection import Selection, refusals, select
from hoichan.analysis.volume_selection import SeriesSelection, choose, told
from hoichan.errors import InputOutOfDomain, RunnerFailed
from hoichan.ports import Clock, Encoder, Outliner, Runner, Studies
from hoichan.reporting.deliveries import plan
from hoichan.reporting.repeats import unheard
from hoichan.reporting.reports import compose, follows, report_uid_of
from hoichan.settings import AnyDestination
from hoichan.types import (
    InferenceResult,
    ModelManifest,
    Outcome,
    Refusal,
    RefusalCode,
    Report,
    Study,
    VolumeManifest,
    VolumeResult,
)


def analyse(
    study: Study,
    *,
    manifests: Sequence[ModelManifest],
    runner: Runner,
    encoder: Encoder,
    studies: Studies,
    destinations: Sequence[AnyDestination],
    clock: Clock,
    networks: Sequence[VolumeManifest] = (),
    outliner: Outliner | None = None,
) -> Report | None:
    """Score one assembled study and file its unverified report, its documents and its deliveries.

    Returns the report, also when no model answered: it then says NOT ANALYSED, and why. None where the
    revision has an answer already and the models that gave it could not be heard again: that answer stands.
    Raises RecordsUnavailable when the record cannot be read or written; the engine tries again.
    """
    selections = select(manifests, study)
    answers = [_ask(runner, study, selection) for selection in selections if selection.accepted]
    results = [answer for answer in answers if isinstance(answer, InferenceResult)]
    series, outlines = _outlines(networks, outliner, study)
    volumes = [outline for outline in outlines if isinstance(outline, VolumeResult)]
    takes = frozenset(modality for manifest in manifests for modality in manifest.accepts.modality)
    refused = [
        *told(refusals(selections, study), series, takes),
        *(no for no in (*answers, *outlines) if isinstance(no, Refusal)),
    ]
    answered = [m for m in manifests if any(_is_of(result, m) for result in results)]
    measured = [n for n in networks if any(_is_of(volume, n) for volume in volumes)]
    findings = [f for result in results for m in answered if _is_of(result, m) for f in interpret(m, result)]
    own = report_uid_of(study, [*answered, *measured])
    report_uid, predecessor = follows(own, studies.told(study.study_instance_uid, study.revision))
    report = compose(
        study,
        results=results,
        findings=findings,
        refusals=refused,
        manifests=[*answered, *measured],
        considered=[*manifests, *networks],
        volumes=volumes,
        report_uid=report_uid,
        predecessor=predecessor,
        now=clock.now(),
    )
    noes = [*refused, *_judged(selections), *_judged(series)]
    if report.outcome is Outcome.NOT_ANALYSED and _keeps(studies, study, noes):
        return None
    documents = encoder.encode(study, report)
    deliveries = plan(report, study, destinations, documents, clock.now())
    studies.save(study, report=report, documents=documents, deliveries=deliveries)
    return report


def _keeps(studies: Studies, study: Study, noes: Sequence[Refusal]) -> bool:
    """Whether the answer of this revision stands, because the try says nothing about its images."""
    answer = studies.answer(study)
    if answer is None:
        return False
    silent = unheard(answer, study, noes)
    return bool(silent) and studies.keep(study, answer=answer.report_uid, unheard=silent)


def _judged(selections: Sequence[Selection | SeriesSelection]) -> list[Refusal]:
    """Each no of each image and series, also those that the report tells once only."""
    found: list[Refusal] = []
    for one in selections:
        if isinstance(one, SeriesSelection):
            found += one.refusals
        elif one.refusal is not None:
            found.append(one.refusal)
    return found


def _ask(runner: Runner, study: Study, selection: Selection) -> InferenceResult | Refusal:
    """The model's numbers, or its no. A runtime that fails twice: the failure is the answer."""
    for last in (False, True):
        try:
            return runner.run(selection.manifest, study, selection.instance)
        except InputOutOfDomain as error:
            return _refusal(selection, RefusalCode(error.reason), detail=str(error))
        except RunnerFailed:
            if last:
                break
    return _refusal(selection, RefusalCode.MODEL_FAILED)


def _outlines(
    networks: Sequence[VolumeManifest], outliner: Outliner | None, study: Study
) -> tuple[Sequence[SeriesSelection], list[VolumeResult | Refusal]]:
    """Which series each network was held against, and what it said of those that fit."""
    if outliner is None:
        return (), []
    series = choose(networks, study, outliner.headers)
    return series, [_outline(outliner, study, one) for one in series if one.accepted]


def _outline(outliner: Outliner, study: Study, selection: SeriesSelection) -> VolumeResult | Refusal:
    """The network's outlines, or its no; a failure that repeats itself is the answer, as for films."""
    code, detail = RefusalCode.MODEL_FAILED, ""
    for last in (False, True):
        try:
            return outliner.run(selection.manifest, study, selection.series)
        except InputOutOfDomain as error:
            code, detail = RefusalCode(error.reason), str(error)
            break
        except RunnerFailed:
            if last:
                break
    return Refusal(
        code=code,
        algorithm_name=selection.manifest.algorithm_name,
        series_instance_uid=selection.series.series_instance_uid,
        detail=detail,
    )


def _refusal(selection: Selection, code: RefusalCode, *, detail: str = "") -> Refusal:
    return Refusal(
        code=code,
        algorithm_name=selection.manifest.algorithm_name,
        series_instance_uid=selection.series.series_instance_uid,
        sop_instance_uid=selection.instance.sop_instance_uid,
        detail=detail,
    )


def _is_of(result: InferenceResult | VolumeResult, manifest: ModelManifest | VolumeManifest) -> bool:
    return (result.algorithm_name, result.algorithm_version) == (
        manifest.algorithm_name,
        manifest.algorithm_version,
    )
