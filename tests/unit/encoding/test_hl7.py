"""The message: every field in its place, the same bytes every time, and nothing that sounds like a doctor."""

from __future__ import annotations

import base64
import re
import unicodedata
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan import codes, er7
from hoichan.encoding.hl7 import (
    RESULT_STATUS,
    control_id,
    encode_hl7,
    has_patient,
    hl7_document,
)
from hoichan.encoding.hl7_words import LONGEST_LINE, statements
from hoichan.encoding.source import document_context
from hoichan.privacy import Phi
from hoichan.settings import Hl7Destination, Site
from hoichan.testing import a_film, a_finding, a_manifest, a_refused_report, a_report, a_study
from hoichan.testing.reports import NATIONAL_ID, PATIENT_ID
from hoichan.types import DocumentKind, Presence, RefusalCode, ReportStatus

GOLDEN = Path(__file__).parents[2] / "golden" / "hl7"
RIS = Hl7Destination(name="ris", kind="hl7v2", host="127.0.0.1", port=2575)
FILM = a_film()
STUDY = a_study(FILM)
REPORT = a_report(STUDY)
SITE = Site(name="BV Kiểm Thử", facility_code="79001")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def encoded(report=None, study=None, destination=RIS, site=SITE) -> bytes:
    study = study or STUDY
    context = document_context(
        study, report or a_report(study), source=FILM, site=site, software_version="9.9"
    )
    return encode_hl7(context, destination)


def message(*args, **kwargs) -> er7.Message:
    return er7.read(encoded(*args, **kwargs))


def test_the_number_of_the_order_comes_back_to_who_gave_it():
    read = message(study=replace(STUDY, placer_order_number="ORD^7"))
    assert (one(read, "ORC").text(2), one(read, "OBR").text(2)) == ("ORD^7", "ORD^7")
    bare = message()
    assert (one(bare, "ORC").raw(2), one(bare, "OBR").raw(2)) == ("", "")


def one(read: er7.Message, name: str) -> er7.Segment:
    (segment,) = read.all(name)
    return segment


def observations(read: er7.Message, value_type: str) -> list[er7.Segment]:
    return [segment for segment in read.all("OBX") if segment.raw(2) == value_type]


def lines(read: er7.Message) -> list[str]:
    return [segment.text(5) for segment in observations(read, "TX")]


def patient(**changes):
    return replace(STUDY, patient=replace(STUDY.patient, **changes))


# ------------------------------------------------------------------ the whole message
@pytest.mark.parametrize(
    ("name", "make", "changes"),
    [
        ("unread", a_report, {"viewer_url": "https://pacs/v?StudyInstanceUIDs={study_instance_uid}&x=1"}),
        ("unread_ascii", a_report, {"charset": "ascii", "unread_status": "P"}),
        ("not_analysed", a_refused_report, {}),
    ],
)
def test_the_message_is_as_agreed(name, make, changes):
    text = encoded(make(STUDY), STUDY, RIS.model_copy(update=changes)).decode("utf-8")
    assert text.endswith("\r") and "\n" not in text
    assert text.replace("\r", "\n") == (GOLDEN / f"{name}.hl7").read_text(encoding="utf-8")


def test_the_same_report_is_the_same_bytes():
    assert encoded() == encoded()


def test_a_document_is_for_one_receiver():
    context = document_context(STUDY, REPORT, source=None, site=SITE, software_version="9.9")
    document = hl7_document(context, RIS)
    assert (document.kind, document.destination, document.sop_class_uid) == (DocumentKind.HL7, "ris", None)
    assert document.uid == er7.read(document.content).control_id == control_id(REPORT, RIS)


def test_the_control_id_tells_reports_receivers_and_states_apart():
    other = RIS.model_copy(update={"name": "emr"})
    later = a_report(replace(STUDY, revision=2))
    signed = replace(REPORT, status=ReportStatus.FINAL)
    ids = [
        control_id(REPORT, RIS),
        control_id(REPORT, other),
        control_id(later, RIS),
        control_id(signed, RIS),
    ]
    assert len(set(ids)) == 4
    assert all(len(value) == 20 and value.isalnum() for value in ids)
    moved = RIS.model_copy(update={"host": "10.0.0.1", "charset": "ascii"})
    assert control_id(REPORT, moved) == control_id(REPORT, RIS)


# ------------------------------------------------------------------ header and patient
def test_the_header_speaks_for_the_site_and_in_utf_8():
    header = message().header
    assert (header.text(3), header.text(4), header.text(5)) == ("HOICHAN", "79001", "")
    assert header.raw(9) == "ORU^R01^ORU_R01"
    assert (header.text(12), header.text(18), header.text(19)) == ("2.5.1", "UNICODE UTF-8", "vi")


