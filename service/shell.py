"""What somebody does at the shell, into the audit log: the operating system's account, and what it did."""

from __future__ import annotations

import os

from hoichan.guard.audit import Audited, AuditRecord
from service.wiring import House


def record(house: House, what: Audited, *uids: str, detail: str = "") -> None:
    """Record it. The first UID is the study's. Raises RecordsUnavailable or ConfigurationError."""
    house.audit.append(
        AuditRecord(
            what=what,
            when=house.clock.now(),
            who=f"uid:{os.getuid()}",
            role="shell",
            source="",
            uids=uids,
            detail=detail,
        )
    )
