"""The main flow. Read this file first.

A study walks down `analyse` once. Each line is one step between one read and one write, and
`studies.save` is the only write: a crash anywhere repeats the whole walk and changes nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from hoichan.analysis.findings import interpret
from hoichan.analysis.selection import Selection, refusals, select
from hoichan.errors import InputOutOfDomain, RunnerFailed
from hoichan.ports import Clock, Encoder, Runner, Studies
from hoichan.reporting.deliveries import plan
from hoichan.reporting.reports import compose
from hoichan.settings import AnyDestination
from hoichan.types import InferenceResult, ModelManifest, Refusal, RefusalCode, Report, Study


def analyse(
    study: Study,
    *,
    manifests: Sequence[ModelManifest],
    runner: Runner,
    encoder: Encoder,
    studies: Studies,
    destinations: Sequence[AnyDestination],
    clock: Clock,
) -> Report:
    """Score one assembled study and file its unverified report, its documents and its deliveries.

    Returns the report, also when no model answered: it then says NOT ANALYSED, and why.
    Raises RecordsUnavailable when the record cannot be read or written; the engine tries again.
    """
    selections = select(manifests, study)
    answers = [_ask(runner, study, selection) for selection in selections if selection.accepted]
    results = [answer for answer in answers if isinstance(answer, InferenceResult)]
    refused = [*refusals(selections, study), *(a for a in answers if isinstance(a, Refusal))]
    answered = [m for m in manifests if any(_is_of(result, m) for result in results)]
    findings = [f for result in results for m in answered if _is_of(result, m) for f in interpret(m, result)]
    report = compose(
        study,
        results=results,
        findings=findings,
        refusals=refused,
        manifests=answered,
        considered=manifests,
        predecessor=studies.latest_report_uid(study.study_instance_uid, before=study.revision),
        now=clock.now(),
    )
    documents = encoder.encode(study, report)
    deliveries = plan(report, study, destinations, documents, clock.now())
    studies.save(study, report=report, documents=documents, deliveries=deliveries)
    return report


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


def _refusal(selection: Selection, code: RefusalCode, *, detail: str = "") -> Refusal:
    return Refusal(
        code=code,
        algorithm_name=selection.manifest.algorithm_name,
        series_instance_uid=selection.series.series_instance_uid,
        sop_instance_uid=selection.instance.sop_instance_uid,
        detail=detail,
    )


def _is_of(result: InferenceResult, manifest: ModelManifest) -> bool:
    return (result.algorithm_name, result.algorithm_version) == (
        manifest.algorithm_name,
        manifest.algorithm_version,
    )
