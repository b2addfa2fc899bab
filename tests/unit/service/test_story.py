"""Where a study is, in plain words: steps, times, models, receivers, and what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.neighbours_read import came_near
from hoichan.adapters.work_sql import WorkSql
from hoichan.guard.audit import Audited, AuditRecord
from hoichan.testing.reading import HOSTILE_NAME, PEOPLE, a_record, arrive, fill
from service.outbox import KILLS_WORKER
from service.story import story
from service.web.rendering import LANGUAGES, catalogue
from service.web.words import Words


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    record = a_record(tmp_path_factory.mktemp("story"))
    uids = fill(record)
    yield record, uids
    record.engine.dispose()


def told(filled, what, language="en", **options):
    record, uids = filled
    words = Words(language, catalogue(language), ZoneInfo("Asia/Ho_Chi_Minh"))
    uid = uids[what]
    view = record.reading.study(uid)
    if "made_at" in options:
        view = replace(view, entry=replace(view.entry, study_datetime=options.pop("made_at")))
    options = {"receivers": {}, "study": record.studies.current(uid), **options}
    return story(words, view, record.reading.trail(uid), **options)


def test_a_delivered_study_tells_every_step_and_how_long_it_took(filled):
    parts = {part.label: part for part in told(filled, "nothing")}
    assert list(parts) == ["Received", "Complete", "Analysis", "To emr", "To pacs"]
    assert parts["To pacs"].text.startswith("Received at ")
    assert parts["To pacs"].text.endswith("(0x0000).")
    assert " s on CPUExecutionProvider." in parts["Analysis"].text
    assert {part.tone for part in parts.values()} == {"ok"}


def test_a_refused_delivery_says_why_and_what_to_do(filled):
    (refused,) = [part for part in told(filled, "urgent") if part.tone == "bad"]
    assert "HTTP 422" in refused.text
    assert refused.do == "Look into the log of the EMR; send again after a change there."


def test_a_delivery_that_was_set_aside_was_refused_by_nobody(tmp_path):
    record = a_record(tmp_path)
    uids = fill(record)
    key = next(one for one in record.studies.deliveries(uids["routine"]) if one.destination == "emr")
    assert record.studies.begin_try(key.idempotency_key)
    record.studies.set_aside(key.idempotency_key, attempts=key.attempts, status=KILLS_WORKER)
    parts = {part.label: part for part in told((record, uids), "routine")}
    assert parts["To emr"].text.startswith("Handing it over ended the program")
    assert (parts["To emr"].tone, bool(parts["To emr"].do)) == ("bad", True)
    record.engine.dispose()


def test_a_receiver_that_is_down_is_named_with_its_cause(filled):
    record, _ = filled
    work = WorkSql(record.engine, record.clock)
    work.suspect("emr", "dns")
    work.silent("emr", "dns", record.clock.now())
    (down,) = [part for part in told(filled, "routine", receivers=work.receivers()) if part.tone == "bad"]
    assert "The host name is not known." in down.text
    assert down.do


def test_a_failed_study_and_one_that_waits_say_so(filled):
    assert any(part.tone == "bad" and part.do for part in told(filled, "failed"))
    assert told(filled, "assembled")[-1].text == "Waits for its turn."
    assert told(filled, "receiving")[-1].tone == "wait"
    assert "Not yet; more images may come." in [part.text for part in told(filled, "late")]


def test_models_that_did_not_answer_are_named_with_the_reason(filled):
    assert [part for part in told(filled, "refused") if part.label == "Not by"]


def test_a_wrong_clock_is_noticed(filled):
    record, uids = filled
    received = record.reading.study(uids["nothing"]).entry.first_received_at
    parts = told(filled, "nothing", made_at=received + timedelta(hours=7))
    assert "a clock is wrong" in next(part.text for part in parts if part.label == "Noticed")


def test_a_stall_of_the_sender_is_seen_by_single_films(tmp_path):
    """Twelve studies of one film in one association: no study alone could tell."""
    record = a_record(tmp_path)
    uids = []
    for number in range(12):
        uids.append(arrive(record, f"film-{number}").study_instance_uid)
        arrive(record, f"other-{number}", sender="CR_ROOM2")
        record.clock.advance(0.041)
    record.clock.advance(3600)
    alone = arrive(record, "alone").study_instance_uid
    near = came_near(record.engine, uids[5], "CR_ROOM1")
    assert len(near) == 12
    words = Words("en", catalogue("en"), ZoneInfo("UTC"))

    def noticed(uid, near):
        parts = story(words, record.reading.study(uid), record.reading.trail(uid), receivers={}, near=near)
        return [part for part in parts if part.label == "Noticed"]

    assert noticed(uids[5], near)
    assert not noticed(uids[5], ())
    assert len(came_near(record.engine, alone, "CR_ROOM1")) == 1
    assert came_near(record.engine, "1.2.3", "CR_ROOM1") == []
    record.engine.dispose()


def test_who_opened_it_is_told(filled):
    record, uids = filled
    record.audit.append(
        AuditRecord(
            what=Audited.VIEWED,
            when=record.clock.now(),
            who="an.nguyen",
            role="radiologist",
            source="10.0.0.9",
            uids=(uids["nothing"],),
        )
    )
    _, opened = record.audit.search(Wanted(study_instance_uid=uids["nothing"]), limit=9)
    last = told(filled, "nothing", opened=opened)[-1]
    assert last.label == "Opened by"
    assert last.text.startswith("an.nguyen ")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_study_tells_anything_of_its_patient(filled, language):
    names = [HOSTILE_NAME, *(part for person in PEOPLE for part in (person[0], person[3]))]
    for what in filled[1]:
        text = " ".join(f"{part.label} {part.text} {part.do}" for part in told(filled, what, language))
        assert not any(name in text for name in names), what