def test_the_addresses_are_the_receivers_own():
    changes = {"sending_facility": "BVDEMO_AI", "receiving_application": "EMR", "receiving_facility": "BV"}
    header = message(destination=RIS.model_copy(update={**changes, "version": "2.5"})).header
    assert [header.text(number) for number in (3, 4, 5, 6, 12)] == [
        "HOICHAN",
        "BVDEMO_AI",
        "EMR",
        "BV",
        "2.5",
    ]


def test_the_patient_has_the_numbers_that_are_known():
    pid = one(message(), "PID")
    assert pid.repetitions(3) == (f"{PATIENT_ID}^^^79001^MR", f"{NATIONAL_ID}^^^BCA^NNVNM")
    assert (pid.text(7), pid.text(8)) == ("19850315", "F")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"issuer_of_patient_id": "BV|DEMO"}, (r"7^^^BV\F\DEMO^MR",)),
        ({"issuer_of_patient_id": "1.2.840.1"}, ("7^^^&1.2.840.1&ISO^MR",)),
        ({"national_id": Phi("079085001234")}, ("7^^^79001^MR", "079085001234^^^BCA^NNVNM")),
        ({"national_id": Phi("0790")}, ("7^^^79001^MR",)),
        ({"patient_id": Phi(" "), "national_id": Phi("079085001234")}, ("079085001234^^^BCA^NNVNM",)),
        ({"patient_id": Phi("")}, ()),
    ],
)
def test_no_number_is_invented(changes, expected):
    study = patient(**{"patient_id": Phi("7"), "national_id": None, **changes})
    content = encoded(study=study)
    assert one(er7.read(content), "PID").repetitions(3) == expected
    assert has_patient(content) is bool(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Nguyễn^Thị Hồng^Ổn", "Nguyễn^Thị Hồng^Ổn^^^^L"),
        ("NGUYEN VAN AN", "NGUYEN VAN AN^^^^^^L"),
        ("Trần^Bình^^BS^PGS", "Trần^Bình^^PGS^BS^^L"),  # PN has prefix and suffix the other way round
        ("=山田^太郎", "山田^太郎^^^^^L"),
        ("Lê^A=x=y", "Lê^A^^^^^L"),
        ("", "^^^^^^U"),
        ("^^^^", "^^^^^^U"),
    ],
)
def test_a_name_keeps_its_parts(name, expected):
    assert one(message(study=patient(patient_name=Phi(name))), "PID").raw(5) == expected


def test_what_is_unknown_stays_empty():
    study = patient(patient_birth_date=None, patient_sex="X", patient_name=Phi("A"))
    pid = one(message(study=study), "PID")
    assert (pid.raw(7), pid.raw(8)) == ("", "")
    assert one(message(study=patient(patient_birth_date=Phi(date(2001, 2, 3)))), "PID").raw(7) == "20010203"


@settings(deadline=None, max_examples=40)
@given(TEXTS, TEXTS, TEXTS, st.sampled_from(["utf-8", "ascii"]))
def test_any_text_round_trips(name, number, issuer, charset):
    study = patient(patient_name=Phi(name), patient_id=Phi(number), issuer_of_patient_id=issuer)
    destination = RIS.model_copy(update={"charset": charset})
    content = encoded(study=replace(study, accession_number=number), destination=destination)
    assert content.count(b"\r") == len(er7.read(content).segments)
    assert not any(byte < 0x20 and byte != 0x0D for byte in content)

    def said(text):
        text = unicodedata.normalize("NFC", text.strip())
        return (er7.transliterate(text) if charset == "ascii" else text).strip()

    read = er7.read(content)
    if charset == "ascii":
        assert content.isascii()
    if number.strip():
        assert one(read, "PID").text(3) == said(number)
        assert one(read, "OBR").text(18) == one(read, "OBR").text(3) == said(number)
    assert read.control_id == control_id(a_report(study), destination)


# ------------------------------------------------------------------ order and status
def test_the_accession_number_is_in_both_places():
    obr = one(message(), "OBR")
    assert (obr.text(3), obr.text(18), obr.text(24)) == ("XR2611200042", "XR2611200042", "RAD")
    assert one(message(), "ORC").raw(3) == obr.raw(3)


@pytest.mark.parametrize("accession", [None, "", "  "])
def test_without_an_accession_number_the_study_stands_for_the_order(accession):
    study = replace(STUDY, accession_number=accession)
    obr = one(message(study=study), "OBR")
    assert (obr.text(3), obr.raw(18)) == (study.study_instance_uid, "")


