"""What a RIS or HIS tells about orders and patients (HL7 v2), and which order a study belongs to.

Lenient in: ORM^O01 as it is sent in the field (no RQD, no IPC, OBR alone), OMG^O19, OMI^O23 with IPC,
ADT^A08/A31 and the merges A18/A34/A36/A39/A40/A46/A47. What is odd becomes None; only a message without the
segment it is about is refused. Nothing here ever compares names: two people may share one, and one person is
spelled in three ways.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from enum import StrEnum

from hoichan import er7
from hoichan.errors import MessageUnreadable, MessageUnsupported
from hoichan.intake.insurance import insurance_number
from hoichan.privacy import Phi
from hoichan.types import Code, Patient, Study, StudyInstanceUID

MATCH_WINDOW = timedelta(hours=24)  # between the time of the order and the time of the study

UPDATES = frozenset({"A08", "A31"})
MERGES = frozenset({"A18", "A34", "A36", "A39", "A40", "A46", "A47"})
CANCELLATIONS = frozenset({"CA", "OC", "CR", "DC", "OD", "DR"})  # ORC-1, table 0119
NEW_ORDERS = frozenset({"", "NW", "SN"})
_SEXES = ("M", "F", "O")
_NATIONAL_TYPE = re.compile(r"NN[A-Z]{0,3}|NI")  # table 0203
_OTHER_TYPES = frozenset({"HC", "SS", "DL", "PPN", "AN", "VN", "BC", "XX"})  # not the number of the facility
_CITIZEN_ID = re.compile(r"[0-9]{12}")
_UID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_TIME = re.compile(
    r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.\d+)?)?)?)?(?:([+-])(\d{2})(\d{2}))?",
    re.ASCII,
)
FILM = frozenset({"CR", "DX", "RG"})  # one room, several codes: an order's CR may come back as DX
_MODALITIES = FILM | {"CT", "MR", "US", "MG", "XA", "RF", "NM", "PT", "PX", "IO", "BMD", "ES"}
_MODALITY_SPELLINGS = {"DR": "DX", "XR": "DX", "RUS": "US", "NMR": "MR"}  # field use and table 0074

# Region -> how it is called, without tone marks; the first that fits wins: a thoracic spine is no chest.
_REGIONS = {
    "SPINE": r"\b[ctl]?spine\b|cot song",
    "CHEST": r"\bchest\b|\bthorax\b|\bnguc\b|\bphoi\b",
    "ABDOMEN": r"\babdomen\b|\bbung\b",
    "PELVIS": r"\bpelvis\b|khung chau",
    "SKULL": r"\bskull\b|xuong so\b|so nao",
    "KNEE": r"\bknee\b|khop goi",
    "SHOULDER": r"\bshoulder\b|khop vai",
    "HIP": r"\bhip\b|khop hang",
    "ELBOW": r"\belbow\b|khuyu",
    "WRIST": r"\bwrist\b|co tay",
    "HAND": r"\bhand\b|ban tay",
    "ANKLE": r"\bankle\b|co chan",
    "FOOT": r"\bfoot\b|ban chan",
}


class OrderControl(StrEnum):
    """What is to happen to the order (ORC-1)."""

    NEW = "new"
    CHANGE = "change"
    CANCEL = "cancel"


class OrderPriority(StrEnum):
    """How soon (table 0485, in the words of FHIR request-priority)."""

    STAT = "stat"  # S
    URGENT = "urgent"  # A
    ROUTINE = "routine"  # R


_PRIORITIES = {
    "S": OrderPriority.STAT,
    "STAT": OrderPriority.STAT,
    "A": OrderPriority.URGENT,
    "ASAP": OrderPriority.URGENT,
    "R": OrderPriority.ROUTINE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One ordered imaging procedure."""

    control: OrderControl  # ORC-1
    patient: Patient  # PID
    placer_order_number: str | None  # ORC-2, OBR-2
    filler_order_number: str | None  # ORC-3, OBR-3
    accession_number: str | None  # IPC-1, OBR-18   (0008,0050)
    requested_procedure_id: str | None  # IPC-2, OBR-19   (0040,1001)
    study_instance_uid: StudyInstanceUID | None  # IPC-3, ZDS-1   (0020,000D)
    scheduled_procedure_step_id: str | None  # IPC-4, OBR-20   (0040,0009)
    modality: str | None  # IPC-5, OBR-24   (0008,0060)
    procedure: Code | None  # OBR-44, OBR-4
    region: str | None  # a key of our regions, from OBR-15 or the words of the procedure
    scheduled_at: datetime | None  # TQ1-7, OBR-27.4, ORC-7.4, OBR-36; aware
    ordered_at: datetime | None  # ORC-9, MSH-7; aware
    priority: OrderPriority | None  # TQ1-9, OBR-27.6, ORC-7.6, OBR-5
    indication: Phi[str] | None  # OBR-31, OBR-13: free text about a person


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientUpdate:
    """A person as the HIS knows them now (A08, A31)."""

    patient: Patient


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientMerge:
    """One number goes on, the other is the same person's from before (A40; A18, A34, A47 and the like)."""

    surviving: Patient  # PID
    prior_patient_id: Phi[str]  # MRG-1
    prior_issuer: str | None


