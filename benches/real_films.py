"""A real film, made small, as often as one likes: for benches whose films a model must answer."""

from __future__ import annotations

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread

from hoichan.testing.reports import a_film
from service.demo import films

_LARGEST = 4095  # of 12 bits


class SmallFilms:
    """The chest film of the demonstration (pydicom-data), made small, each time as a study of its own."""

    def __init__(self, rows: int) -> None:
        """`rows` of each; the columns follow. Raises ConfigurationError without pydicom-data."""
        source = dcmread(films()[0])
        stored = source.pixel_array.astype(np.float32)
        if source.PhotometricInterpretation == "MONOCHROME1":
            stored = stored.max() - stored
        columns = round(rows * stored.shape[1] / stored.shape[0])
        small = np.asarray(Image.fromarray(stored).resize((columns, rows), Image.Resampling.BOX))
        self._pixels = _LARGEST * (small - small.min()) / np.ptp(small)

    def film(self, seed: str) -> Dataset:
        """One with UIDs and grain of its own: no two have the same bytes."""
        rows, columns = self._pixels.shape
        made = a_film(seed, rows=rows, columns=columns)
        grain = np.random.default_rng([*seed.encode()]).normal(0, 8, self._pixels.shape)
        made.PixelData = np.clip(self._pixels + grain, 0, _LARGEST).astype("<u2").tobytes()
        return made
