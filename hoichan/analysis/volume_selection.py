"""Which series of a study a network for volumes takes, with every reason of every no.

The record is asked first (modality, number of slices, words of the description), then the headers of the
slices (contrast, echo time, age, spacing, direction, even distances). Nothing is guessed: a series is taken
because all of it fits. Tags that are absent refuse nothing, but for a description that a package asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from hoichan.analysis.imaging import DECODING_ERRORS
from hoichan.analysis.pictures import with_pictures
from hoichan.analysis.volumes import LARGEST_STEP_ERROR, grid, to_ras
from hoichan.errors import InputOutOfDomain
from hoichan.types import Refusal, RefusalCode, Series, Study, VolumeManifest, VolumeSpec

Look = Callable[[Series], Sequence[Dataset]]  # headers of the slices; raises InputOutOfDomain
PLANES = ("sagittal", "coronal", "axial")  # by the axis x, y, z of the patient that the slices follow
_Objection = tuple[RefusalCode, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSelection:
    """One network and one series: taken, or refused with all its reasons."""

    manifest: VolumeManifest
    series: Series
    reason: str  # what decided, e.g. "Modality=MR slices=40 voxels=1.00x1.00x1.00 axial"
    refusals: tuple[Refusal, ...] = ()
    merit: tuple[float, ...] = ()  # of one that fits: the lower, the better

    @property
    def accepted(self) -> bool:
        """Whether the network is to be run on the series."""
        return not self.refusals


def choose(manifests: Iterable[VolumeManifest], study: Study, look: Look) -> tuple[SeriesSelection, ...]:
    """Every network against every series of the study that holds images, in the study's order."""
    looked: dict[str, Sequence[Dataset] | RefusalCode] = {}

    def headers(series: Series) -> Sequence[Dataset]:
        uid = series.series_instance_uid
        if uid not in looked:
            try:
                looked[uid] = look(series)
            except InputOutOfDomain as error:
                looked[uid] = RefusalCode(error.reason)
        found = looked[uid]
        if isinstance(found, RefusalCode):
            raise InputOutOfDomain(found)
        return found

    chosen: list[SeriesSelection] = []
    for manifest in manifests:
        judged = [_judge(manifest, study, series, headers) for series in with_pictures(study)]
        chosen += _only_best(judged) if manifest.accepts.take == "one" else judged
    return tuple(chosen)


def may_read(manifest: VolumeManifest, study: Study) -> bool:
    """Whether the record alone speaks against none of the series: cheap, before any file is opened."""
    return any(
        next(_of_record(manifest.accepts, study, series), None) is None for series in with_pictures(study)
    )


def told(
    of_films: Iterable[Refusal],
    selections: Sequence[SeriesSelection],
    takes: frozenset[str],
) -> tuple[Refusal, ...]:
    """All noes of a study: those of its films, and of its series.

    `takes`: modalities that the models for films take. A model for films says nothing of a series that is a
    network's for volumes to judge, and the other way round.
    """
    volumes = {selection.manifest.accepts.modality for selection in selections}
    series = {one.series.series_instance_uid: one.series.modality.upper() for one in selections}
    kept = []
    for one in of_films:
        if selections and one.code is RefusalCode.NO_MODEL:
            continue
        modality = series.get(one.series_instance_uid) if one.series_instance_uid else None
        if one.code is RefusalCode.WRONG_MODALITY and modality in volumes - takes:
            continue
        kept.append(one)
    spoken = {one.series_instance_uid for one in kept}
    for selection in selections:
        for no in selection.refusals:
            elsewhere = selection.series.modality.upper() in takes or no.series_instance_uid in spoken
            if not (no.code is RefusalCode.WRONG_MODALITY and elsewhere):
                kept.append(no)
    return tuple(dict.fromkeys(kept))


def misfits(slices: Sequence[Dataset], spec: VolumeSpec) -> tuple[str, ...]:
    """Every reason why a series is not what a network was trained on, in words; () where it fits."""
    return tuple(detail for _, detail in objections(slices, spec))


