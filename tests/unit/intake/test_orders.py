"""Orders as the field sends them, and the rules that tie one to a study: never a name."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hoichan import er7
from hoichan.errors import MessageUnreadable, MessageUnsupported
from hoichan.intake.orders import (
    MATCH_WINDOW,
    MatchReason,
    Order,
    OrderControl,
    OrderPriority,
    PatientMerge,
    PatientUpdate,
    choose,
    match,
    read_events,
    region,
    same_patient,
)
from hoichan.privacy import Phi
from hoichan.testing import a_study
from hoichan.testing.reports import NATIONAL_ID, PATIENT_ID, TAKEN_AT

SITE_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
STUDY = a_study()

PID = (
    "PID|1||BN-2026-000417^^^BV^MR~079185001234^^^BCA^NNVNM~DN4790123456789^^^BHXH^HC||"
    "Nguyễn^Thị Hồng^Ổn^^^^L||19850315|F"
)
ORM = "\r".join(
    [
        r"MSH|^~\&|RIS|BV|HOICHAN|79001|20261120070000||ORM^O01^ORM_O01|7|P|2.3.1",
        PID,
        "PV1|1|O|XQ",
        "ORC|NW|ORD123^EMR|F9^RIS||SC||1^^^20261120080000^^S||20261120065900",
        "OBR|1|ORD123^EMR|F9^RIS|36554-4^XR Chest Single view^LN^18.0119^X-quang ngực thẳng^L|||||||||"
        "Ho kéo dài||^^^CHEST&Chest|||XR2611200042|RP7|SPS8||||CR|||1^^^20261120080000^^S||||^Khó thở",
        "ZDS|1.2.3.4^100^Application^DICOM",
    ]
)
OMI = "\r".join(
    [
        r"MSH|^~\&|RIS|BV|HOICHAN|79001|20261120070000+0700||OMI^O23^OMI_O23|8|P|2.5.1",
        PID,
        "ORC|XO|ORD124^EMR",
        "TQ1|1||||||20261121093000+0700||A^ASAP^HL70485",
        "OBR|1|ORD124^EMR||18.0119^X-quang khớp gối^L",
        "IPC|XR77^RIS|RP1^RIS|1.2.3.5^RIS|SPS1^RIS|DX",
    ]
)
MERGE = "\r".join(
    [r"MSH|^~\&|HIS|BV|||20261120||ADT^A40^ADT_A39|9|P|2.5.1", "EVN|A40", PID, "MRG|OLD-1^^^BV^MR"]
)


def read(text: str):
    return read_events(text.encode(), zone=SITE_ZONE)


def order(**changes) -> Order:
    (made,) = read(ORM)
    return replace(made, **changes)


def person(**changes):
    return replace(STUDY.patient, **changes)


BARE = {"accession_number": None, "study_instance_uid": None}  # nothing but the patient, modality and time


# ------------------------------------------------------------------ reading
def test_an_orm_is_read_in_full():
    (read_order,) = read(ORM)
    assert read_order.patient.patient_id.reveal() == PATIENT_ID
    assert read_order.patient.issuer_of_patient_id == "BV"
    assert read_order.patient.national_id == Phi(NATIONAL_ID)
    assert read_order.patient.patient_name.reveal() == "Nguyễn^Thị Hồng^Ổn"
    assert read_order.patient.patient_birth_date == Phi(date(1985, 3, 15))
    assert read_order.patient.patient_sex == "F"
    assert read_order.control is OrderControl.NEW
    assert (read_order.placer_order_number, read_order.filler_order_number) == ("ORD123", "F9")
    assert (read_order.accession_number, read_order.requested_procedure_id) == ("XR2611200042", "RP7")
    assert (read_order.scheduled_procedure_step_id, read_order.study_instance_uid) == ("SPS8", "1.2.3.4")
    assert (read_order.modality, read_order.region) == ("CR", "CHEST")
    assert read_order.procedure is not None and read_order.procedure.code_value == "36554-4"
    assert read_order.scheduled_at == datetime(2026, 11, 20, 8, tzinfo=SITE_ZONE)
    assert read_order.ordered_at == datetime(2026, 11, 20, 6, 59, tzinfo=SITE_ZONE)
    assert read_order.priority is OrderPriority.STAT
    assert read_order.indication == Phi("Khó thở; Ho kéo dài")


def test_an_omi_is_read_from_its_ipc():
    (read_order,) = read(OMI)
    assert read_order.control is OrderControl.CHANGE
    assert (read_order.accession_number, read_order.study_instance_uid) == ("XR77", "1.2.3.5")
    assert (read_order.modality, read_order.region, read_order.priority) == (
        "DX",
        "KNEE",
        OrderPriority.URGENT,
    )
    assert read_order.scheduled_at == datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
    assert read_order.ordered_at == datetime(2026, 11, 20, tzinfo=UTC)
    assert read_order.indication is None


def test_a_message_of_several_orders_gives_each():
    more = ORM + "\rORC|CA|ORD9\rOBR|2|ORD9||X^Y\rOBR|3|ORD10||Z\rNTE|1"
    assert [read_order.placer_order_number for read_order in read(more)] == ["ORD123", "ORD9", "ORD10"]
    assert [read_order.control for read_order in read(more)] == [
        OrderControl.NEW, OrderControl.CANCEL, OrderControl.NEW,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "control"),
    [
        ("NW", OrderControl.NEW), ("", OrderControl.NEW), ("XO", OrderControl.CHANGE),
        ("HD", OrderControl.CHANGE), ("CA", OrderControl.CANCEL),
        ("DC", OrderControl.CANCEL), ("dc", OrderControl.CANCEL),
    ],
)  # fmt: skip
def test_the_control_code_says_what_happens(code, control):
    assert read(ORM.replace("ORC|NW", f"ORC|{code}"))[0].control is control


def test_an_order_of_little_is_still_an_order():
    (bare,) = read("MSH|^~\\&|||||||ORM^O01\nPID|||7\nOBR|1")
    assert bare.patient.patient_id.reveal() == "7"
    assert (bare.accession_number, bare.modality, bare.scheduled_at, bare.ordered_at) == (None,) * 4
    assert (bare.procedure, bare.region, bare.priority, bare.indication) == (None,) * 4


@pytest.mark.parametrize(
    ("pid3", "number", "issuer", "national"),
    [
        ("7", "7", None, None),
        ("7^^^BV^PI~8^^^BV^MR", "8", "BV", None),
        ("7^^^&1.2.3&ISO^MR", "7", "1.2.3", None),
        ("079185001234^^^BCA^NNVNM", "", None, NATIONAL_ID),
        ("079185001234^^^BCA^NI~7^^^BV", "7", "BV", NATIONAL_ID),
        ("0791^^^BCA^NNVNM", "", None, None),
        ("DN479^^^BHXH^HC", "", None, None),
        ("", "", None, None),
    ],
)
def test_a_number_is_taken_for_what_it_is(pid3, number, issuer, national):
    patient = read(f"MSH|^~\\&|||||||ADT^A08\rPID|||{pid3}||X")[0].patient
    assert (patient.patient_id.reveal(), patient.issuer_of_patient_id) == (number, issuer)
    assert (patient.national_id.reveal() if patient.national_id else None) == national


def test_an_old_sender_has_the_number_in_pid_2():
    assert read("MSH|^~\\&|||||||ADT^A08\rPID||7")[0].patient.patient_id.reveal() == "7"


def test_a_name_becomes_a_dicom_name():
    patient = read("MSH|^~\\&|||||||ADT^A08\rPID|||7||Trần&van^Bình^^PGS^BS")[0].patient
    assert patient.patient_name.reveal() == "Trần^Bình^^BS^PGS"


def test_an_update_and_a_merge_are_told_apart():
    (update,) = read(MERGE.replace("A40", "A08"))
    assert isinstance(update, PatientUpdate)
    (merge,) = read(MERGE)
    assert isinstance(merge, PatientMerge)
    assert merge.surviving.patient_id.reveal() == PATIENT_ID
    assert (merge.prior_patient_id, merge.prior_issuer) == (Phi("OLD-1"), "BV")


def test_each_pair_of_a_merge_counts():
    pairs = read(MERGE + "\rPID|||8\rMRG|OLD-2^^^BV^MR")
    assert [pair.prior_patient_id.reveal() for pair in pairs] == ["OLD-1", "OLD-2"]


@pytest.mark.parametrize(
    "text",
    [
        "MSH|^~\\&|||||||ADT^A40\rPID|||7",
        "MSH|^~\\&|||||||ADT^A40\rMRG|7",
        "MSH|^~\\&|||||||ADT^A40\rPID|||7\rMRG|079185001234^^^BCA^NNVNM",
        "MSH|^~\\&|||||||ADT^A40\rPID|||\rMRG|7",
        "MSH|^~\\&|||||||ADT^A08",
        "MSH|^~\\&|||||||ORM^O01\rORC|NW",
        "MSH|^~\\&|||||||ORM^O01\rPID|||7",
        "no message",
    ],
)
def test_without_what_it_is_about_a_message_is_refused(text):
    with pytest.raises(MessageUnreadable):
        read(text)


@pytest.mark.parametrize("kind", ["ADT^A01", "ORU^R01", "ACK", "", "SIU^S12"])
def test_another_kind_is_not_taken(kind):
    with pytest.raises(MessageUnsupported):
        read(f"MSH|^~\\&|||||||{kind}\rPID|||7\rMRG|8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20261120", datetime(2026, 11, 20, tzinfo=SITE_ZONE)),
        ("202611200815", datetime(2026, 11, 20, 8, 15, tzinfo=SITE_ZONE)),
        ("20261120081530.1234+0000", datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC)),
        ("20261120081530-0330", datetime(2026, 11, 20, 11, 45, 30, tzinfo=UTC)),
        ("2026", None),
        ("20261399", None),
        ("20261120081530+9900", None),
        ("20/11/2026", None),
        ("٢٠٢٦١١٢٠", None),
    ],
)
def test_a_time_is_aware_or_none(text, expected):
    (made,) = read(ORM.replace("20261120080000", text))
    assert made.scheduled_at == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("X-quang ngực thẳng", "CHEST"), ("CHEST", "CHEST"), ("Chụp tim phổi", "CHEST"),
        ("X-quang cột sống ngực", "SPINE"), ("LSPINE", "SPINE"), ("X-quang lưng", None),
        ("X-quang khớp gối phải", "KNEE"), ("Bụng không chuẩn bị", "ABDOMEN"), ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_region_is_known_by_its_words(words, expected):
    assert region(words) == expected


@settings(deadline=None)
@given(st.binary() | st.builds(lambda kind, tail: f"MSH|^~\\&|||||||{kind}\rPID|||7\r".encode() + tail,
       st.sampled_from(["ORM^O01", "OMI^O23", "ADT^A40", "ADT^A08"]), st.binary()))  # fmt: skip
@example(b"MSH|^~\\&|||||||ORM^O01\rPID|||7||||00010101\rORC|NW|||||||||00010101000000+1400")
def test_anything_is_read_or_refused(content):
    try:
        events = read_events(content, zone=SITE_ZONE)
    except (MessageUnreadable, MessageUnsupported) as error:
        assert "7" not in str(error)
        return
    assert events
    for event in events:
        if isinstance(event, Order):
            choose([event], STUDY)


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_any_text_arrives_as_it_was_sent(number, name, words):
    lines = [
        er7.segment("MSH", {9: ("ORM", "O01")}),
        er7.segment("PID", {3: [(number, "", "", "", "MR")], 5: (name, name)}),
        er7.segment("OBR", {13: words, 18: number}),
    ]
    (made,) = read_events("\r".join(lines).encode(), zone=SITE_ZONE)
    assert made.accession_number == (_seen(number) or None)
    assert made.patient.patient_id.reveal() == _seen(number)
    assert (made.indication.reveal() if made.indication else "") == _seen(words)
    assert "^" not in made.patient.patient_name.reveal().replace("^", "", 1)


def _seen(text):
    return unicodedata.normalize("NFC", text).strip()


def test_nothing_of_a_person_can_be_printed():
    shown = repr(read(ORM)) + repr(read(MERGE))
    for secret in (PATIENT_ID, NATIONAL_ID, "Nguyễn", "1985", "Khó thở", "OLD-1"):
        assert secret not in shown


# ------------------------------------------------------------------ matching
def reason(made: Order, study=STUDY) -> MatchReason | None:
    found = match(made, study)
    assert found is None or found.order is made
    return found.reason if found else None


def test_the_accession_number_ties():
    assert reason(order()) is MatchReason.ACCESSION_NUMBER
    far = order(modality="CT", scheduled_at=TAKEN_AT - timedelta(days=300))
    assert reason(far) is MatchReason.ACCESSION_NUMBER


def test_the_study_uid_ties():
    made = order(study_instance_uid=STUDY.study_instance_uid, accession_number=None)
    assert reason(made) is MatchReason.STUDY_INSTANCE_UID


def test_patient_modality_and_time_tie_a_study_without_accession_number():
    study = replace(STUDY, accession_number=None)
    assert reason(order(), study) is MatchReason.PATIENT_MODALITY_TIME
    assert reason(order(**BARE)) is MatchReason.PATIENT_MODALITY_TIME


@pytest.mark.parametrize(
    "changes",
    [
        {"patient": person(patient_id=Phi("OTHER"), national_id=None)},
        {"patient": person(patient_birth_date=Phi(date(1985, 3, 16)))},
        {"patient": person(patient_sex="M")},
        {"patient": person(national_id=Phi("079185009999"))},
        {"control": OrderControl.CANCEL},
        {"accession_number": "XR-OTHER"},
    ],
)
def test_a_contradiction_unties_even_an_accession_number(changes):
    assert reason(order(**changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": None},
        {"modality": "CT"},
        {"region": "KNEE"},
        {"scheduled_at": None, "ordered_at": None},
        {"scheduled_at": TAKEN_AT + MATCH_WINDOW + timedelta(seconds=1)},
        {"scheduled_at": TAKEN_AT - MATCH_WINDOW - timedelta(seconds=1)},
        {"patient": person(patient_id=Phi(""), national_id=None)},
        {"patient": person(national_id=None, issuer_of_patient_id="OTHER")},
    ],
)
def test_without_its_parts_the_weak_tie_does_not_hold(changes):
    study = replace(STUDY, patient=person(issuer_of_patient_id="BV"))
    assert reason(order(**BARE), study) is MatchReason.PATIENT_MODALITY_TIME
    assert reason(order(**{**BARE, **changes}), study) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "DX"},
        {"region": None},
        {"scheduled_at": TAKEN_AT + MATCH_WINDOW},
        {"scheduled_at": None, "ordered_at": TAKEN_AT},
        {"patient": person(patient_name=Phi("KHAC^TEN"))},
        {"patient": person(patient_id=Phi("OTHER"))},  # the citizen id is the same
        {"patient": person(patient_birth_date=None, patient_sex=None)},
    ],
)
def test_what_may_differ_or_be_absent(changes):
    assert reason(order(**{**BARE, **changes})) is MatchReason.PATIENT_MODALITY_TIME


def test_a_study_without_a_time_is_not_guessed_at():
    assert reason(order(**BARE), replace(STUDY, study_datetime=None)) is None


@given(TEXTS, TEXTS)
def test_a_name_never_ties_and_never_unties(name, other):
    named = replace(STUDY, patient=person(patient_name=Phi(name)))
    for made in (order(), order(**BARE)):
        assert reason(replace(made, patient=person(patient_name=Phi(other))), named) is reason(made)
    unknown = person(patient_id=Phi(""), national_id=None, patient_name=Phi(name))
    assert reason(order(**BARE, patient=unknown), named) is None


def test_the_strongest_tie_wins_and_two_alike_are_left_to_a_person():
    weak, other = order(**BARE, placer_order_number="1"), order(**BARE, placer_order_number="2")
    strong = order()
    assert choose([], STUDY) is None
    assert choose([weak, strong, other], STUDY) == match(strong, STUDY)
    assert choose([weak], STUDY) == match(weak, STUDY)
    assert choose([weak, other], STUDY) is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {}, True),
        ({"national_id": None}, {}, True),
        ({"patient_id": Phi("x")}, {}, True),
        ({"patient_id": Phi("x"), "national_id": None}, {}, False),
        ({"patient_id": Phi(" "), "national_id": None}, {}, None),
        ({"national_id": None, "issuer_of_patient_id": "A"}, {"issuer_of_patient_id": "B"}, None),
        ({"national_id": None, "issuer_of_patient_id": "A"}, {"issuer_of_patient_id": None}, True),
        ({"patient_sex": "O"}, {}, True),
        ({"patient_sex": "M"}, {}, False),
    ],
)
def test_two_people_are_one_by_their_numbers(one, other, expected):
    assert same_patient(person(**one), person(**other)) is expected
    assert same_patient(person(**other), person(**one)) is expected


# ------------------------------------------------------------------ health insurance
@pytest.mark.parametrize(
    ("identifiers", "number"),
    [
        ("BN1^^^BV^MR~DN4790123456789^^^BHXH^HC", "DN4790123456789"),
        ("BN1^^^BV^MR~dn 4 79 0123456789^^^BHXH^hc", "DN4790123456789"),
        ("BN1^^^BV^MR~0123456789^^^BHXH^HC", "0123456789"),
        ("BN1^^^BV^MR~079185001234^^^BHXH^HC", "079185001234"),  # since 2025 the citizen id serves
        ("BN1^^^BV^MR~12^^^BHXH^HC~0123456789^^^BHXH^HC", "0123456789"),  # what cannot be one is passed over
        ("BN1^^^BV^MR~012345678^^^BHXH^HC", None),  # an old identity card
        ("BN1^^^BV^MR~DN4790123456789^^^BHXH^SS", None),  # only where it is typed as such
        ("DN4790123456789^^^BV^MR", None),
        ("BN1^^^BV^MR~079185001234^^^BCA^NNVNM", None),
    ],
)
def test_an_insurance_number_is_what_is_typed_as_one(identifiers, number):
    pid = f"PID|1||{identifiers}||Nguyễn^Ổn||19850315|F"
    (order,) = read_events(ORM.replace(PID, pid).encode(), zone=SITE_ZONE)
    kept = order.patient.insurance_number
    assert (kept.reveal() if kept else None) == number
    assert "DN4790123456789" not in repr(order)
