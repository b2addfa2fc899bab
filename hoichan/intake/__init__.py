"""What comes through the door: is it usable, what is it, and is the study complete."""

from __future__ import annotations

from hoichan.intake.assembly import Completeness, StudyEvent, completeness, merge, next_state
from hoichan.intake.dataset import describe, read_spooled
from hoichan.intake.door import Identity, identify

__all__ = [
    "Completeness",
    "Identity",
    "StudyEvent",
    "completeness",
    "describe",
    "identify",
    "merge",
    "next_state",
    "read_spooled",
]
