"""Hội Chẩn: an AI imaging diagnosis assistance service. The words are in `hoichan.types`."""

from __future__ import annotations

__version__ = "0.1.0"
