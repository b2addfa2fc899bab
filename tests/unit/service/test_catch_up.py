"""What a source has and we have not: asked, compared, fetched; with an archive that has bad days."""

from __future__ import annotations

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.sources_sql import SourcesSql
from hoichan.errors import SpoolFull
from hoichan.settings import OrthancSource
from hoichan.testing.archive import FakeArchive
from hoichan.testing.database import migrated
from hoichan.testing.datasets import film
from hoichan.testing.ports import FakeClock
from hoichan.testing.spool import FakeSpool
from hoichan.uids import derived_uid
from service.catch_up import MOST_ATTEMPTS, CatchUp

STUDY = derived_uid("test", "study")


class Station:
    def __init__(self, folder, **source):
        self.source = OrthancSource(name="pacs", kind="orthanc", url="http://127.0.0.1:1", **source)
        self.clock = FakeClock()
        self.spool = FakeSpool(now=self.clock.now)
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.studies = StudiesSql(self.database, ObjectsDisk(folder / "objects"), self.clock)
        self.record = SourcesSql(self.database)
        self.archive = FakeArchive(self.spool)
        self.catch_up = self.restarted()

    def restarted(self):
        return CatchUp(self.source, self.archive, self.record, self.spool, self.studies, self.clock)

    def step(self, seconds=0.0):
        self.clock.advance(seconds)
        self.catch_up.step()

    def held(self, study=STUDY):
        return len(self.spool.listing(study))

    def events(self, study=STUDY):
        return [entry.event for entry in self.studies.trail(study)]

    def close(self):
        self.spool.close()
        self.database.dispose()


@pytest.fixture
def make(tmp_path):
    made = []

    def station(**source):
        made.append(Station(tmp_path, **source))
        return made[-1]

    yield station
    for one in made:
        one.close()


def films(*names, study="study"):
    return [film(study=study, instance=name) for name in names]


def test_the_first_question_fetches_and_the_next_one_has_nothing_to_do(make):
    station = make()
    station.archive.put(*films("1", "2"))
    station.step()
    assert station.held() == 2 and station.events() == ["study_fetched"]
    station.step(400)
    assert station.archive.questions.count("fetch") == 1
    assert station.archive.questions.count("instances") == 1


def test_it_is_asked_again_only_when_it_is_time(make):
    station = make(every_seconds=300)
    for seconds in (0, 100, 199, 2):
        station.step(seconds)
    assert station.archive.questions.count("changes") == 2


def test_a_kill_between_asking_and_fetching_loses_no_study(make):
    station = make()
    station.archive.put(*films("1"))

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    fetch = station.archive.fetch
    station.archive.fetch = killed
    with pytest.raises(Killed):
        station.step()
    station.archive.fetch = fetch
    station.catch_up = station.restarted()
    station.step()
    assert station.held() == 1
    assert station.record.contact("pacs").mark == "1"


def test_in_steady_times_a_new_study_has_a_while_to_come_by_itself(make):
    station = make(every_seconds=300, settle_seconds=60)
    station.step()
    station.archive.put(*films("1"))
    station.step(301)
    assert station.held() == 0
    station.step(59)
    assert station.held() == 0
    station.step(2)
    assert station.held() == 1


def test_after_a_gap_it_is_fetched_at_once(make):
    station = make(every_seconds=300, settle_seconds=60)
    station.step()
    station.archive.put(*films("1"))
    station.clock.advance(7200)
    station.catch_up = station.restarted()
    station.step()
    assert station.held() == 1


def test_a_study_that_is_just_coming_is_left_alone(make):
    station = make()
    station.archive.put(*films("1"))
    station.spool.opened(STUDY, "association")
    station.step()
    assert station.held() == 0 and "fetch" not in station.archive.questions
    station.spool.released("association")
    station.step(11)
    assert station.held() == 1


def test_a_source_that_is_down_is_asked_with_growing_pauses_and_named(make):
    station = make()
    station.archive.is_down = True
    for _ in range(200):
        station.step(30)
    asked = station.archive.questions.count("changes")
    assert 8 <= asked <= 14  # 15, 30, 60, … 900 s over 6,000 s
    contact = station.record.contact("pacs")
    assert (contact.failures, contact.error, contact.contacted_at) == (asked, "delivery.unreachable", None)
    station.archive.is_down = False
    station.archive.put(*films("1"))
    station.step(900)
    assert station.held() == 1 and station.record.contact("pacs").failures == 0


def test_what_cannot_be_had_is_given_up_and_does_not_hold_the_rest_up(make):
    station = make()
    bad, good = films("bad", "1")
    other = film(study="other")
    station.archive.put(bad, good, other)
    station.archive.withholds = {bad.SOPInstanceUID}
    station.step()
    assert station.held() == 1 and station.held(other.StudyInstanceUID) == 1
    for _ in range(MOST_ATTEMPTS + 2):
        station.step(901)
    assert station.record.waiting("pacs") == (0, 1)
    assert station.events() == ["study_fetched", "study_not_fetched"]
    fetches = station.archive.questions.count("fetch")
    station.step(901)
    assert station.archive.questions.count("fetch") == fetches
    station.archive.withholds = set()
    station.archive.put(film(instance="late"))  # the source has more: looked at again
    for _ in range(2):
        station.step(901)
    assert station.held() == 3


def test_a_study_that_is_refused_is_not_the_end_of_the_others(make):
    station = make()
    station.archive.put(*films("1"), film(study="other"))
    station.archive.refuses = True
    station.step()
    assert station.archive.questions.count("fetch") == 2
    assert station.record.contact("pacs").failures == 0
    station.archive.refuses = False
    station.step(901)
    assert station.held() == 1


def test_a_full_disk_is_waited_for(make):
    station = make()
    station.archive.put(*films("1"))

    def full(*_):
        raise SpoolFull

    fetch, station.archive.fetch = station.archive.fetch, full
    station.step()
    assert station.record.contact("pacs").error == "intake.spool_full"
    station.archive.fetch = fetch
    station.step(901)
    assert station.held() == 1


def test_a_thin_line_gets_so_many_instances_a_minute(make):
    station = make(instances_per_minute=2)
    for number in range(4):
        station.archive.put(*films("1", "2", study=f"study{number}"))
    station.step()
    assert len(station.spool.every_study()) == 1
    station.step(59)
    assert len(station.spool.every_study()) == 1
    station.step(2)
    assert len(station.spool.every_study()) == 2


def test_a_source_without_counts_is_compared_again_once_an_hour(make):
    station = make(every_seconds=300)
    station.archive.tells_counts = False
    station.archive.put(*films("1"))
    for _ in range(12):
        station.archive.put(*films("1"))  # named again by every question
        station.step(301)
    assert station.archive.questions.count("instances") in (1, 2)


def test_only_the_modalities_that_are_wanted(make):
    station = make(modalities=["CT"])
    station.archive.put(*films("1"))
    station.step()
    assert station.held() == 0 and station.record.waiting("pacs") == (0, 0)
