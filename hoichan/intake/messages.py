"""An HL7 v2 message that came in: who sent it, what kind it is, and when two are the same.

A sender that got no answer sends the same message again, often with a new MSH-7. So a message is the same
when sender, MSH-10 and everything but MSH-7 are the same. MSH-10 alone is not enough: counters start again
at 1 after a restart, and a new message must never be answered with the AA of an old one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from hoichan import er7
from hoichan.errors import HoichanError, MessageUnreadable
from hoichan.intake.orders import Event, moment, read_events

_KIND = re.compile(r"[A-Z0-9]{3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message, read as far as it could be."""

    key: str  # SHA-256; the same for the same message
    kind: str  # e.g. "ORM^O01"; "" when it cannot be read
    application: str  # MSH-3
    facility: str  # MSH-4
    told_at: datetime | None  # MSH-7, aware
    events: tuple[Event, ...]  # none where there is an error
    error: HoichanError | None  # why it is not taken


def hear(content: bytes, *, zone: tzinfo) -> Told:
    """A message from its bytes, without the MLLP frame; whatever they are, it gives an answer."""
    try:
        message = er7.read(content)
    except MessageUnreadable as error:
        return unread(content, error)
    header = message.header
    events: tuple[Event, ...] = ()
    fault: HoichanError | None = None
    try:
        if not message.control_id:
            raise MessageUnreadable("MSH-10 is empty.")
        events = read_events(content, zone=zone)
    except HoichanError as error:
        fault = error
    return Told(
        key=_key(content, header.delimiters.field.encode()),
        kind="^".join(part for part in (_code(header, 1), _code(header, 2)) if part),
        application=header.text(3),
        facility=header.text(4),
        told_at=moment(header.text(7), zone),
        events=events,
        error=fault,
    )


def unread(content: bytes, error: HoichanError) -> Told:
    """A message of which nothing is known but its bytes."""
    return Told(
        key=hashlib.sha256(content).hexdigest(),
        kind="",
        application="",
        facility="",
        told_at=None,
        events=(),
        error=error,
    )


def _code(header: er7.Segment, component: int) -> str:
    """A component of MSH-9; only what looks like a code, since it is logged."""
    text = header.text(9, component).upper()
    return text if _KIND.fullmatch(text) else ""


def _key(content: bytes, field: bytes) -> str:
    """Over every byte but MSH-7."""
    first, end, rest = re.split(rb"([\r\n]|\Z)", content.lstrip(b"\xef\xbb\xbf \t\r\n\v"), maxsplit=1)
    fields = first.split(field)
    if len(fields) > 6:
        fields[6] = b""  # fields[0] is MSH itself, so this is MSH-7
    return hashlib.sha256(field.join(fields) + end + rest).hexdigest()
