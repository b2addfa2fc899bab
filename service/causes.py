"""The usual faults by name: from what a receiver or the network said to a sentence and what to do about it.

The sentences stand in the message catalogues under `cause.<name>.what` and `cause.<name>.do`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

# The first that fits. The texts are ours: sinks, probes and the outbox write them (`hoichan.adapters`).
PATTERNS: Sequence[tuple[str, str]] = (
    (r"^unexpected\.", "unexpected"),
    (r"no document for a receiver", "no_document"),
    (r"connection.refused|ConnectionRefusedError", "connection_refused"),
    (r"dns|gaierror", "dns"),
    (r"certificate|SSLCertVerificationError", "certificate"),
    (r"\btls\b|SSLError", "tls"),
    (r"no_route", "no_route"),
    (r"disk_full|No space left", "disk_full"),
    (r"disk_read_only|no_permission|PermissionError", "no_permission"),
    (r"association rejected \(source 1, reason 3\)", "calling_ae"),
    (r"association rejected \(source 1, reason 7\)", "called_ae"),
    (r"association rejected", "association_rejected"),
    (r"no presentation context|SOP class \S+ not accepted|0x0122", "context"),
    (r"0xA7[0-9A-F]{2}|0x0213", "out_of_resources"),
    (r"0xA9[0-9A-F]{2}|0xC[0-9A-F]{3}|cannot be encoded", "object_refused"),
    (r"0x0124", "not_authorised"),
    (r"HTTP 40[13]\b", "http_auth"),
    (r"HTTP (404|405|410)\b", "http_address"),
    (r"HTTP (400|422)\b", "http_content"),
    (r"HTTP (409|412)\b", "http_conflict"),
    (r"HTTP (408|425|429|502|503|504)\b", "http_busy"),
    (r"HTTP 5\d\d\b", "http_error"),
    (r"HTTP 30[78]\b", "http_redirect"),
    (r"no patient identifier", "no_patient"),
    (r"patient_unmatched", "unmatched"),
    (r"not sent: ", "own_check"),
    (r"destination_not_configured", "not_configured"),
    (r"receiver_awaited|rule_awaited", "awaited"),
    (r"kills_worker", "kills_worker"),
    (r"(AE|CE)\b", "hl7_content"),
    (r"(AR|CR)\b", "hl7_later"),
    (r"images_not_there", "images_not_there"),
    (r"images_not_known", "images_not_known"),
    (r"overtaken", "overtaken"),
    (r"gave_way", "gave_way"),
    (r"cancelled", "cancelled"),
    (r"timeout|Timeout|no answer|never ends", "timeout"),
    (r"connection_reset|association ended|closed without an answer", "connection_reset"),
    (r"no association", "no_association"),
)
NAMES = tuple(dict.fromkeys([*(name for _, name in PATTERNS), "clock_skew", "nagle"]))

MOST_AHEAD = timedelta(minutes=5)  # a study made later than it came: a clock is wrong
FEWEST_PAUSES = 10
LONGEST_PAUSE = timedelta(seconds=1)
# Milliseconds between two objects that a delayed acknowledgement makes (RFC 1122 4.2.3.2)
STALLS = ((38.0, 48.0), (195.0, 215.0))


def cause_of(text: str | None) -> str | None:
    """The name of the fault behind an answer; None where it is none of the usual ones."""
    return next((name for pattern, name in PATTERNS if re.search(pattern, text or "")), None)


def is_ahead(made_at: datetime | None, received_at: datetime) -> bool:
    """Whether the sender's clock, or ours, is wrong: the study came before it was made."""
    return made_at is not None and made_at - received_at > MOST_AHEAD


def is_stalled(received_at: Sequence[datetime]) -> bool:
    """Whether the objects came in the steps of a delayed acknowledgement (Nagle at the sender).

    What came after a longer pause may have come by another association: that pause says nothing.
    """
    times = sorted(received_at)
    pauses = [(b - a).total_seconds() * 1000 for a, b in pairwise(times) if b - a <= LONGEST_PAUSE]
    if len(pauses) < FEWEST_PAUSES:
        return False
    for low, high in STALLS:
        inside = sum(1 for pause in pauses if low <= pause <= high)
        if low <= median(pauses) <= high and inside * 5 >= len(pauses) * 4:
            return True
    return False
