"""What every association of ours needs beyond pynetdicom."""

from __future__ import annotations

from typing import Any


def release(association: Any) -> None:  # noqa: ANN401 (an untyped pynetdicom Association)
    """Ends an association in order (A-RELEASE), if it still lives; returns when it has ended.

    pynetdicom waits for ever for the thread of an association that was aborted while it was being made: such
    a one still calls itself established.
    """
    if association.is_established and association.is_alive():
        association.release()
    else:
        association.abort()