def objections(slices: Sequence[Dataset], spec: VolumeSpec) -> Iterator[_Objection]:
    """What speaks against a series by the headers of its slices, with code and words."""
    first = slices[0]
    if str(first.get("Modality", "")) != spec.modality:
        yield RefusalCode.WRONG_MODALITY, f"Modality is not {spec.modality}"
    if any(int(one.get("SamplesPerPixel", 1) or 1) != 1 for one in slices):
        yield RefusalCode.WRONG_SEQUENCE, "not a grey picture"
    yield from _of_description(str(first.get("SeriesDescription", "") or ""), spec)
    echo = first.get("EchoTime")
    if spec.largest_echo_time_ms is not None and echo is not None and float(echo) > spec.largest_echo_time_ms:
        detail = f"EchoTime {float(echo):g} ms is above {spec.largest_echo_time_ms:g}: not T1"
        yield RefusalCode.WRONG_SEQUENCE, detail
    if spec.without_contrast and str(first.get("ContrastBolusAgent", "") or "").strip():
        yield RefusalCode.WRONG_SEQUENCE, "contrast agent given"
    part = str(first.get("BodyPartExamined", "") or "").strip().upper()
    if spec.body_part_examined and part and part not in spec.body_part_examined:
        yield RefusalCode.WRONG_REGION, f"BodyPartExamined is not {' or '.join(spec.body_part_examined)}"
    age = _age_years(first)
    if spec.youngest_years is not None and age is not None and age < spec.youngest_years:
        yield RefusalCode.AGE_UNDER_LIMIT, f"patient younger than {spec.youngest_years}"
    yield from _of_geometry(slices, spec)


def _of_geometry(slices: Sequence[Dataset], spec: VolumeSpec) -> Iterator[_Objection]:
    geometry = RefusalCode.WRONG_GEOMETRY
    frames = {str(one.get("FrameOfReferenceUID", "") or "") for one in slices}
    if len(frames) != 1 or "" in frames:
        yield geometry, "the slices have not one common Frame of Reference"
    try:
        ordered, affine = grid(slices)
    except InputOutOfDomain as error:
        yield geometry, str(error)
        return
    turned, axes, _ = to_ras(affine)
    spacing = np.linalg.norm(turned[:3, :3], axis=0)
    if np.abs(spacing - spec.spacing_mm).max() > spec.spacing_tolerance_mm:
        yield geometry, f"voxels of {' x '.join(f'{v:.2f}' for v in spacing)} mm"
    if np.abs(turned[:3, :3] / spacing - np.eye(3) * np.sign(np.diag(turned))[:3]).max() > LARGEST_STEP_ERROR:
        yield geometry, "slices are oblique to the axes of the patient"
    plane = PLANES[axes.index(2)]
    if spec.plane and plane != spec.plane:
        yield geometry, f"slices are {plane}, not {spec.plane}"
    stored = (int(slices[0].Columns), int(slices[0].Rows), len(ordered))
    sides = tuple(stored[axis] for axis in axes)
    if any(not low <= n <= high for low, n, high in zip(spec.smallest, sides, spec.largest, strict=True)):
        yield geometry, f"{' x '.join(map(str, sides))} voxels: not a crop as the network was trained on"


def _of_description(description: str, spec: VolumeSpec) -> Iterator[_Objection]:
    """The words themselves are free text and stay out of the reason."""
    said = description.casefold()
    if spec.series_description and not any(word.casefold() in said for word in spec.series_description):
        words = " or ".join(repr(word) for word in spec.series_description)
        yield RefusalCode.WRONG_SEQUENCE, f"SeriesDescription does not say {words}"
    for word in spec.not_in_description:
        if word.casefold() in said:
            yield RefusalCode.WRONG_SEQUENCE, f"SeriesDescription says {word!r}"


