"""A film as models and pictures read it: grey levels 0..1, bright = dense, on its stored grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hoichan.analysis.levels import Shown

Array = NDArray[np.float32]

STRIP_ROWS = 64  # laid out and made narrow at a time, so that they stay in the processor's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """One grey image on its stored grid. Its pixels are laid out when somebody asks for all of them."""

    grey: Array | Shown  # (rows, columns) float32, 0..1, bright = dense
    spacing_mm: tuple[float, float] | None  # between rows, between columns; None when absent or not positive
    warnings: tuple[str, ...] = ()  # stable codes of header values that were not obeyed

    @cached_property
    def pixels(self) -> Array:
        """(rows, columns) float32, 0..1, bright = dense; not to be written on."""
        pixels = self.grey.whole() if isinstance(self.grey, Shown) else self.grey.view()
        pixels.flags.writeable = False
        return pixels

    @property
    def rows(self) -> int:
        """(0028,0010)."""
        return int(self.grey.shape[0])

    @property
    def columns(self) -> int:
        """(0028,0011)."""
        return int(self.grey.shape[1])

    def every(self, rows: int, columns: int) -> Array:
        """A coarse look: one pixel of each `rows` x `columns`, (ceil(rows), ceil(columns)) float32."""
        if isinstance(self.grey, Shown):
            return self.grey.part(slice(None, None, rows), slice(None, None, columns))
        return self.grey[::rows, ::columns]

    def resized(self, width: int, height: int) -> Array:
        """The film made (height, width), every pixel counted: PIL, bilinear.

        First narrow, then low, so this is done in strips and the film is never laid out as a whole. PIL
        itself takes the way that it finds cheaper, which changes the last bit (6e-8) and no more.
        """
        if not isinstance(self.grey, Shown):
            return _bilinear(self.grey, width, height)
        narrow = np.empty((self.rows, width), dtype=np.float32)
        for rows, part in _strips(self.grey):
            narrow[rows] = _bilinear(part, width, part.shape[0])
        return _bilinear(narrow, width, height)


def _strips(shown: Shown) -> Iterator[tuple[slice, Array]]:
    for first in range(0, shown.shape[0], STRIP_ROWS):
        rows = slice(first, min(first + STRIP_ROWS, shown.shape[0]))
        yield rows, shown.part(rows)


def _bilinear(pixels: Array, width: int, height: int) -> Array:
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)
