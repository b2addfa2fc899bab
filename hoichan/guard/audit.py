"""The rules of a log of who did what that cannot be changed unseen: records, their bytes and their chain.

Each hash covers the record and the hash before it (HMAC-SHA256 under a key that the database does not know),
so a record that was changed, taken out, put in or moved breaks the chain at its place. Records cut off at the
end break nothing: for that the head of the chain is exported from time to time and kept elsewhere (`Head`,
`verify`).

Events are those of DICOM PS3.15 A.5. A record holds user names, roles, AE titles, addresses and UIDs; never a
name, number or text of a patient. No I/O here; storing and exporting belong to adapters.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from hoichan.errors import AuditRecordInvalid, ConfigurationError
from hoichan.types import Code

KEY_BYTES = 32  # least length of a key
GENESIS = bytes(32)  # stands before the first record
_FORMAT = 1  # of the canonical bytes; a new one never changes what an old record's bytes are
_LONGEST = 256  # characters of one text, so that nothing but identifiers fits


class Outcome(StrEnum):
    """EventOutcomeIndicator (PS3.15 A.5.1)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"  # e.g. a wrong password
    SERIOUS_FAILURE = "8"
    MAJOR_FAILURE = "12"  # the system does not work


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One kind of audited event: Event ID, Event Type and Action of PS3.15 A.5."""

    event_id: Code
    event_type: Code | None
    action: str  # C create, R read, U update, D delete, E execute


def _dcm(value: str, meaning: str) -> Code:
    return Code(code_value=value, coding_scheme_designator="DCM", code_meaning=meaning)


_ACTIVITY = _dcm("110100", "Application Activity")
_EXPORT = _dcm("110106", "Export")
_BEGIN = _dcm("110102", "Begin Transferring DICOM Instances")
_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
_ACCESSED = _dcm("110103", "DICOM Instances Accessed")
_DELETED = _dcm("110105", "DICOM Study Deleted")
_PROCEDURE = _dcm("110111", "Procedure Record")
_PATIENT = _dcm("110110", "Patient Record")
_QUERY = _dcm("110112", "Query")
_ALERT = _dcm("110113", "Security Alert")
_AUTHENTICATION = _dcm("110114", "User Authentication")
_LOG_USED = _dcm("110101", "Audit Log Used")


LOOKED = "looked"  # detail of VIEWED: a reader has had the study open for half a minute


class Audited(StrEnum):
    """What is recorded, in our words. Stable: they are in records for decades."""

    STARTED = "application_started"
    STOPPED = "application_stopped"
    LOGIN = "login"
    LOGOUT = "logout"
    INSTANCES_RECEIVED = "instances_received"
    SENDING = "results_sending"
    SENT = "results_sent"
    ANALYSED = "study_analysed"
    VIEWED = "study_viewed"
    RESULT_CREATED = "result_created"
    RESULT_REVIEWED = "result_reviewed"  # accepted, edited or rejected
    RESULT_SIGNED = "result_signed"
    RESULT_WITHDRAWN = "result_withdrawn"
    CRITICAL_TOLD = "critical_told"  # a critical finding to people, or that they acknowledged it
    FOLLOW_UP_CHANGED = "follow_up_changed"  # asked for, or closed
    OPINION_CHANGED = "opinion_changed"  # a colleague was asked, said something, or the question ended
    SHARE_CHANGED = "share_changed"  # a link for an outsider was made or taken back
    SHARE_OPENED = "share_opened"  # somebody looked at a signed report through such a link
    PATIENT_CORRECTED = "patient_corrected"
    QUERIED = "queried"
    WORK_CANCELLED = "work_cancelled"
    STUDY_DELETED = "study_deleted"
    EXPORTED = "exported"
    MODEL_CHANGED = "model_changed"
    SETTINGS_CHANGED = "settings_changed"
    USER_CHANGED = "user_changed"  # added, closed, opened, another password
    ACCESS_REFUSED = "access_refused"  # the role does not allow it
    NODE_REFUSED = "node_refused"  # wrong AE title, network or certificate
    BREAK_GLASS = "break_glass"
    LOG_READ = "audit_log_read"


EVENTS: Mapping[Audited, Event] = {
    what: Event(event_id=event_id, event_type=_dcm(*kind) if kind else None, action=action)
    for what, event_id, kind, action in (
        (Audited.STARTED, _ACTIVITY, ("110120", "Application Start"), "E"),
        (Audited.STOPPED, _ACTIVITY, ("110121", "Application Stop"), "E"),
        (Audited.LOGIN, _AUTHENTICATION, ("110122", "Login"), "E"),
        (Audited.LOGOUT, _AUTHENTICATION, ("110123", "Logout"), "E"),
        (Audited.INSTANCES_RECEIVED, _TRANSFERRED, None, "C"),
        (Audited.SENDING, _BEGIN, None, "E"),
        (Audited.SENT, _TRANSFERRED, None, "R"),
        (Audited.ANALYSED, _ACCESSED, None, "R"),
        (Audited.VIEWED, _ACCESSED, None, "R"),
        (Audited.RESULT_CREATED, _PROCEDURE, None, "C"),
        (Audited.RESULT_REVIEWED, _PROCEDURE, None, "U"),
        (Audited.RESULT_SIGNED, _PROCEDURE, None, "U"),
        (Audited.RESULT_WITHDRAWN, _PROCEDURE, None, "D"),
        (Audited.CRITICAL_TOLD, _PROCEDURE, None, "U"),
        (Audited.FOLLOW_UP_CHANGED, _PROCEDURE, None, "U"),
        (Audited.OPINION_CHANGED, _PROCEDURE, None, "U"),
        (Audited.SHARE_CHANGED, _EXPORT, None, "C"),
        (Audited.SHARE_OPENED, _EXPORT, None, "R"),
        (Audited.PATIENT_CORRECTED, _PATIENT, None, "U"),
        (Audited.QUERIED, _QUERY, None, "E"),
        (Audited.WORK_CANCELLED, _PROCEDURE, None, "U"),
        (Audited.STUDY_DELETED, _DELETED, None, "D"),
        (Audited.EXPORTED, _EXPORT, None, "R"),
        (Audited.MODEL_CHANGED, _ALERT, ("110131", "Software Configuration"), "E"),
        (Audited.SETTINGS_CHANGED, _ALERT, ("110129", "Security Configuration"), "E"),
        (Audited.USER_CHANGED, _ALERT, ("110137", "User Security Attributes Changed"), "E"),
        (Audited.ACCESS_REFUSED, _ALERT, ("110132", "Use of Restricted Function"), "E"),
        (Audited.NODE_REFUSED, _ALERT, ("110126", "Node Authentication"), "E"),
        (Audited.BREAK_GLASS, _ALERT, ("110127", "Emergency Override Started"), "E"),
        (Audited.LOG_READ, _LOG_USED, None, "R"),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """Who did what to which objects, when and from where. Raises AuditRecordInvalid where it cannot say."""

    what: Audited
    when: datetime  # aware; kept in UTC to the microsecond
    who: str  # user name, AE title or "system"; not a display name
    role: str  # of `hoichan.guard.roles`; "shell" for a command, "system", "unknown"
    source: str  # address or AE title it came from; "" when inside
    outcome: Outcome = Outcome.SUCCESS
    uids: tuple[str, ...] = ()  # study, series, instance or report UIDs
    detail: str = ""  # code of a reason, name of a setting or model; no free text

    def __post_init__(self) -> None:
        if self.when.tzinfo is None:
            raise AuditRecordInvalid("The time of an audit record has no zone.")
        if not self.who or not self.role:
            raise AuditRecordInvalid("An audit record says neither who nor in which role.")
        if any(len(text) > _LONGEST for text in (self.who, self.role, self.source, self.detail, *self.uids)):
            raise AuditRecordInvalid("An audit record holds a text that is too long.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chained:
    """A record as it lies in the log."""

    record: AuditRecord
    hash: bytes  # 32 bytes, over the record and the hash before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the log at one time, to be kept where the log is not: on paper, in another system."""

    length: int  # records so far
    hash: bytes  # of the last one; GENESIS when there is none


