"""A job as a Unified Procedure Step in DICOM JSON (PS3.4 table CC.2.5-3, PS3.18 annex F), and back."""

from __future__ import annotations

import re
from typing import Any

from hoichan.adapters.ups_sql import Event
from hoichan.adapters.workitem_rows import FINAL, ProcedureStepState, Workitem
from hoichan.intake.json_bodies import loaded
from hoichan.types import Urgency

Json = dict[str, Any]
UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
MEDIA_TYPE = "application/dicom+json"
STATE, TRANSACTION, STUDY, PROGRESS = "00741000", "00081195", "0020000D", "00741004"
READINESS, PERFORMED, OUTPUT, PRIORITY = "00404041", "00741216", "00404033", "00741200"
PROGRESS_SEQUENCE, INPUT, ACCESSION = "00741002", "00404021", "00080050"
_PRIORITY = {Urgency.STAT: "HIGH", Urgency.URGENT: "HIGH", Urgency.ROUTINE: "MEDIUM", Urgency.LOW: "LOW"}
_UID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
SERIES, REFERENCED = "0020000E", "00081199"
# Type of instances, study, series, instances, retrieval by AE, by file-set, by WADO, by XDS, by STOW
OUTPUT_WORDS = (
    "0040E020",
    STUDY,
    SERIES,
    REFERENCED,
    "0040E021",
    "0040E022",
    "0040E023",
    "0040E024",
    "0040E025",
)
# Reasons of discontinuation (CID 9300, 9303) by the beginning of our error codes
_REASONS = (
    ("work.killed", ("110527", "Resource inadequate")),
    ("intake.", ("110521", "Objects incorrectly formatted")),
    ("model", ("110527", "Resource inadequate")),
)
_UNSPECIFIED = ("110513", "Discontinued for unspecified reason")


STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT = 1, 2, 3  # Event Type ID
CANCEL_WORDS = frozenset({"00741238", "0074100E", "0074100A", "0074100C"})  # reason and contact


class BodyUnreadable(ValueError):
    """The body is no DICOM JSON object of one data set."""


def ups(item: Workitem, base_url: str) -> Json:
    """The attributes; never the Transaction UID (PS3.18 11.5)."""
    found: Json = {
        "00080005": _of("CS", "ISO_IR 192"),
        "00080016": _of("UI", UPS_PUSH),
        "00080018": _of("UI", item.workitem_uid),
        STATE: _of("CS", str(item.state)),
        PRIORITY: _of("CS", _PRIORITY[item.urgency]),
        "00741204": _of("LO", "AI"),
        "00741202": _of("LO", "AI"),
        "00404018": _items(_code("110004", "Computer Aided Detection")),
        READINESS: _of("CS", item.readiness),
        "00404005": _of("DT", item.scheduled_at.strftime("%Y%m%d%H%M%S+0000")),
        STUDY: _of("UI", item.study_instance_uid),
        ACCESSION: _of("SH", item.accession_number),
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": item.patient.patient_name.reveal()}]},
        "00100020": _of("LO", item.patient.patient_id.reveal()),
        "00100021": _of("LO", item.patient.issuer_of_patient_id),
        "00100040": _of("CS", item.patient.patient_sex),
        INPUT: _items(
            *(_input(item, uid, base_url) for uid in item.series_instance_uids),
            *([] if item.series_instance_uids else [{STUDY: _of("UI", item.study_instance_uid)}]),
        ),
        "0040A370": _items(
            {ACCESSION: _of("SH", item.accession_number), STUDY: _of("UI", item.study_instance_uid)}
        ),
        PROGRESS_SEQUENCE: _items(_progress(item)),
    }
    if item.patient.patient_birth_date is not None:
        found["00100030"] = _of("DA", item.patient.patient_birth_date.reveal().strftime("%Y%m%d"))
    if item.models:
        found["00741210"] = _items(*(_text("111001", "Algorithm Name", name) for name in item.models))
    if item.state is ProcedureStepState.COMPLETED or item.outputs:
        found[PERFORMED] = _items(_performed(item, base_url))
    return found


def _input(item: Workitem, series: str, base_url: str) -> Json:
    url = f"{base_url}/studies/{item.study_instance_uid}/series/{series}"
    return {
        "0040E020": _of("CS", "DICOM"),
        STUDY: _of("UI", item.study_instance_uid),
        "0020000E": _of("UI", series),
        "0040E025": _items({"00081190": _of("UR", url)}),
    }


def _progress(item: Workitem) -> Json:
    found: Json = {}
    if item.progress is not None:
        found[PROGRESS] = _of("DS", item.progress)
    if item.state is ProcedureStepState.CANCELED:
        code = next((code for start, code in _REASONS if (item.reason or "").startswith(start)), _UNSPECIFIED)
        found["0074100E"] = _items(_code(*code))
    return found


