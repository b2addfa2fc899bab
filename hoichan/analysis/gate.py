"""Whether pixels look like an upright frontal chest film. The tags are asked before, in `selection`.

The network's gate output names what it sees (`GATE_CLASSES`); before it is asked, plain statistics turn away
films on which there is nothing to see. A refusal is a result: nothing is scored, and the reader is told why.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hoichan.analysis.films import Film
from hoichan.errors import InputOutOfDomain
from hoichan.types import RefusalCode

# Meaning of the gate's outputs, in order. Training and every package with four gate outputs use this order.
# The shipped packages have the first four: `mirrored` did not travel (training/EXPERIMENTS.md).
GATE_CLASSES = ("frontal_chest", "not_upright", "inverted", "other_object", "mirrored")
OLD_GATE_CLASSES = GATE_CLASSES[:4]

MINIMUM_DEVIATION = 0.02  # of grey levels 0..1; a film with less is empty
LARGEST_RATIO = 1.6  # of the sides: a 35 x 43 cm film has 1.23, two of them side by side have 1.63 or more
MINIMUM_LEVELS = 16  # different grey levels on a coarse look; fewer is a drawing or a mask


def check_pixels(film: Film) -> None:
    """Turn away an empty, damaged or double film before any model sees it.

    Raises InputOutOfDomain `pixels_out_of_range`, or `not_frontal_chest` for a shape that no single film has.
    """
    if max(film.rows, film.columns) > LARGEST_RATIO * min(film.rows, film.columns):
        raise InputOutOfDomain(RefusalCode.NOT_FRONTAL_CHEST, "looks=other_object by its shape")
    look = film.every(max(1, film.rows // 256), max(1, film.columns // 256))
    if not np.isfinite(look).all() or float(look.std()) < MINIMUM_DEVIATION:
        raise InputOutOfDomain(RefusalCode.PIXELS_OUT_OF_RANGE, "The film is empty")
    if np.count_nonzero(np.bincount((look * 255).astype(np.uint8).reshape(-1))) < MINIMUM_LEVELS:
        raise InputOutOfDomain(RefusalCode.PIXELS_OUT_OF_RANGE, "The film has too few grey levels")


def check_gate(probabilities: Sequence[float], operating_point: float) -> float:
    """The probability (0..1) of an upright frontal chest film; raises InputOutOfDomain below the operating
    point.

    `probabilities` is one row of the graph's `gate` output: one number, or one per `GATE_CLASSES`. The
    error's text names what the film looks like instead, one of `GATE_CLASSES`; its words are in
    `hoichan.codes.LOOKS`.
    """
    frontal = float(probabilities[0])
    if frontal >= operating_point:
        return frontal
    looks = "other_object"
    if len(probabilities) in {len(GATE_CLASSES), len(OLD_GATE_CLASSES)}:
        looks = GATE_CLASSES[1 + int(np.argmax(probabilities[1:]))]
    raise InputOutOfDomain(
        RefusalCode.NOT_FRONTAL_CHEST,
        f"looks={looks} frontal_chest={frontal:.3f} needed={operating_point:.3f}",
    )