@pytest.mark.parametrize(
    ("status", "unread", "result", "order"),
    [
        (ReportStatus.UNVERIFIED, "R", "R", "A"),
        (ReportStatus.UNVERIFIED, "P", "P", "A"),
        (ReportStatus.FINAL, "P", "F", "CM"),
        (ReportStatus.AMENDED, "R", "C", "CM"),
        (ReportStatus.CANCELLED, "R", "X", "CA"),
    ],
)
def test_every_state_has_its_status_in_all_places(status, unread, result, order):
    report = replace(REPORT, status=status)
    read = message(report, STUDY, RIS.model_copy(update={"unread_status": unread}))
    assert one(read, "OBR").raw(25) == result
    assert one(read, "ORC").raw(5) == order
    assert {segment.raw(11) for segment in read.all("OBX")} == {result}
    assert (codes.BANNER["vi"] in lines(read)) is (status is ReportStatus.UNVERIFIED)


def test_every_state_but_the_unread_one_is_in_the_table():
    assert set(RESULT_STATUS) == set(ReportStatus) - {ReportStatus.UNVERIFIED}


@pytest.mark.parametrize(
    ("key", "probability", "priority"),
    [("pneumothorax", 0.9, "S"), ("edema", 0.9, "A"), ("hernia", 0.9, "R"), ("pneumothorax", 0.1, "")],
)
def test_the_most_urgent_tier_is_the_priority(key, probability, priority):
    report = a_report(STUDY, findings=[a_finding(STUDY, key, probability)])
    assert one(message(report, STUDY), "OBR").text(27, 6) == priority


# ------------------------------------------------------------------ observations
def test_presence_and_certainty_of_a_finding_share_a_sub_id():
    read = message(REPORT, STUDY)
    coded, numbers = observations(read, "CWE")[1:], observations(read, "NM")
    assert len(coded) == len(numbers) == len(REPORT.findings)
    for finding, presence, number in zip(REPORT.findings, coded, numbers, strict=True):
        term = codes.FINDINGS[finding.key]
        assert presence.raw(4) == number.raw(4)
        assert presence.text(3) == term.code.code_value
        assert presence.text(3, 5) == term.display["vi"]
        assert presence.text(5) == codes.PRESENCE[finding.presence].code_value
        assert number.raw(5) == f"{finding.probability * 100:.1f}"
        assert number.raw(7) == f"<{finding.operating_point * 100:.1f}"
        present = finding.presence is Presence.PRESENT
        assert (presence.raw(8), number.raw(8)) == (("A", "H") if present else ("", "N"))


def test_a_code_of_our_own_is_a_local_one():
    """Table 0396: receivers check OBX-3.3 against it, and know L."""
    read = message(a_report(STUDY, findings=[a_finding(STUDY, "lung_cyst", 0.9)]), STUDY)
    coded = observations(read, "CWE")[-1]
    assert [coded.text(3, part) for part in (1, 3, 4, 6)] == ["LUNG_CYST", "L", "lung_cyst", "L"]


def test_an_undetermined_finding_has_no_flag():
    finding = replace(a_finding(STUDY, "nodule", 0.5), presence=Presence.INDETERMINATE)
    read = message(a_report(STUDY, findings=[finding]), STUDY)
    assert [observations(read, kind)[-1].raw(8) for kind in ("CWE", "NM")] == ["", ""]
    assert "Không xác định được: nốt mờ phổi." in lines(read)


def test_each_observation_is_numbered_and_says_who_when_and_how():
    read = message()
    for number, segment in enumerate(read.all("OBX"), 1):
        assert segment.raw(1) == str(number)
        assert segment.text(17) == "AI-CAD"
        assert segment.text(18).startswith("2.25.") and len(segment.text(18)) <= 64
        assert segment.raw(14) == "20261120081500+0700" and segment.raw(19) == "20261120081509+0700"
    keys = [(segment.text(3), segment.raw(4)) for segment in read.all("OBX")]
    assert len(set(keys)) == len(keys)


def test_a_finding_names_the_model_that_made_it():
    models = [a_manifest(), a_manifest(algorithm_name="Second", algorithm_version="2")]
    finding = a_finding(STUDY, "edema", 0.9, manifest=models[1])
    report = replace(a_report(STUDY, findings=[finding]), manifests=tuple(models))
    assert observations(message(report, STUDY), "NM")[0].text(15, 2) == "Second 2"


def test_the_study_and_its_viewer_are_linked():
    url = "https://pacs/v?StudyInstanceUIDs={study_instance_uid}&x=1"
    read = message(study=STUDY, destination=RIS.model_copy(update={"viewer_url": url}))
    assert observations(read, "HD")[0].text(5, 2) == STUDY.study_instance_uid
    assert observations(read, "RP")[0].text(5) == url.format(study_instance_uid=STUDY.study_instance_uid)
    assert not observations(message(study=STUDY), "RP")