Event = Order | PatientUpdate | PatientMerge


class MatchReason(StrEnum):
    """Why an order and a study are one, strongest first."""

    STUDY_INSTANCE_UID = "study_instance_uid"
    ACCESSION_NUMBER = "accession_number"
    PATIENT_MODALITY_TIME = "patient_modality_time"


LONGEST_ACCESSION = 16  # characters of (0008,0050)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An order, and what ties it to the study."""

    order: Order
    reason: MatchReason


# ------------------------------------------------------------------ reading
def read_events(content: bytes, *, zone: tzinfo) -> tuple[Event, ...]:
    """What a message tells, in its order; `zone` is that of times without an offset.

    Raises MessageUnreadable (the segment that it is about is missing) or MessageUnsupported (another kind).
    """
    message = er7.read(content)
    kind, trigger = message.header.text(9), message.header.text(9, 2)
    if kind in ("ORM", "OMG", "OMI"):
        return tuple(_orders(message, zone))
    if kind == "ADT" and trigger in UPDATES:
        return (PatientUpdate(patient=_patient(_pid(message), zone)),)
    if kind == "ADT" and trigger in MERGES:
        return tuple(_merges(message, zone))
    raise MessageUnsupported


def _pid(message: er7.Message) -> er7.Segment:
    pid = message.first("PID")
    if pid is None:
        raise MessageUnreadable("The message has no PID segment.")
    return pid


def _merges(message: er7.Message, zone: tzinfo) -> Iterator[PatientMerge]:
    surviving: Patient | None = None
    complete = False
    for segment in message.segments:
        if segment.name == "PID":
            surviving = _patient(segment, zone)
        elif segment.name == "MRG" and surviving is not None:
            number, issuer = _facility_number(segment, 1)
            if not number or not surviving.patient_id.reveal():
                raise MessageUnreadable("PID-3 or MRG-1 has no number of the facility.")
            complete = True
            yield PatientMerge(surviving=surviving, prior_patient_id=Phi(number), prior_issuer=issuer)
    if not complete:
        raise MessageUnreadable("The message has no PID with an MRG segment.")


def _patient(pid: er7.Segment, zone: tzinfo) -> Patient:
    number, issuer = _facility_number(pid, 3)
    born = moment(pid.text(7)[:8], zone)
    sex = pid.text(8).upper()
    return Patient(
        patient_id=Phi(number or pid.text(2)),
        issuer_of_patient_id=issuer,
        national_id=_national_id(pid),
        patient_name=Phi(_person_name(pid)),
        patient_birth_date=Phi(date(born.year, born.month, born.day)) if born else None,
        patient_sex=sex if sex in _SEXES else None,
        insurance_number=insurance_number(pid),
    )


def _facility_number(segment: er7.Segment, field: int) -> tuple[str, str | None]:
    """The first MR, else PI, else untyped identifier, with its assigning authority."""
    found: dict[str, tuple[str, str | None]] = {}
    for repetition in segment.repetitions(field):
        kind = segment.part(repetition, 5).upper()
        number = segment.part(repetition, 1)
        if number and not _NATIONAL_TYPE.fullmatch(kind) and kind not in _OTHER_TYPES:
            issuer = segment.part(repetition, 4) or segment.part(repetition, 4, 2)
            found.setdefault(kind, (number, issuer or None))
    return next((found[kind] for kind in ("MR", "PI", *found) if kind in found), ("", None))


