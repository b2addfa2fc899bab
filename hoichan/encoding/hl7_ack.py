"""The answer to an HL7 v2 message that came in (original acknowledgement mode, HL7 v2.5.1 2.9.2).

| what became of it                    | MSA-1 | ERR-3 (table 0357)            | the sender         |
|--------------------------------------|-------|-------------------------------|--------------------|
| taken                                | AA    |                               | goes on            |
| a kind that we do not take           | AR    | 200 Unsupported message type  | should stop        |
| lacks what it needs                  | AE    | 101 Required field missing    | must correct it    |
| could not be kept just now           | AR    | 207 Application internal error| should send again  |
| anything else of ours                | AE    | 207 Application internal error| needs a person     |
"""

from __future__ import annotations

from datetime import datetime

from hoichan import er7
from hoichan.errors import HoichanError, MessageUnreadable, MessageUnsupported
from hoichan.uids import derived_uuid

UNSUPPORTED = ("200", "Unsupported message type", "HL70357")
MISSING = ("101", "Required field missing", "HL70357")
INTERNAL = ("207", "Application internal error", "HL70357")


def encode_ack(content: bytes, error: HoichanError | None, now: datetime) -> bytes:
    """ACK for a message as it came, without the MLLP frame; `now` is in the site's zone.

    What cannot even be read is answered too, with an empty MSA-2. Nothing of the message is repeated but its
    control id, addresses, trigger and version.
    """
    code, reason = verdict(error)
    try:
        theirs: er7.Message | None = er7.read(content)
    except MessageUnreadable:
        theirs = None

    def said(field: int, component: int = 1) -> str:
        return theirs.header.text(field, component) if theirs is not None else ""

    control_id = said(10)
    header: dict[int, er7.Field] = {
        3: said(5),
        4: said(6),
        5: said(3),
        6: said(4),
        7: now.strftime("%Y%m%d%H%M%S%z")[:19],
        9: ("ACK", said(9, 2), "ACK"),
        10: derived_uuid("ack", control_id, code, now.isoformat()).hex[:20].upper(),
        11: said(11) or "P",
        12: said(12) or "2.5.1",
        18: "UNICODE UTF-8",
    }
    lines = [er7.segment("MSH", header), er7.segment("MSA", {1: code, 2: control_id})]
    if reason is not None:
        lines.append(er7.segment("ERR", {3: reason, 4: "E"}))
    return "".join(line + er7.SEGMENT_END for line in lines).encode("utf-8", "replace")


def verdict(error: HoichanError | None) -> tuple[str, tuple[str, str, str] | None]:
    """MSA-1 and ERR-3 for what became of a message; None: it was taken."""
    match error:
        case None:
            return "AA", None
        case MessageUnsupported():
            return "AR", UNSUPPORTED
        case MessageUnreadable():
            return "AE", MISSING
        case _:
            return ("AR" if error.retryable else "AE"), INTERNAL
