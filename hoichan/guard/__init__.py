"""What must be recorded of who did what, and how a study loses its names."""

from __future__ import annotations

from hoichan.guard.deidentify import Deidentified, Options, Remark, deidentify
from hoichan.guard.pixels import PixelRisk

__all__ = ["Deidentified", "Options", "PixelRisk", "Remark", "deidentify"]
