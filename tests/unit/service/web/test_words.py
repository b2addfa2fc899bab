"""Sentences and forms of the two languages."""

import string
import unicodedata
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hoichan.adapters.views import SeriesView
from hoichan.errors import IncompleteObject, NotDicom, WrongSopClass
from hoichan.guard.audit import Audited
from hoichan.guard.roles import Role
from hoichan.ports import TrailEntry
from hoichan.types import Code, DeliveryState, Measurement, Outcome, RefusalCode, StudyState
from service.web import people
from service.web.rendering import LANGUAGES, catalogue
from service.web.words import Words

NOW = datetime(2026, 11, 20, 18, 30, tzinfo=UTC)
EVENTS = {
    "instances_received": {"instances": 2, "sender": "CR_ROOM1"},
    "study_assembled": {"revision": 1, "instances": 2, "closed_by": "quiet_time"},
    "rejection_received": {"title": "113037", "instances": 2, "sender": "PACS"},
    "result_rejected": {"title": "113001", "instances": 1, "sender": "PACS", "note": "1.2.3"},
    "study_failed": {"revision": 1, "code": "model.runner_failed"},
    "analysis_requested_again": {"revision": 1},
    "answer_kept": {"revision": 1, "report": "1.2.3", "models": "CXR demo", "refusals": "no_model"},
    "delivery_acknowledged": {"destination": "pacs", "attempt": 1, "acknowledgement": "0x0000"},
    "delivery_postponed": {
        "destination": "pacs",
        "attempt": 1,
        "detail": "refused",
        "until": "2026-11-20T18:31:00+00:00",
    },
    "delivery_refused": {"destination": "emr", "attempt": 2, "status": "HTTP 422"},
    "delivery_set_aside": {"destination": "emr", "attempt": 3, "status": "kills_worker"},
    "forward_set_aside": {
        "rule": "archive",
        "destination": "hub",
        "instance": "1.2.3",
        "detail": "kills_worker",
    },
    "delivery_revived": {"destination": "emr", "attempt": 2},
    "images_removed": {"rule": "signed", "files": 2, "size_bytes": 20_000_000},
    "images_kept": {"rule": "signed", "files": 0, "size_bytes": 0},
    "instance_refused": {"instance": "1.2.3", "reason": "intake.not_dicom", "sender": "CR_ROOM1"},
    "hold_added": {"hold": 3},
    "hold_lifted": {"hold": 3},
    "record_class_set": {"record_class": "death"},
    "glass_broken": {"who": "bs.an", "reason": "transfer", "until": "2026-11-20T22:31:00+00:00"},
}


def words(language="vi"):
    return Words(language, catalogue(language), ZoneInfo("Asia/Ho_Chi_Minh"))


def fields(sentence):
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_catalogues_say_the_same_things():
    vi, en = catalogue("vi"), catalogue("en")
    assert vi.keys() == en.keys()
    assert {key: fields(text) for key, text in vi.items()} == {key: fields(text) for key, text in en.items()}


def test_vietnamese_is_composed():
    assert all(unicodedata.is_normalized("NFC", text) for text in catalogue("vi").values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_role_and_audited_event_has_words(language):
    t = words(language)
    assert all(t(f"role.{role}") for role in Role)
    assert all(t(f"audited.{what}") for what in Audited)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_reason_and_delivery_has_words(language):
    t = words(language)
    assert all(t.state(state) for state in StudyState)
    assert all(t(f"delivery.{state}") for state in DeliveryState)
    assert all(t.reason(code) for code in RefusalCode)
    assert "model.unheard_of" in t.reason("model.unheard_of")
    assert all(t(f"trail.report_saved.{outcome}") for outcome in Outcome)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_a_sentence(event, language):
    t = words(language)
    line = TrailEntry(at=NOW, event=event, details=EVENTS[event])
    sentence = t.happened(line)
    assert event not in sentence
    assert "{" not in sentence
    assert t.who(line)


def test_an_event_of_another_version_is_named_as_it_is():
    t = words("en")
    assert t.happened(TrailEntry(at=NOW, event="moon_rose", details={})) == "Event moon_rose."
    assert t.happened(TrailEntry(at=NOW, event="study_failed", details={})) == "Event study_failed."


def test_a_report_with_refusals_says_why():
    details = {"revision": 1, "outcome": "not_analysed", "refusals": "wrong_body_part", "deliveries": 1}
    said = words().happened(TrailEntry(at=NOW, event="report_saved", details=details))
    assert said == "Lưu kết quả bản 1: KHÔNG PHÂN TÍCH. Bộ phận chụp không phải là ngực. Gửi tới 1 nơi nhận."


def test_a_repetition_that_came_to_nothing_says_which_model_was_missing_and_what_stands():
    details = {**EVENTS["answer_kept"], "refusals": "model_failed,no_model"}
    line = TrailEntry(at=NOW, event="answer_kept", details=details)
    assert words("en").happened(line) == (
        "Revision 1 was analysed again, and CXR demo gave no answer. The model failed while analysing. "
        "The model is not in place any more. The former answer stands; nothing new is sent."
    )
    assert "CXR demo không cho kết quả. Mô hình gặp lỗi khi phân tích." in words("vi").happened(line)


@pytest.mark.parametrize("language", LANGUAGES)
def test_whatever_a_door_refuses_for_its_content_has_words(language):
    said = words(language)
    for one in (NotDicom, IncompleteObject, WrongSopClass):
        assert said.refused(one.code) != said.refused("of another version")
        assert said.refused_do(one.code) != said.refused_do("of another version")


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (999, "999 B"), (1_000, "1,0 kB"), (12_345_678, "12,3 MB")]
)
def test_sizes_stand_in_the_unit_that_fits(size, said):
    assert words("vi").size(size) == said
    assert words("en").size(size) == said.replace(",", ".")


