"""What a report says, and to whom it goes. Pure rules: no clock, no file, no socket."""

from __future__ import annotations

from hoichan.reporting.deliveries import next_attempt, plan
from hoichan.reporting.reports import compose, score_text

__all__ = ["compose", "next_attempt", "plan", "score_text"]
