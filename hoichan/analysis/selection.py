"""Which model fits which image of a study, judged by tags alone, with the reason of every yes and every no.

Pure: a study and manifests in, selections out. Pixels are judged later, in `gate`. Tags that are absent do
not refuse a film (many systems leave them empty): they become a warning, and the pixel gate decides. Tags
that are present and say otherwise do refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hoichan.analysis.pictures import pictures_of
from hoichan.types import (
    Instance,
    ModelManifest,
    Patient,
    Refusal,
    RefusalCode,
    Series,
    Study,
)

# How systems spell the chest in Body Part Examined, besides the defined term CHEST (PS3.16 Annex L).
SAME_BODY_PART = {
    "THORAX": "CHEST",
    "LUNG": "CHEST",
    "LUNGS": "CHEST",
    "CHEST PA": "CHEST",
    "CHEST AP": "CHEST",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One model and one image: taken, or refused with the reason."""

    manifest: ModelManifest
    series: Series
    instance: Instance
    reason: str  # the tags that decided, e.g. "Modality=CR BodyPartExamined=CHEST ViewPosition=PA"
    refusal: Refusal | None = None
    # codes of what could not be judged: body_part_unknown, view_unknown, age_unknown
    warnings: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the model is to be run on the image."""
        return self.refusal is None


def select(manifests: Iterable[ModelManifest], study: Study) -> tuple[Selection, ...]:
    """Every model against every image of the study, in the study's order.

    Empty when the study has no image or there is no model; `refusals` then says which.
    """
    images = [(series, one) for series in study.series for one in pictures_of(series)]
    return tuple(
        _judge(manifest, study.patient, series, instance)
        for manifest in manifests
        for series, instance in images
    )


def refusals(selections: Iterable[Selection], study: Study) -> tuple[Refusal, ...]:
    """The noes, one a series and code; `no_image` or `no_model` for the whole study when nothing was to be
    judged.
    """
    selections = tuple(selections)
    if not selections:
        code = RefusalCode.NO_MODEL if any(map(pictures_of, study.series)) else RefusalCode.NO_IMAGE
        return (Refusal(code=code, algorithm_name=None, series_instance_uid=None),)
    found: dict[tuple[object, ...], Refusal] = {}
    for selection in selections:
        if (no := selection.refusal) is not None:
            found.setdefault((no.algorithm_name, no.series_instance_uid, no.code), no)
    return tuple(found.values())


def _judge(manifest: ModelManifest, patient: Patient, series: Series, instance: Instance) -> Selection:
    reason = _reason(series)
    first = next(_objections(manifest, patient, series, instance), None)
    if first is None:
        return Selection(
            manifest=manifest,
            series=series,
            instance=instance,
            reason=reason,
            warnings=_unknowns(patient, series),
        )
    code, detail = first
    refusal = Refusal(
        code=code,
        algorithm_name=manifest.algorithm_name,
        series_instance_uid=series.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        detail=detail,
    )
    return Selection(manifest=manifest, series=series, instance=instance, reason=reason, refusal=refusal)


def _objections(
    manifest: ModelManifest, patient: Patient, series: Series, instance: Instance
) -> Iterator[tuple[RefusalCode, str]]:
    """What speaks against it, the plainest first."""
    accepts = manifest.accepts
    if instance.rejected:
        yield RefusalCode.REJECTED_IMAGE, ""
    if instance.removed:
        yield RefusalCode.REMOVED_IMAGE, ""
    if series.modality.upper() not in accepts.modality:
        yield RefusalCode.WRONG_MODALITY, f"Modality={_plain(series.modality)}"
    part = _body_part(series)
    if part is not None and part not in accepts.body_part_examined:
        yield RefusalCode.WRONG_BODY_PART, f"BodyPartExamined={_plain(part)}"
    view = _view(series)
    if view is not None and view not in accepts.view_position:
        yield RefusalCode.WRONG_VIEW, f"ViewPosition={_plain(view)}"
    low, high = accepts.patient_age_years
    age = patient.patient_age_years
    if age is not None and age < low:
        yield RefusalCode.AGE_UNDER_LIMIT, f"below {low} years"
    if age is not None and age > high:
        yield RefusalCode.AGE_OVER_LIMIT, f"above {high} years"
    if len(instance.image_type) > 1 and instance.image_type[1].upper() == "SECONDARY":
        yield RefusalCode.DERIVED_IMAGE, "ImageType value 2 is SECONDARY"
    if (instance.presentation_intent_type or "").upper() == "FOR PROCESSING":
        yield RefusalCode.FOR_PROCESSING, "PresentationIntentType=FOR PROCESSING"
    if instance.number_of_frames > 1:
        yield RefusalCode.MULTI_FRAME, f"NumberOfFrames={instance.number_of_frames}"


def _body_part(series: Series) -> str | None:
    part = " ".join((series.body_part_examined or "").upper().replace("_", " ").split())
    return SAME_BODY_PART.get(part, part) or None


def _view(series: Series) -> str | None:
    return (series.view_position or "").strip().upper() or None


def _unknowns(patient: Patient, series: Series) -> tuple[str, ...]:
    return tuple(
        code
        for code, known in (
            ("body_part_unknown", _body_part(series) is not None),
            ("view_unknown", _view(series) is not None),
            ("age_unknown", patient.patient_age_years is not None),
        )
        if not known
    )


def _reason(series: Series) -> str:
    return " ".join(
        f"{keyword}={_plain(value)}"
        for keyword, value in (
            ("Modality", series.modality),
            ("BodyPartExamined", _body_part(series)),
            ("ViewPosition", _view(series)),
        )
    )


def _plain(value: str | None) -> str:
    """A coded value (VR CS) as it may stand in a log; anything longer or odder is free text and stays out."""
    if value is None:
        return "absent"
    coded = len(value) <= 16 and all(c.isascii() and (c.isalnum() or c in " _") for c in value)
    return value.upper() if coded else "other"