def _of_record(spec: VolumeSpec, study: Study, series: Series) -> Iterator[_Objection]:
    """What speaks against a series by the record alone."""
    if series.modality.upper() != spec.modality:
        yield RefusalCode.WRONG_MODALITY, f"Modality is not {spec.modality}"
        return  # nothing else needs to be said
    if any(one.rejected for one in series.instances):
        yield RefusalCode.REJECTED_IMAGE, ""
    if any(one.removed for one in series.instances):
        yield RefusalCode.REMOVED_IMAGE, ""
    if any(one.number_of_frames > 1 for one in series.instances):
        yield RefusalCode.WRONG_GEOMETRY, "a multi-frame object, not single slices"
    elif len(series.instances) < min(spec.smallest):
        yield RefusalCode.WRONG_GEOMETRY, f"{len(series.instances)} slices, {min(spec.smallest)} at least"
    age = study.patient.patient_age_years
    if spec.youngest_years is not None and age is not None and age < spec.youngest_years:
        yield RefusalCode.AGE_UNDER_LIMIT, f"patient younger than {spec.youngest_years}"


def _judge(manifest: VolumeManifest, study: Study, series: Series, look: Look) -> SeriesSelection:
    spec, slices = manifest.accepts, f"Modality={manifest.accepts.modality} slices={len(series.instances)}"
    found = list(_of_record(spec, study, series))
    if found:
        if found[0][0] is not RefusalCode.WRONG_MODALITY:
            found += _of_description(series.series_description or "", spec)
        return SeriesSelection(
            manifest=manifest, series=series, reason=slices, refusals=_noes(manifest, series, found)
        )
    try:
        headers = look(series)
        found = list(objections(headers, spec))
    except InputOutOfDomain as error:
        found = [(RefusalCode(error.reason), "a slice cannot be read")]
    except DECODING_ERRORS:
        found = [(RefusalCode.UNDECODABLE_PIXELS, "the header of a slice cannot be read")]
    if found:
        return SeriesSelection(
            manifest=manifest, series=series, reason=slices, refusals=_noes(manifest, series, found)
        )
    _, affine = grid(headers)
    turned, axes, _ = to_ras(affine)
    spacing = np.linalg.norm(turned[:3, :3], axis=0)
    voxels = "x".join(f"{side:.2f}" for side in spacing)
    return SeriesSelection(
        manifest=manifest,
        series=series,
        reason=f"{slices} voxels={voxels} {PLANES[axes.index(2)]}",
        merit=_merit(series, spacing, spec),
    )


def _merit(series: Series, spacing: NDArray[np.float64], spec: VolumeSpec) -> tuple[float, ...]:
    """Originals before derived ones, then the voxels nearest to those of the training, then more slices."""
    kind = series.instances[0].image_type
    derived = bool(kind) and kind[0].upper() == "DERIVED"
    off = round(float(np.abs(spacing - spec.spacing_mm).max()), 3)
    number = series.series_number if series.series_number is not None else 2**31
    return (float(derived), off, -float(len(series.instances)), float(number))


def _only_best(judged: Sequence[SeriesSelection]) -> list[SeriesSelection]:
    fits = [one for one in judged if one.accepted]
    if len(fits) < 2:
        return list(judged)
    best = min(fits, key=lambda one: (one.merit, one.series.series_instance_uid))
    number = best.series.series_number
    why = "" if number is None else f"SeriesNumber {number} fits better"
    return [
        replace(one, refusals=_noes(one.manifest, one.series, [(RefusalCode.OTHER_SERIES, why)]))
        if one.accepted and one is not best
        else one
        for one in judged
    ]


def _noes(manifest: VolumeManifest, series: Series, found: Iterable[_Objection]) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(
            code=code,
            algorithm_name=manifest.algorithm_name,
            series_instance_uid=series.series_instance_uid,
            detail=detail,
        )
        for code, detail in found
    )


def _age_years(slice_: Dataset) -> int | None:
    """Whole years by (0010,1010), else by the dates of birth and study; None: unknown."""
    age = str(slice_.get("PatientAge", "") or "")
    if len(age) == 4 and age[:3].isdigit() and age[3] in "DWMY":
        return int(age[:3]) // {"D": 365, "W": 52, "M": 12, "Y": 1}[age[3]]
    born, taken = (str(slice_.get(name, "") or "") for name in ("PatientBirthDate", "StudyDate"))
    if len(born) == len(taken) == 8 and (born + taken).isdigit():
        return (int(taken) - int(born)) // 10_000
    return None
