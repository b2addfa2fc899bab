"""From a class activation map to where a reader should look: a heat map over the stored image, and a box
around its peak.

The map is the network's own sum: its mean plus a bias is the logit (Zhou et al., CVPR 2016), so bright means
"this place raised the score". It shows what the network used, not the outline of a lesion; a coarse grid (a
cell is an eighth of the film) allows no more.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from hoichan.types import Evidence, GraphicType, SOPInstanceUID

METHOD = "class activation map"
FLAT = 1e-6  # in logits; a map whose peak stands out by less says nothing of a place
BOX_LEVEL = 0.6  # of the peak of the heat map; what is connected to the peak above this is in the box


def heatmap(cam: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contributions above the film's own mean, scaled to 0..1; all 0 for a flat map. Same shape as `cam`."""
    above = np.clip(cam.astype(np.float64) - cam.mean(dtype=np.float64), 0.0, None)
    peak = float(above.max())
    if peak < FLAT:
        return np.zeros(cam.shape, dtype=np.float32)
    return np.asarray(above / peak, dtype=np.float32)


def locate(
    cam: NDArray[np.float32], *, rows: int, columns: int, sop_instance_uid: SOPInstanceUID
) -> Evidence:
    """Evidence for one positive finding from its map (h, w) float32, which covers exactly the stored image.

    The box is a closed polyline of five points, (column, row) of the stored image with (0, 0) at the outer
    corner of its first pixel (PS3.3 C.18.6.1.2). A flat map gives a heat map of zeros and no box.
    """
    heat = heatmap(cam)
    box = _box(heat)
    if box is None:
        return Evidence(
            referenced_sop_instance_uid=sop_instance_uid,
            graphic_type=None,
            graphic_data=(),
            method=METHOD,
            heatmap=heat,
        )
    top, left, bottom, right = box
    down, across = rows / heat.shape[0], columns / heat.shape[1]
    x0, x1, y0, y1 = left * across, right * across, top * down, bottom * down
    return Evidence(
        referenced_sop_instance_uid=sop_instance_uid,
        graphic_type=GraphicType.POLYLINE,
        graphic_data=tuple(round(float(v), 1) for v in (x0, y0, x1, y0, x1, y1, x0, y1, x0, y0)),
        method=METHOD,
        heatmap=heat,
    )


def _box(heat: NDArray[np.float32]) -> tuple[int, int, int, int] | None:
    """Half-open (top, left, bottom, right) in map cells around the cells connected to the peak; None for a
    flat map.
    """
    if not heat.max() > 0:
        return None
    hot = heat >= BOX_LEVEL
    start = divmod(int(heat.argmax()), heat.shape[1])
    seen = {start}
    queue = deque([start])
    while queue:
        row, column = queue.popleft()
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= near[0] < heat.shape[0] and 0 <= near[1] < heat.shape[1]
            if inside and near not in seen and hot[near]:
                seen.add(near)
                queue.append(near)
    at_rows, at_columns = zip(*seen, strict=True)
    return min(at_rows), min(at_columns), max(at_rows) + 1, max(at_columns) + 1
