"""Earlier studies: fetched and kept, never judged, never waited for too long."""

from __future__ import annotations

import threading
from datetime import date

import pytest

from hoichan.intake.priors import prior_note, release
from hoichan.settings import Settings
from hoichan.testing.datasets import described, film
from hoichan.types import StudyInstanceUID
from hoichan.uids import derived_uid
from service.arrivals import Arrivals
from service.priors import Priors, PriorSource
from tests.unit.service.test_catch_up import Station


def earlier(name, day, *, modality="CR", patient="BN0001", number=1, part="CHEST"):
    made = []
    for instance in range(number):
        data_set = film(study=name, instance=str(instance))
        data_set.StudyDate, data_set.Modality, data_set.PatientID = day, modality, patient
        data_set.BodyPartExamined = part
        made.append(data_set)
    return made


def uid(name):
    return StudyInstanceUID(derived_uid("test", name))


class Reading(Station):
    """A station whose source is asked for earlier studies."""

    def __init__(self, folder, **source):
        super().__init__(folder, **{"priors": 2, "prior_wait_seconds": 20, **source})
        self.former = {}  # patient number -> those that were merged into it
        self.priors = Priors(
            [PriorSource(source=self.source, archive=self.archive)],
            self.record,
            self.spool,
            self.studies,
            self.clock,
            Settings().site.zone,
            lambda patient: self.former.get(patient.patient_id.reveal(), ()),
        )
        self.arrivals = Arrivals(self.spool, self.studies, None, self.clock, Settings())
        self.study = described(film(), received_at=self.clock.now())
        self.studies.add_arrivals(self.study, self.study.instances)

    def told(self):
        return [
            e.details
            for e in self.studies.trail(self.study.study_instance_uid)
            if e.event.startswith("prior")
        ]

    def close(self):
        self.priors.close()
        super().close()


@pytest.fixture
def make(tmp_path):
    made = []

    def reading(**source):
        made.append(Reading(tmp_path, **source))
        return made[-1]

    yield reading
    for one in made:
        one.close()


def test_the_newest_of_the_same_person_and_modality_are_fetched(make):
    station = make()
    station.archive.put(
        *earlier("oldest", "20240101"),
        *earlier("older", "20250101", number=2),
        *earlier("old", "20260101"),
        *earlier("ct", "20260201", modality="CT"),
        *earlier("other", "20260301", patient="BN0002"),
        *earlier("later", "20261201"),
        film(),
    )
    assert station.priors.gather(station.study) == (date(2026, 1, 1), date(2025, 1, 1))
    assert sorted(station.spool.every_study()) == sorted([uid("old"), uid("older")])
    assert station.held(uid("older")) == 2
    assert station.told() == [{"sender": "pacs", "priors": 2, "here": 2}]
    assert prior_note(station.spool.notes, uid("old")).fetched_for == station.study.study_instance_uid


def test_a_hand_does_not_come_with_a_chest(make):
    station = make()
    station.archive.put(
        *earlier("hand", "20260401", part="HAND"),
        *earlier("thorax", "20260301", part="THORAX"),
        *earlier("knee", "20260201", part="KNEE"),
        *earlier("chest", "20260101"),
        *earlier("older", "20250101"),
    )
    assert station.priors.gather(station.study) == (date(2026, 3, 1), date(2026, 1, 1))
    assert station.told() == [{"sender": "pacs", "priors": 2, "here": 2}]
    assert station.archive.questions.count("body_parts") == 4  # no further than needed


def test_where_the_source_cannot_tell_the_modality_decides_and_the_trail_says_so(make):
    station = make()
    station.archive.tells_parts = False
    station.archive.put(*earlier("hand", "20260401", part="HAND"), *earlier("chest", "20260101"))
    assert station.priors.gather(station.study) == (date(2026, 4, 1), date(2026, 1, 1))
    assert station.told() == [{"sender": "pacs", "priors": 2, "here": 2}, {"sender": "pacs", "priors": 2}]


