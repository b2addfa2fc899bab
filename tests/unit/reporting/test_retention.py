"""Whether images may go: every cell of the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from pydantic import ValidationError

from hoichan.reporting.retention import PRESSURE, Facts, Kept, RecordClass, decide, least_days
from hoichan.settings import Retention, RetentionRule
from hoichan.types import StudyInstanceUID, StudyState

NOW = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
COPIES = Retention(enabled=True, originals="elsewhere")
ONLY = Retention(enabled=True, originals="here")
FACTS = Facts(
    study_instance_uid=StudyInstanceUID("1.2.3"),
    state=StudyState.SIGNED,
    modalities=("CR",),
    calling_ae_title="CR_ROOM1",
    last_received_at=NOW - timedelta(days=100),
    record_class=RecordClass.GENERAL,
    on_hold=False,
    undelivered=0,
    open_revisions=0,
    quarantined=False,
)


def aged(days, **changes):
    return replace(FACTS, last_received_at=NOW - timedelta(days=days), **changes)


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        (aged(100), None),
        (aged(89), Kept.YOUNG),
        (aged(40_000, on_hold=True), Kept.LEGAL_HOLD),
        (aged(40_000, undelivered=1), Kept.UNDELIVERED),
        (aged(40_000, open_revisions=1), Kept.IN_WORK),
        (aged(40_000, quarantined=True), Kept.QUARANTINED),
        (aged(40_000, state=StudyState.FAILED), Kept.FAILED),
        (aged(40_000, state=StudyState.RECEIVING), Kept.IN_WORK),
        (aged(40_000, state=StudyState.ASSEMBLED), Kept.IN_WORK),
        (aged(40_000, state=StudyState.SCORED), Kept.IN_WORK),
        (aged(40_000, state=StudyState.REPORTED), Kept.IN_WORK),
        (aged(40_000, state=StudyState.CANCELLED), Kept.IN_WORK),
        (aged(100, state=StudyState.DELIVERED), Kept.YOUNG),  # nobody signed it
        (aged(366, state=StudyState.DELIVERED), None),
        (aged(366, state=StudyState.NOT_ANALYSED), None),
    ],
)
def test_working_copies_go_by_the_rules_and_by_what_forbids(facts, kept):
    verdict = decide(facts, COPIES, NOW)
    assert verdict.kept == kept and verdict.goes == (kept is None)


@pytest.mark.parametrize(
    ("record_class", "years"),
    [(RecordClass.GENERAL, 10), (RecordClass.ACCIDENT_OR_PSYCHIATRY, 20), (RecordClass.DEATH, 30)],
)
def test_the_only_copy_stays_as_long_as_its_record(record_class, years):
    days = ceil(years * 365.25)
    young, old = aged(days - 1), aged(days + 1)
    verdict = decide(replace(young, record_class=record_class), ONLY, NOW)
    assert verdict.kept is Kept.RECORD_CLASS
    assert verdict.until == young.last_received_at + timedelta(days=days)
    assert decide(replace(old, record_class=record_class), ONLY, NOW).rule == "signed"


@pytest.mark.parametrize(
    ("record_class", "received", "its_day"),
    [
        (RecordClass.GENERAL, datetime(2023, 3, 1, tzinfo=UTC), datetime(2033, 3, 1, tzinfo=UTC)),
        (RecordClass.GENERAL, datetime(2024, 2, 29, tzinfo=UTC), datetime(2034, 2, 28, tzinfo=UTC)),
        (
            RecordClass.ACCIDENT_OR_PSYCHIATRY,
            datetime(2024, 3, 1, tzinfo=UTC),
            datetime(2044, 3, 1, tzinfo=UTC),
        ),
        (RecordClass.DEATH, datetime(2023, 3, 1, tzinfo=UTC), datetime(2053, 3, 1, tzinfo=UTC)),
    ],
)
def test_no_record_goes_before_its_last_day_is_over_by_the_calendar(record_class, received, its_day):
    """Ten years may have three days more than 3,650, and thirty eight: leap years are no averages."""
    facts = replace(FACTS, last_received_at=received, record_class=record_class)
    last_hour = its_day - timedelta(hours=1)
    assert decide(facts, ONLY, last_hour).kept is Kept.RECORD_CLASS
    assert decide(facts, ONLY, its_day + timedelta(days=2)).goes
    assert least_days(ONLY) <= (its_day + timedelta(days=2) - received).days


def test_the_first_rule_that_fits_decides():
    settings = COPIES.model_copy(
        update={
            "rules": (
                RetentionRule(name="ct", modalities=("CT",), days=10),
                RetentionRule(name="bus", senders=("BUS",), days=20),
                RetentionRule(name="signed", states=("signed",), days=30),
            )
        }
    )
    assert decide(aged(11, modalities=("CT", "SR")), settings, NOW).rule == "ct"
    assert decide(aged(21, calling_ae_title="BUS"), settings, NOW).rule == "bus"
    assert decide(aged(21), settings, NOW).kept is Kept.YOUNG
    assert decide(aged(999, state=StudyState.DELIVERED), settings, NOW).kept is Kept.NO_RULE


def test_a_full_disk_takes_delivered_copies_early_and_nothing_else():
    settings = COPIES.model_copy(update={"pressure_free_bytes": 1})
    assert decide(aged(8, state=StudyState.DELIVERED), settings, NOW, pressure=True).rule == PRESSURE
    assert decide(aged(8), settings, NOW).kept is Kept.YOUNG
    assert decide(aged(6), settings, NOW, pressure=True).kept is Kept.YOUNG
    for forbidden in ({"on_hold": True}, {"undelivered": 1}, {"quarantined": True}, {"open_revisions": 1}):
        assert not decide(aged(8, **forbidden), settings, NOW, pressure=True).goes
    assert not decide(aged(8), ONLY, NOW, pressure=True).goes


def test_no_study_is_looked_at_before_any_rule_could_let_it_go():
    assert least_days(COPIES) == 90
    assert least_days(COPIES, pressure=True) == 7
    assert least_days(ONLY) == 3_653
    assert least_days(COPIES.model_copy(update={"rules": ()})) == float("inf")


def test_settings_that_would_lose_the_only_copy_do_not_start():
    with pytest.raises(ValidationError, match="only copy"):
        Retention(originals="here", pressure_free_bytes=1)
    with pytest.raises(ValidationError, match="22:00-05:00"):
        Retention(hours="night")
    rule = RetentionRule(name="a", days=1)
    with pytest.raises(ValidationError, match="same name"):
        Retention(rules=(rule, rule))


@pytest.mark.parametrize(
    ("hours", "at", "is_time"),
    [
        ("22:00-05:00", (23, 0), True),
        ("22:00-05:00", (4, 59), True),
        ("22:00-05:00", (5, 0), False),
        ("22:00-05:00", (12, 0), False),
        ("12:00-13:00", (12, 30), True),
        ("12:00-13:00", (23, 0), False),
    ],
)
def test_images_go_in_the_hours_of_the_site(hours, at, is_time):
    assert Retention(hours=hours).is_time(datetime(2026, 1, 1, *at).time()) is is_time