def _performed(item: Workitem, base_url: str) -> Json:
    output: Json = {}
    if item.report_uid is not None:
        url = f"{base_url}/studies/{item.study_instance_uid}"
        output = {
            "0040E020": _of("CS", "DICOM"),
            STUDY: _of("UI", item.study_instance_uid),
            "0040E025": _items({"00081190": _of("UR", url)}),
        }
    return {OUTPUT: _items(*(item.outputs or ([output] if output else ())))}


# ------------------------------------------------------------------ events (PS3.4 table CC.2.4-1)
def reports(event: Event) -> list[Json]:
    """The N-EVENT-REPORTs of an event, each a data set with the command's elements (PS3.18 11.13)."""
    item = event.item
    found: list[Json] = []
    if event.state:
        stands = {STATE: _of("CS", str(item.state)), READINESS: _of("CS", item.readiness)}
        if item.state is ProcedureStepState.CANCELED:
            stands[PROGRESS_SEQUENCE] = _items(_progress(item))
        found.append(_report(item, STATE_REPORT, stands))
    if event.progress and item.state not in FINAL:
        found.append(_report(item, PROGRESS_REPORT, {PROGRESS_SEQUENCE: _items(_progress(item))}))
    for asked in event.cancels:
        said = {tag: attribute for tag, attribute in asked.items() if tag in CANCEL_WORDS}
        who = {"00741236": _of("AE", str(asked["who"]).rpartition(":")[2][:16])}
        found.append(_report(item, CANCEL_REQUESTED, {**said, **who}))
    return found


def _report(item: Workitem, kind: int, content: Json) -> Json:
    return {
        "00000002": _of("UI", UPS_PUSH),
        "00001000": _of("UI", item.workitem_uid),
        "00001002": _of("US", kind),
        **content,
    }


def _of(vr: str, value: object) -> Json:
    return {"vr": vr} if value is None or value == "" else {"vr": vr, "Value": [value]}


def _items(*items: Json) -> Json:
    return {"vr": "SQ", "Value": list(items)} if items else {"vr": "SQ"}


def _code(value: str, meaning: str) -> Json:
    return {"00080100": _of("SH", value), "00080102": _of("SH", "DCM"), "00080104": _of("LO", meaning)}


def _text(code: str, meaning: str, text: str) -> Json:
    return {
        "0040A040": _of("CS", "TEXT"),
        "0040A043": _items(_code(code, meaning)),
        "0040A160": _of("UT", text),
    }


# ------------------------------------------------------------------ what came
def body(content: bytes) -> Json:
    """One data set; an empty body is an empty one. Raises BodyUnreadable."""
    if not content.strip():
        return {}
    try:
        found = loaded(content)
    except (ValueError, RecursionError) as error:
        raise BodyUnreadable("no JSON") from error
    if isinstance(found, list) and len(found) == 1:  # PS3.18 wants an array of one, senders send either
        found = found[0]
    if not isinstance(found, dict):
        raise BodyUnreadable("no data set")
    return found


def value(data_set: Json, tag: str) -> str:
    """The first value of an attribute as text; "" where there is none."""
    attribute = data_set.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return str(first).strip() if isinstance(first, str | int | float) else ""


def items(data_set: Json, tag: str) -> list[Json]:
    """The items of a sequence."""
    attribute = data_set.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def studies_of(data_set: Json) -> set[str]:
    """The studies that a request to work speaks of."""
    inputs = {value(one, STUDY) for one in items(data_set, INPUT)}
    return {uid for uid in {*inputs, value(data_set, STUDY)} if is_uid(uid)}


def is_uid(text: str) -> bool:
    """Whether a text is a UID."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def outputs_of(data_set: Json) -> list[Json] | None:
    """References to results in (0074,1216), as they were said; None where one is malformed, or says nothing.

    Kept are the study, and where there are any the series, instances and the places to get them from.
    """
    found: list[Json] = []
    for performed in items(data_set, PERFORMED):
        for one in items(performed, OUTPUT):
            uids = [value(one, STUDY), *([value(one, SERIES)] if SERIES in one else [])]
            instances = items(one, REFERENCED)
            for instance in instances:
                uids += [value(instance, "00081150"), value(instance, "00081155")]
            if not all(is_uid(uid) for uid in uids):
                return None
            found.append({tag: one[tag] for tag in OUTPUT_WORDS if tag in one})
    return found


def urgency_of(data_set: Json) -> Urgency:
    """(0074,1200); MEDIUM where nothing is said."""
    said = value(data_set, PRIORITY)
    return {"HIGH": Urgency.URGENT, "LOW": Urgency.LOW}.get(said, Urgency.ROUTINE)