def test_earlier_films_under_a_number_that_was_merged_are_found(make):
    station = make()
    station.former["BN0001"] = [("OLD7", None)]
    station.archive.put(
        *earlier("before", "20260101", patient="OLD7"),
        *earlier("after", "20260201"),
        *earlier("other", "20260301", patient="BN0002"),
    )
    assert station.priors.gather(station.study) == (date(2026, 2, 1), date(2026, 1, 1))


def test_what_was_fetched_so_is_no_arrival_also_after_a_restart(make):
    station = make()
    station.archive.put(*earlier("old", "20260101"))
    station.priors.gather(station.study)
    for _ in range(2):
        station.arrivals.step()
        assert station.studies.current(uid("old")) is None
        station.spool.mark_fresh(uid("old"))
    again = station.priors.gather(station.study)
    assert again == (date(2026, 1, 1),) and station.archive.questions.count("fetch") == 1


def test_an_image_that_was_not_asked_for_makes_it_a_study_like_all_others(make):
    station = make()
    station.archive.put(*earlier("old", "20260101"))
    station.priors.gather(station.study)
    (sent,) = earlier("old", "20260101")
    sent.SOPInstanceUID = "1.2.3"
    station.archive.put(sent)
    station.archive.fetch(uid("old"), {"1.2.3": sent.SeriesInstanceUID})
    station.arrivals.step()
    assert len(station.studies.current(uid("old")).instances) == 2


def test_a_person_can_have_it_judged_after_all(make):
    station = make()
    station.archive.put(*earlier("old", "20260101"))
    station.priors.gather(station.study)
    assert release(station.spool.notes, uid("old"))
    station.spool.mark_fresh(uid("old"))
    station.arrivals.step()
    assert station.studies.current(uid("old")) is not None
    assert not release(station.spool.notes, uid("old"))


def test_a_study_that_was_missed_is_the_catch_ups_and_not_only_kept(make):
    station = make(window_hours=48)
    station.archive.put(*earlier("yesterday", "20261119"), *earlier("old", "20260101"))
    assert station.priors.gather(station.study) == (date(2026, 1, 1),)
    assert station.spool.every_study() == [uid("old")]
    station.archive.put(*earlier("wanted", "20250101"))
    station.catch_up._ask(station.record.contact("pacs"), station.clock.now())
    assert station.priors.gather(station.study) == ()


def test_what_we_judged_ourselves_is_an_earlier_study_without_fetching(make):
    station = make()
    (data_set,) = earlier("ours", "20260101")
    ours = described(data_set)
    station.studies.add_arrivals(ours, ours.instances)
    station.archive.put(data_set)
    assert station.priors.gather(station.study) == (date(2026, 1, 1),)
    assert "fetch" not in station.archive.questions


def test_a_source_that_does_not_answer_in_time_holds_nobody_up(make):
    station = make(prior_wait_seconds=0.1)
    station.archive.put(*earlier("old", "20260101"))
    go_on, began = threading.Event(), threading.Event()
    fetch = station.archive.fetch

    def slow(study, wanted):
        began.set()
        assert go_on.wait(60)
        return fetch(study, wanted)

    station.archive.fetch = slow
    try:
        assert station.priors.gather(station.study) == ()
        assert began.wait(60)
        assert station.priors.gather(station.study) == ()  # the same work, not another
    finally:
        go_on.set()
    station.priors._pool.shutdown(wait=True)
    assert station.held(uid("old")) == 1 and len(station.told()) == 1


@pytest.mark.parametrize("fault", ["down", "known to be down", "refused", "broken"])
def test_a_source_that_fails_costs_nothing_but_its_answer(make, fault):
    station = make()
    station.archive.put(*earlier("old", "20260101"))
    station.archive.is_down = fault == "down"
    station.archive.refuses = fault == "refused"
    if fault == "known to be down":
        station.record.failed(
            "pacs", code="delivery.unreachable", next_at=station.clock.now().replace(hour=23)
        )
    if fault == "broken":
        station.archive.instances = lambda _: 1 // 0
    assert station.priors.gather(station.study) == ()
    if fault == "known to be down":
        assert station.archive.questions == []


def test_nobody_is_asked_without_a_number(make):
    station = make()
    data_set = film()
    data_set.PatientID = ""
    assert station.priors.gather(described(data_set)) == ()
    assert station.archive.questions == []