def canonical_bytes(record: AuditRecord) -> bytes:
    """The one way to write a record: ASCII JSON, fixed order of keys, no spaces, the time in UTC.

    The codes of `EVENTS` are left out: a correction of that table must not break old records.
    """
    content = {
        "format": _FORMAT,
        "what": record.what.value,
        "when": record.when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "who": record.who,
        "role": record.role,
        "source": record.source,
        "outcome": record.outcome.value,
        "uids": list(record.uids),
        "detail": record.detail,
    }
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def chain(previous_hash: bytes, record: AuditRecord, key: bytes) -> bytes:
    """The hash of a record that follows another; GENESIS stands before the first. 32 bytes.

    Raises ConfigurationError where the key is too short, AuditRecordInvalid where the former hash is none.
    """
    if len(key) < KEY_BYTES:
        raise ConfigurationError(f"The key of the audit log has less than {KEY_BYTES} bytes.")
    if len(previous_hash) != len(GENESIS):
        raise AuditRecordInvalid("The hash before an audit record has not 32 bytes.")
    return hmac.digest(key, previous_hash + canonical_bytes(record), hashlib.sha256)


def append(records: Sequence[Chained], record: AuditRecord, key: bytes) -> Chained:
    """A record with the hash that it gets at the end of a log."""
    return Chained(record=record, hash=chain(records[-1].hash if records else GENESIS, record, key))


def head(records: Sequence[Chained]) -> Head:
    """What to export of a log, so that cutting it off is seen later."""
    return Head(length=len(records), hash=records[-1].hash if records else GENESIS)


def verify(records: Iterable[Chained], key: bytes, exported: Head | None = None) -> int | None:
    """The index of the first record that is not as it was written; None when all are.

    With an exported head the log must still hold it: where it is shorter, its length is the answer; where the
    hash at that place is another, the whole was written anew and the answer is the head's last index.
    """
    previous, length = GENESIS, 0
    if exported is not None and exported.length == 0 and exported.hash != GENESIS:
        return 0
    for index, chained in enumerate(records):
        if not hmac.compare_digest(chain(previous, chained.record, key), chained.hash):
            return index
        previous, length = chained.hash, index + 1
        if exported is not None and exported.length == length and exported.hash != previous:
            return index
    return length if exported is not None and length < exported.length else None
