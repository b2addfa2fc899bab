"""The front door: C-ECHO and C-STORE, and nothing else. It knows neither database nor model."""

from __future__ import annotations

from dicom_listener.scp import Door

__all__ = ["Door"]