def test_times_stand_in_the_zone_of_the_site():
    assert words("vi").moment(NOW) == "01:30 21/11/2026"
    assert words("en").moment(NOW) == "01:30, 21 Nov 2026"
    assert words("vi").short(NOW) == "01:30 · 21/11"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (90000, "1 d ago"),
    ],
)
def test_age_is_in_the_largest_unit(seconds, said):
    assert words("en").age(NOW - timedelta(seconds=seconds), NOW) == said


@pytest.mark.parametrize(
    ("value", "spoken"),
    [
        ("Nguyễn^An^Văn", "Nguyễn Văn An"),
        ("NGUYEN VAN AN", "NGUYEN VAN AN"),
        ("Yamada^Tarou=山田^太郎", "Yamada Tarou"),
        ("=山田^太郎", "山田 太郎"),
        ("^^^", ""),
        ("", ""),
        ("a\u202eb\nc\x00^", "a b c"),
        ("x" * 200, "x" * 119 + "…"),
    ],
)
def test_names_are_spoken_in_order_and_without_controls(value, spoken):
    assert people.spoken_name(value) == spoken


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [("BN-2026-000417", "•••0417"), ("1234", "•••34"), ("1", "•••"), ("", ""), ("12345678", "•••5678")],
)
def test_identifiers_are_masked(identifier, shown):
    assert people.masked(identifier) == shown


def test_a_volume_is_told_with_its_unit_and_its_series():
    code = Code(code_value="A", coding_scheme_designator="99HOICHAN", code_meaning="Part")
    one = Measurement(
        code=code, region=None, display={"vi": "Phần trước", "en": "Front part"}, value=1.524, unit="ml",
        segment_number=1, segmentations={}, series_instance_uid="1.2", sop_instance_uid="1.2.3",
        algorithm_name="Parts", algorithm_version="1.0.0",
    )  # fmt: skip
    series = [
        SeriesView(
            series_instance_uid=uid, modality="MR", series_description="HippoCrop", body_part_examined=None,
            view_position=None, instances=2,
        )
        for uid in ("1.1", "1.2")
    ]  # fmt: skip
    told = {language: words(language) for language in ("vi", "en")}
    assert [told[key].part(one) for key in told] == ["Phần trước", "Front part"]
    assert [told[key].amount(one) for key in told] == ["1,52 ml", "1.52 ml"]
    assert told["vi"].series(series, "1.2") == "chuỗi hình 2 (HippoCrop)"
    assert told["en"].series(series, "1.2") == "series 2 (HippoCrop)"


@pytest.mark.parametrize(
    ("language", "same_day", "later", "due"),
    [
        ("vi", "đến 15:00:00.", "đến 15:00 23/11/2026.", "hạn 17/11/2026."),
        ("en", "until 15:00:00.", "until 15:00, 23 Nov 2026.", "due 17 Nov 2026."),
    ],
)
def test_a_trail_tells_the_day_where_it_is_another(language, same_day, later, due):
    now = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)

    def said(event, **details):
        line = TrailEntry(at=now, event=event, details={"user": "a", "number": 1, **details})
        return words(language).happened(line)

    assert said("share_made", until="2026-11-20T08:00:00+00:00").endswith(same_day)
    assert said("share_made", until="2026-11-23T08:00:00+00:00").endswith(later)
    assert said("follow_up_asked", owner="b", due="2026-11-17").endswith(due)
    assert said("follow_up_asked", owner="b", due="soon").endswith("soon.")
