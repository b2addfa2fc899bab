"""A heat map as it is kept beside its finding, and as a picture that lies over the film.

A map is a grid of a few hundred numbers over exactly the stored image: it is kept as it is, one byte a cell.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST_SIDE = 64  # cells; a finer map is made coarser, it marks a place and no outline
LONGEST_SIDE = 512  # pixels of the picture
COLOUR = (255, 128, 24)
FLOOR = 0.25  # of the peak; below it nothing is drawn
OPACITY = 0.75  # at the peak


def packed(heatmap: NDArray[np.float32]) -> dict[str, object]:
    """A map (h, w) float32, 0..1, as JSON."""
    grid: NDArray[np.float32] = np.clip(np.nan_to_num(heatmap), 0, 1).astype(np.float32)
    if max(grid.shape) > LARGEST_SIDE:
        scale = LARGEST_SIDE / max(grid.shape)
        size = (max(1, round(grid.shape[1] * scale)), max(1, round(grid.shape[0] * scale)))
        resized = Image.fromarray(grid).resize(size, Image.Resampling.BOX)
        grid = np.asarray(resized, dtype=np.float32)
    cells = (grid * 255).round().astype(np.uint8)
    return {
        "rows": int(cells.shape[0]),
        "columns": int(cells.shape[1]),
        "cells": base64.b64encode(cells.tobytes()).decode("ascii"),
    }


def unpacked(kept: Mapping[str, Any]) -> NDArray[np.float32]:
    """The map again: (h, w) float32, 0..1. Raises ValueError for anything else."""
    cells = np.frombuffer(base64.b64decode(kept["cells"], validate=True), dtype=np.uint8)
    grid = cells.reshape(kept["rows"], kept["columns"]).astype(np.float32)
    return np.asarray(grid / np.float32(255), dtype=np.float32)


def png(heatmap: NDArray[np.float32], *, rows: int, columns: int) -> bytes:
    """The map as an RGBA PNG of the stored image's own proportions, 512 pixels at most."""
    scale = min(1.0, LONGEST_SIDE / max(rows, columns))
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    enlarged = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32)).resize(
        size, Image.Resampling.BICUBIC
    )
    strength = np.clip((np.asarray(enlarged) - FLOOR) / (1 - FLOOR), 0, 1)
    picture = np.empty((size[1], size[0], 4), dtype=np.uint8)
    picture[..., :3] = COLOUR
    picture[..., 3] = (strength * OPACITY * 255).round()
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
