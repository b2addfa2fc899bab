"""The marks as a presentation state over the film itself (PS3.3 A.33.1): for viewers that draw no SR.

It changes nothing about the pixels: grey values are shown as the film asks for, with boxes and names above.
"""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue

from hoichan import codes
from hoichan.encoding.equipment import equipment, long_string, stamp
from hoichan.encoding.images import pictures
from hoichan.encoding.source import DocumentContext, body_part, laterality
from hoichan.encoding.sr import drawable
from hoichan.reporting.reports import score_text
from hoichan.types import Finding, GraphicType

SERIES_NUMBER = 9005
LAYER = "AI"
LINE = 0.028  # height of a line of text, as a part of the film's rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A positive finding that can be drawn."""

    number: int
    finding: Finding
    kind: GraphicType
    points: NDArray[np.float64]  # (n, 2), column and row


def encode_gsps(context: DocumentContext, number: int = 1) -> Dataset | None:
    """The presentation state of the context's key image; None without anything to draw, or the film."""
    source, key = context.source, context.key
    if source is None or key is None or not key.instance.rows or not key.instance.columns:
        return None
    marks = [
        Mark(number=number, finding=finding, kind=shape[0], points=shape[1])
        for number, finding in enumerate(context.report.positives, start=1)
        if finding.sop_instance_uid == key.instance.sop_instance_uid
        and (shape := drawable(finding.evidence)) is not None
    ]
    if not marks:
        return None
    rows, columns = key.instance.rows, key.instance.columns
    image = _reference(context)
    layer = hd.pr.GraphicLayer(layer_name=LAYER, order=1)
    annotation = hd.pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=layer,
        graphic_objects=[
            hd.pr.GraphicObject(
                graphic_type=mark.kind.value,
                graphic_data=np.clip(mark.points, 0.0, np.array([columns, rows], dtype=np.float64)),
                units="PIXEL",
            )
            for mark in marks
        ],
        text_objects=[
            _text(codes.BANNER[context.language], 0.0, 0.0, rows, columns),
            *(_label(context, mark, rows, columns) for mark in marks),
        ],
    )
    document = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=context.uid("gsps-series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(context, key.instance.sop_instance_uid),
        instance_number=number,
        content_label="AI",
        content_description="AI marks (unverified)",
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        specific_character_set="ISO_IR 192",
        institution_name=context.institution_name,
        **equipment(context),
    )
    document.SeriesDescription = "AI marks (unverified)"
    document.PresentationCreationDate, document.PresentationCreationTime = context.created
    if body_part(source):
        document.BodyPartExamined = body_part(source)
    if "Laterality" not in document and not body_part(source):
        document.Laterality = laterality(source)
    table = _table(source)
    if table is not None:
        document.SoftcopyVOILUTSequence = [table]
    if image.PhotometricInterpretation == "MONOCHROME1":
        document.PresentationLUTShape = "INVERSE"  # a presentation state shows the highest value white
    stamp(document, context)
    del document.ContentDate, document.ContentTime  # a presentation state has its own
    return document


def _uid(context: DocumentContext, film: str) -> str:
    """Of the first film as where there is only one; of each further one its own."""
    first = next(iter(pictures(context.study, context.report)))
    return context.uid("gsps" if film == first else f"gsps|{film}")


def _reference(context: DocumentContext) -> Dataset:
    """What highdicom needs to know of the film; its pixels stay where they are."""
    assert context.source is not None and context.key is not None
    image, key = context.nameless_header, context.key
    image.SOPClassUID, image.SOPInstanceUID = key.instance.sop_class_uid, key.instance.sop_instance_uid
    image.SeriesInstanceUID, image.Modality = key.series.series_instance_uid, key.series.modality
    image.Rows, image.Columns = key.instance.rows, key.instance.columns
    for keyword in (*_PLACE, *_grey_keywords(context.source)):
        if keyword in context.source:
            image[keyword] = context.source[keyword]
    if "WindowCenter" in image:
        image.WindowCenter, image.WindowWidth = _windows(context.source)
    image.setdefault("PhotometricInterpretation", "MONOCHROME2")
    image.SamplesPerPixel = 1
    return image


_PLACE = (  # of pixels, as far as a presentation state asks
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "PatientOrientation"),
)
_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})  # (0028,1056)


def _grey_keywords(source: Dataset) -> tuple[str, ...]:
    """What says how grey values are shown (PS3.3 C.11), as far as it is sound: highdicom takes no other."""
    found: list[str] = []
    slope, intercept = (_numbers(source, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if len(slope) == len(intercept) == 1 and slope[0]:
        found += ["RescaleSlope", "RescaleIntercept"]
        kind = source.get("RescaleType")
        found += ["RescaleType"] if isinstance(kind, str) and kind == long_string(kind) != "" else []
    if _windows(source)[0]:
        found += ["WindowCenter", "WindowWidth"]
        found += ["VOILUTFunction"] if str(source.get("VOILUTFunction")) in _FUNCTIONS else []
    return tuple(found)


def _windows(source: Dataset) -> tuple[list[float], list[float]]:
    """Centres and widths that belong together and show something."""
    centres, widths = _numbers(source, "WindowCenter"), _numbers(source, "WindowWidth")
    if len(centres) != len(widths):
        return [], []
    pairs = [(centre, width) for centre, width in zip(centres, widths, strict=True) if width > 0]
    return [centre for centre, _ in pairs], [width for _, width in pairs]


def _numbers(source: Dataset, keyword: str) -> list[float]:
    """The values of a number; [] where one of them is none."""
    value = source.get(keyword)
    values = value if isinstance(value, MultiValue) else [value]
    try:
        found = [float(one) for one in values]
    except (TypeError, ValueError):
        return []
    return found if np.isfinite(found).all() else []


def _table(source: Dataset) -> Dataset | None:
    """The film's own VOI LUT where it has no window, as it stands there: highdicom does not take them all."""
    tables = source.get("VOILUTSequence")
    sound = tables and all(
        len(one.get("LUTDescriptor") or ()) == 3 and one.get("LUTData") for one in tables
    )  # PS3.3 C.11.2.1.1
    if not sound or _windows(source)[0]:
        return None
    item = Dataset()
    item.VOILUTSequence = tables
    return item


def _label(context: DocumentContext, mark: Mark, rows: int, columns: int) -> hd.pr.TextObject:
    """Number, name and score above the shape; the number is the one that the picture and the SR give it."""
    left, top = mark.points.min(axis=0)
    name = codes.FINDINGS[mark.finding.key].display[context.language]
    text = f"AI {mark.number}: {name} – {score_text(mark.finding, context.language)}"
    return _text(text, float(left), float(top) - 1.2 * LINE * rows, rows, columns)


def _text(text: str, left: float, top: float, rows: int, columns: int) -> hd.pr.TextObject:
    """A line of text that begins at (left, top), or as near to it as keeps it on the film."""
    height = LINE * rows
    left = float(np.clip(left, 0.0, columns * 0.6))
    top = float(np.clip(top, 0.0, rows - height))
    return hd.pr.TextObject(
        text_value=text, units="PIXEL", bounding_box=(left, top, float(columns), top + height)
    )
