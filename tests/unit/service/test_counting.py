"""How many images the sender has, as evidence; with a clock set by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.intake.assembly import completeness
from hoichan.intake.evidence import evidence_of
from hoichan.reporting.reports import compose
from hoichan.settings import Assembly
from hoichan.testing.datasets import described, film
from hoichan.testing.ports import FakeEncoder
from service.counting import Counting
from tests.unit.service.test_catch_up import STUDY, Station


class Coming(Station):
    """A CT that comes from the PACS, image by image."""

    def __init__(self, folder, **source):
        super().__init__(folder, ae_title="PACS", **source)
        self.counting = Counting(self.source, self.archive, self.spool, self.studies, self.clock)
        self.archive._sender = "PACS"

    def there(self, *names):
        self.archive.put(*(self.image(name) for name in names))

    def image(self, name):
        data_set = film(instance=name)
        data_set.Modality = "CT"
        return data_set

    def come(self, *names, sender="PACS"):
        for name in names:
            study = described(self.image(name), received_at=self.clock.now())
            self.studies.add_arrivals(replace(study, calling_ae_title=sender), study.instances)

    def look(self, seconds=0.0, *, is_open=False):
        """The verdict after another round of counting."""
        self.clock.advance(seconds)
        self.counting.step()
        return completeness(
            self.studies.current(STUDY),
            is_open=is_open,
            now=self.clock.now(),
            rules=Assembly(),
            evidence=evidence_of(self.spool, STUDY),
        )

    def counted(self):
        return [e.details for e in self.studies.trail(STUDY) if e.event == "instances_counted"]


@pytest.fixture
def station(tmp_path):
    made = Coming(tmp_path)
    yield made
    made.close()


def test_the_same_number_twice_closes_a_volume_long_before_its_quiet_time(station):
    station.there("1", "2", "3")
    station.come("1", "2", "3")
    assert not station.look().complete
    assert not station.look(1).complete
    done = station.look(1.1)
    assert (done.complete, done.closed_by) == (True, "source_count")
    assert station.counted() == [{"sender": "pacs", "instances": 3, "missing": 0}]
    asked = len(station.archive.questions)
    station.look(60)
    assert len(station.archive.questions) == asked


def test_a_pacs_that_forwards_image_by_image_closes_nothing_early(station):
    for number in range(5):
        station.there(str(number))
        station.come(str(number))
        assert not station.look(2.1).complete
    assert station.look(2.1).closed_by == "source_count"


def test_more_there_holds_it_and_is_told_once(station):
    station.there("1", "2", "3")
    station.come("1")
    for _ in range(60):
        assert not station.look(10).complete  # 600 s: ten quiet times
    assert station.counted() == [{"sender": "pacs", "instances": 3, "missing": 2}]
    assert len(station.archive.questions) < 60
    assert station.look(301).closed_by == "cap"


def test_what_was_missing_comes_and_closes_it(station):
    station.there("1", "2")
    station.come("1")
    station.look()
    station.clock.advance(100)
    station.come("2")
    assert not station.look().complete
    assert station.look(2.1).closed_by == "source_count"


def test_documents_of_ours_at_the_source_are_no_images_to_wait_for(station):
    study = described(station.image("1"), received_at=station.clock.now())
    station.come("1")
    closed = station.studies.assemble(replace(study, closed_by="quiet_time"))
    report = compose(
        closed, results=(), findings=(), refusals=(), manifests=(), predecessor=None, now=station.clock.now()
    )
    documents = FakeEncoder().encode(closed, report)
    station.studies.save(closed, report=report, documents=documents, deliveries=())
    ours = station.image("ours")
    ours.SOPInstanceUID = documents[0].uid
    station.archive.put(station.image("1"), station.image("2"), ours)
    station.clock.advance(1000)
    station.come("2")
    station.look()
    assert station.look(2.1).closed_by == "source_count"


def test_others_studies_an_open_association_and_a_source_that_is_down(station):
    station.there("1")
    station.come("1", sender="OTHER")
    station.look(5)
    assert station.archive.questions == []
    station.spool.opened(STUDY, "association")
    station.counting = Counting(
        station.source.model_copy(update={"senders": ("OTHER",)}),
        station.archive,
        station.spool,
        station.studies,
        station.clock,
    )
    station.look(5)
    assert station.archive.questions == []
    station.spool.released("association")
    station.archive.is_down = True
    for _ in range(10):
        station.look(5)
    assert 1 <= len(station.archive.questions) <= 3
    assert station.look(60).closed_by == "quiet_time"
