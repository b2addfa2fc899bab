"""The front door: takes objects and what is said about them. It knows neither database nor model."""

from __future__ import annotations

from dicom_listener.scp import Door

__all__ = ["Door"]
