"""What the gate of a network lets in and refuses, counted on films and objects that it never saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hoichan.analysis.films import Film
from hoichan.analysis.gate import GATE_CLASSES
from hoichan.analysis.imaging import to_model_input
from training.dataset import (
    DRAWINGS,
    HELD_OUT_DRAWINGS,
    Array,
    drawing,
    foreign_films,
    fragment,
    hippocampus_slices,
    inverted,
    turned,
)
from training.networks import FilmNet
from training.package_net import from_package

REFUSED_GOOD_FILMS = 0.01  # of val: where the gate's operating point is put (at most 2 % may be refused)
SAME_GATE = 1e-4  # in gate scores before softmax

Flat = NDArray[np.float64] | Array
Scores = tuple[Array, Array]  # logits (n, 14), gate probabilities (n, classes)
Scorer = Callable[[Array], Scores]


def share(k: int, n: int) -> dict[str, Any]:
    """k of n with the 95 % interval of Wilson (1927)."""
    if n == 0:
        return {"k": 0, "n": 0}
    p, z = k / n, 1.96
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return {"k": k, "n": n, "share": round(p, 3), "ci95": [round(float(low), 3), round(float(high), 3)]}


def gate_operating_point(frontal: Flat) -> float:
    """The gate's bar: one half, or lower where that would refuse more than 1 % of the good films."""
    return round(min(0.5, float(np.quantile(frontal, REFUSED_GOOD_FILMS))), 3)


def gate_report(score: Scorer, data: Path, films: dict[str, Array], point: float) -> dict[str, Any]:
    """How many good films are refused, and how much of what is no upright frontal chest film is let in.

    Good films: val, test and a second hospital. Bad ones: films of test turned, inverted and cut up (the
    kinds are known from training, the films are not), and kinds of things that training never saw.
    """
    rng = np.random.default_rng(5)
    size = films["test"].shape[-1]

    def counted(pictures: Array, *, refused: bool) -> dict[str, Any]:
        frontal = score(pictures)[1][:, 0]
        return share(int((frontal < point if refused else frontal >= point).sum()), len(frontal))

    def squares(pictures: list[Array]) -> Array:
        return np.stack(
            [to_model_input(Film(grey=np.ascontiguousarray(p), spacing_mm=None), size)[0] for p in pictures]
        )

    test = films["test"][:, 0]
    report: dict[str, Any] = {
        "operating_point": point,
        "good_films_refused": {},
        "refused": {},
        "objects": {},
    }
    report["good_films_refused"] = {name: counted(x, refused=True) for name, x in films.items()}
    bad = {
        "films of test turned or upside down": squares([turned(x, rng) for x in test]),
        "films of test inverted": squares([inverted(x) for x in test]),
        "films of test mirrored left to right": squares([x[:, ::-1] for x in test]),
        "films of the second hospital mirrored": squares([x[0, :, ::-1] for x in films["second hospital"]]),
        "corners of films of test": squares([fragment(x, rng) for x in test]),
        "drawings of trained kinds": squares(
            [drawing(DRAWINGS[i % len(DRAWINGS)], size, rng) for i in range(96)]
        ),
        "drawings of kinds never trained": squares(
            [drawing(HELD_OUT_DRAWINGS[i % len(HELD_OUT_DRAWINGS)], size, rng) for i in range(60)]
        ),
    }
    bad["two films of test side by side"] = squares(
        [np.concatenate([test[i], test[i + 1]], axis=1) for i in range(0, len(test) - 1, 4)]
    )
    bad["hippocampal MR of other patients"] = squares([f.pixels for f in hippocampus_slices(data, 60)])
    objects = list(foreign_films(data, held_out=True))
    slices = [film.pixels for name, film in objects if name[0].isdigit()]
    bad["slices of an MR series never trained (other series of the patient were)"] = squares(slices)
    report["refused"] = {name: counted(x, refused=True) for name, x in bad.items() if len(x)}
    named = [(name, film) for name, film in objects if not name[0].isdigit()]
    probabilities = score(squares([film.pixels for _, film in named]))[1]
    report["objects"] = {
        name: {"frontal_chest": round(float(p[0]), 4), "looks": GATE_CLASSES[int(p.argmax())]}
        for (name, _), p in zip(named, probabilities, strict=True)
    }
    return report


def gate_counted(net: FilmNet, package: Path) -> dict[str, Any]:
    """What the package's evaluation says of its gate, which must be the network's own, weight for weight.

    Raises ValueError where it is another.
    """
    theirs = from_package(package)
    drawn = torch.rand(4, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        here, there = net(drawn).gate, theirs(drawn).gate
    apart = float((here - there).abs().max()) if here.shape == there.shape else float("inf")
    if apart > SAME_GATE:
        raise ValueError(f"the gate of {package.name} is another: its scores differ by {apart:.2g}")
    found: dict[str, Any] = json.loads((package / "evaluation.json").read_text(encoding="utf-8"))["gate"]
    return found
