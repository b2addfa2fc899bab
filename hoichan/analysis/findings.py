"""From raw logits to statements: calibrate, hold against the operating point, say present or absent, show
where.

The site of a finding is not stored in it: it belongs to the finding's key
(`hoichan.codes.FINDINGS[key].site`).
"""

from __future__ import annotations

import math

from hoichan.analysis.evidence import locate
from hoichan.errors import RunnerFailed
from hoichan.types import (
    Calibration,
    Evidence,
    Finding,
    InferenceResult,
    ModelManifest,
    Output,
    Presence,
    Tier,
)


def interpret(manifest: ModelManifest, result: InferenceResult) -> tuple[Finding, ...]:
    """One finding for each enabled output: positives first, by tier and then by probability; negatives after
    them.

    Outputs that the manifest disables are computed and kept in the result but never become a statement.
    Raises RunnerFailed when the result lacks an output that the manifest names or holds a number that is
    none.
    """
    findings = [_finding(manifest, output, result) for output in manifest.outputs if output.enabled]
    tiers = list(Tier)
    return tuple(
        sorted(
            findings,
            key=lambda f: (f.presence is not Presence.PRESENT, tiers.index(f.tier), -f.probability, f.key),
        )
    )


def probability(logit: float, calibration: Calibration) -> float:
    """Calibrated probability 0..1 of a logit; `none` is the bare logistic function (Platt, 1999)."""
    x = logit if calibration.method == "none" else calibration.slope * logit + calibration.intercept
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def probabilities(manifest: ModelManifest, logits: dict[str, float]) -> dict[str, float]:
    """Calibrated probabilities by finding key, in the manifest's order, disabled outputs too."""
    return {o.finding_key: probability(logits[o.name], o.calibration) for o in manifest.outputs}


def _finding(manifest: ModelManifest, output: Output, result: InferenceResult) -> Finding:
    logit = result.logits.get(output.name)
    if logit is None or not math.isfinite(logit):
        raise RunnerFailed(f"{manifest.algorithm_name} gave no number for the output {output.name}")
    p = probability(logit, output.calibration)
    present = p >= output.operating_point
    cam = result.class_activation_maps.get(output.name)
    evidence: tuple[Evidence, ...] = ()
    if present and cam is not None:
        evidence = (
            locate(cam, rows=result.rows, columns=result.columns, sop_instance_uid=result.sop_instance_uid),
        )
    return Finding(
        key=output.finding_key,
        presence=Presence.PRESENT if present else Presence.ABSENT,
        probability=p,
        operating_point=output.operating_point,
        calibration=output.calibration.method,
        tier=output.tier,
        evidence=evidence,
        algorithm_name=result.algorithm_name,
        algorithm_version=result.algorithm_version,
        sop_instance_uid=result.sop_instance_uid,
    )