# ------------------------------------------------------------------ words
@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("make", [a_report, a_refused_report])
def test_the_words_stand_as_text_with_the_banner_first(make, language):
    report = make(STUDY)
    read = message(report, STUDY, site=Site(language=language))
    said = lines(read)
    assert said[0] == codes.BANNER[language]
    assert " ".join(said).endswith(report.disclaimer[language])
    assert one(read, "NTE").text(3) == report.disclaimer[language]
    for finding in report.positives:
        name = codes.FINDINGS[finding.key].display[language]
        assert any(line.startswith(f"{codes.SUSPECTED[language]}: {name} (") for line in said)


def test_nothing_found_is_never_called_normal():
    report = a_report(STUDY, findings=[a_finding(STUDY, "nodule", 0.1)])
    assert codes.NOTHING_ABOVE_THRESHOLD["vi"] in lines(message(report, STUDY))


@pytest.mark.parametrize("code", list(RefusalCode))
def test_what_was_not_analysed_says_why(code):
    read = message(a_refused_report(STUDY, code), STUDY)
    assert f"KHÔNG PHÂN TÍCH: {codes.REFUSALS[code]['vi']}" in lines(read)
    assert observations(read, "CWE")[0].text(5) == "111245"
    assert not observations(read, "NM")


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(sorted(codes.FINDINGS)), st.floats(0, 1)))
def test_every_line_can_stand_alone(scores):
    report = a_report(STUDY, findings=[a_finding(STUDY, key, score) for key, score in scores.items()])
    said = statements(report, "vi")
    for line in said:
        assert line.startswith(("AI gợi ý: ", "Đã xét, không vượt ngưỡng: ", "AI không phát hiện"))
        assert len(line) <= LONGEST_LINE
    for finding in report.findings:
        name = codes.FINDINGS[finding.key].display["vi"].lower()
        (line,) = (line for line in said if name in re.split(": |, | [(]", line.lower().removesuffix(".")))
        assert line.startswith("AI gợi ý") is (finding.presence is Presence.PRESENT)


def test_a_signed_conclusion_is_sent_as_it_was_written():
    words = "Tràn dịch màng phổi phải.\nĐề nghị siêu âm | chọc dò.\n\n"
    report = replace(REPORT, status=ReportStatus.FINAL, conclusion={"vi": words})
    assert lines(message(report, STUDY))[:2] == words.split("\n")[:2]


def test_a_long_signed_conclusion_is_broken_between_sentences_only():
    sentences = ["Bóng tim không to.", "Không thấy " + "tràn khí, " * 30 + "gãy xương sườn.", "Hết!"]
    report = replace(REPORT, status=ReportStatus.FINAL, conclusion={"vi": " ".join(sentences)})
    assert lines(message(report, STUDY))[:3] == sentences


@pytest.mark.parametrize(("limit", "sent"), [(0, False), (99, False), (100, True)])
def test_the_page_goes_in_the_message_up_to_a_limit(limit, sent):
    page = bytes(range(100))
    destination = RIS.model_copy(update={"pdf_maximum_bytes": limit})
    context = document_context(STUDY, REPORT, source=FILM, site=SITE, software_version="9.9")
    read = er7.read(encode_hl7(context, destination, page))
    found = observations(read, "ED")
    assert len(found) == sent
    for segment in found:
        *kind, content = segment.raw(5).split("^")
        assert kind == ["HOICHAN", "AP", "PDF", "Base64"]
        assert base64.b64decode(content) == page


@pytest.mark.parametrize("viewer", ["", "https://pacs/v?study={study_instance_uid}"])
@pytest.mark.parametrize(("limit", "linked"), [(0, True), (99, True), (100, False)])
def test_a_page_that_is_too_large_is_linked(limit, linked, viewer):
    changes = {
        "pdf_maximum_bytes": limit,
        "viewer_url": viewer,
        "pdf_url": "https://ai.example/{study_instance_uid}/pdf",
    }
    context = document_context(STUDY, REPORT, source=FILM, site=SITE, software_version="9.9")
    read = er7.read(encode_hl7(context, RIS.model_copy(update=changes), bytes(range(100))))
    links = [one for one in observations(read, "RP") if one.text(5, 4) == "PDF"]
    assert len(links) == linked and len(observations(read, "ED")) == (not linked)
    for one in links:
        assert one.text(5) == f"https://ai.example/{STUDY.study_instance_uid}/pdf"
    keys = [(one.text(3), one.raw(4)) for one in observations(read, "RP")]
    assert len(set(keys)) == len(keys)