def _national_id(pid: er7.Segment) -> Phi[str] | None:
    for repetition in pid.repetitions(3):
        number = pid.part(repetition, 1)
        if _NATIONAL_TYPE.fullmatch(pid.part(repetition, 5).upper()) and _CITIZEN_ID.fullmatch(number):
            return Phi(number)
    return None


def _person_name(pid: er7.Segment) -> str:
    """PN from XPN: prefix and suffix change places."""
    parts = [re.sub(r"[\^=\\\s]+", " ", pid.text(5, number)).strip() for number in (1, 2, 3, 5, 4)]
    return "^".join(parts).rstrip("^")


def _orders(message: er7.Message, zone: tzinfo) -> Iterator[Order]:
    patient = _patient(_pid(message), zone)
    groups: list[dict[str, er7.Segment]] = []
    for segment in message.segments:
        new = segment.name == "ORC" or (segment.name == "OBR" and (not groups or "OBR" in groups[-1]))
        if new:
            groups.append({})
        if groups:
            groups[-1].setdefault(segment.name, segment)
    if not groups:
        raise MessageUnreadable("The message has neither ORC nor OBR.")
    for group in groups:
        yield _order(group, patient, message.header, zone)


def _order(group: dict[str, er7.Segment], patient: Patient, header: er7.Segment, zone: tzinfo) -> Order:
    def text(name: str, field: int, component: int = 1) -> str:
        return group[name].text(field, component) if name in group else ""

    def first(*places: tuple[str, int] | tuple[str, int, int]) -> str | None:
        return next((value for place in places if (value := text(*place))), None)

    def when(*places: tuple[str, int] | tuple[str, int, int]) -> datetime | None:
        return next((at for place in places if (at := moment(text(*place), zone))), None)

    control = text("ORC", 1).upper()
    uid = first(("IPC", 3), ("ZDS", 1)) or ""
    said = [text("OBR", field, component) for field in (44, 4) for component in (2, 5, 1)]
    reasons = [text("OBR", 31, 2) or text("OBR", 31), text("OBR", 13)]
    priority = first(("TQ1", 9), ("OBR", 27, 6), ("ORC", 7, 6), ("OBR", 5)) or ""
    return Order(
        control=_control(control),
        patient=patient,
        placer_order_number=first(("ORC", 2), ("OBR", 2)),
        filler_order_number=first(("ORC", 3), ("OBR", 3)),
        accession_number=first(("IPC", 1), ("OBR", 18)),
        requested_procedure_id=first(("IPC", 2), ("OBR", 19)),
        study_instance_uid=StudyInstanceUID(uid) if _UID.fullmatch(uid) and len(uid) <= 64 else None,
        scheduled_procedure_step_id=first(("IPC", 4), ("OBR", 20)),
        modality=modality_of(text("IPC", 5)) or modality_of(text("OBR", 24)),
        procedure=_procedure(group.get("OBR")),
        region=region(text("OBR", 15, 4))
        or next((found for words in said if (found := region(words))), None),
        scheduled_at=when(("TQ1", 7), ("OBR", 27, 4), ("ORC", 7, 4), ("OBR", 36)),
        ordered_at=when(("ORC", 9)) or moment(header.text(7), zone),
        priority=_PRIORITIES.get(priority.upper()),
        indication=Phi(words) if (words := "; ".join(filter(None, reasons))) else None,
    )


def _control(code: str) -> OrderControl:
    if code in CANCELLATIONS:
        return OrderControl.CANCEL
    return OrderControl.NEW if code in NEW_ORDERS else OrderControl.CHANGE


def modality_of(text: str) -> str | None:
    """The modality (0008,0060) behind a code as it is used in the field; None for another word."""
    spelled = text.upper()
    spelled = _MODALITY_SPELLINGS.get(spelled, spelled)
    return spelled if spelled in _MODALITIES else None


def _procedure(obr: er7.Segment | None) -> Code | None:
    for field in (44, 4):
        if obr is not None and obr.text(field):
            return Code(
                code_value=obr.text(field),
                code_meaning=obr.text(field, 2) or obr.text(field, 5),
                coding_scheme_designator=obr.text(field, 3),
            )
    return None


def region(words: str | None) -> str | None:
    """The part of the body that a text or a Body Part Examined names: "X-quang ngực thẳng" is CHEST."""
    plain = unicodedata.normalize("NFD", (words or "").casefold().replace("đ", "d"))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return next((part for part, pattern in _REGIONS.items() if re.search(pattern, plain)), None)


def moment(text: str, zone: tzinfo) -> datetime | None:
    """TS (2.A.22) as an aware time; None for less than a day's precision and for what is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    *parts, sign, hours, minutes = match.groups()
    try:
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(-offset if sign == "-" else offset)
        return datetime(*(int(part or 0) for part in parts), tzinfo=zone)  # type: ignore[arg-type, misc]
    except ValueError:
        return None


# ------------------------------------------------------------------ matching
def match(order: Order, study: Study) -> Match | None:
    """Whether a study is what was ordered, and why; None when it is not, or when that is not certain.

    By study UID or accession number, as long as nothing known of the two patients contradicts; else by the
    patient's number with modality, time within 24 hours, and region where both name one. Never by the name.
    """
    same = same_patient(order.patient, study.patient)
    if order.control is OrderControl.CANCEL or same is False:
        return None
    if order.study_instance_uid == study.study_instance_uid:
        return Match(order=order, reason=MatchReason.STUDY_INSTANCE_UID)
    accession = (study.accession_number or "").strip()
    if accession and order.accession_number:
        if accession != order.accession_number:
            return None
        return Match(order=order, reason=MatchReason.ACCESSION_NUMBER)
    if same and _same_modality(order, study) and _in_time(order, study) and _same_region(order, study):
        return Match(order=order, reason=MatchReason.PATIENT_MODALITY_TIME)
    return None


def choose(orders: Sequence[Order], study: Study) -> Match | None:
    """The one order of a study; None when none fits, or when two fit equally well: a person decides then.

    `orders` hold each order once, as it stands now.
    """
    found = [fitting for order in orders if (fitting := match(order, study))]
    for reason in MatchReason:
        alike = [fitting for fitting in found if fitting.reason is reason]
        if alike:
            return alike[0] if len(alike) == 1 else None
    return None


def may_fill(found: Match, study: Study) -> bool:
    """Whether the order's accession number is the study's for certain: one person by number, and one study.

    By the Study Instance UID, or, where modality, time and region alone tie them, by the birth date too. Not
    a number that DICOM has no room for (PS3.5 6.2, SH): a person decides.
    """
    ordered, taken = found.order.patient, study.patient
    if not same_patient(ordered, taken) or len(found.order.accession_number or "") > LONGEST_ACCESSION:
        return False
    if found.reason is MatchReason.STUDY_INSTANCE_UID:
        return True
    return taken.patient_birth_date is not None and ordered.patient_birth_date == taken.patient_birth_date


def same_patient(one: Patient, other: Patient) -> bool | None:
    """True: a number they share says so. False: something known contradicts. None: nothing can be said."""
    born, sexes = (one.patient_birth_date, other.patient_birth_date), (one.patient_sex, other.patient_sex)
    if all(born) and born[0] != born[1]:
        return False
    if all(sex in ("M", "F") for sex in sexes) and sexes[0] != sexes[1]:
        return False
    if one.national_id is not None and other.national_id is not None:
        return one.national_id == other.national_id
    number, another = one.patient_id.reveal().strip(), other.patient_id.reveal().strip()
    if not number or not another:
        return None
    issuers = (one.issuer_of_patient_id, other.issuer_of_patient_id)
    if all(issuers) and issuers[0] != issuers[1]:
        return None  # two facilities count on their own
    return number == another


def _same_modality(order: Order, study: Study) -> bool:
    taken = {series.modality for series in study.series}
    return order.modality in taken or (order.modality in FILM and bool(taken & FILM))


def _in_time(order: Order, study: Study) -> bool:
    at = order.scheduled_at or order.ordered_at
    return (
        at is not None and study.study_datetime is not None and abs(at - study.study_datetime) <= MATCH_WINDOW
    )


def _same_region(order: Order, study: Study) -> bool:
    examined = {region(series.body_part_examined) for series in study.series} - {None}
    examined = examined or {region(study.study_description)} - {None}
    return order.region is None or not examined or order.region in examined
