"""Totals of a long record are not counted at every scrape."""

from hoichan.adapters.figures_sql import FiguresSql, Kept
from hoichan.testing.reading import a_record, fill
from hoichan.types import DeliveryState, StudyState


class Stopwatch:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_what_is_quick_is_asked_anew_and_what_is_slow_is_kept():
    clock, asked = Stopwatch(), []

    def ask(seconds):
        clock.now += seconds
        asked.append(seconds)
        return len(asked)

    quick = Kept(lambda: ask(0.01), clock=clock)
    assert [quick.get(), quick.get()] == [1, 2]
    slow = Kept(lambda: ask(1.0), clock=clock)
    assert slow.get() == 3
    clock.now += 49
    assert slow.get() == 3
    clock.now += 2
    assert slow.get() == 4


def test_the_figures_of_a_record(tmp_path):
    record = a_record(tmp_path)
    figures = FiguresSql(record.engine)
    assert figures.waiting() == [] and figures.oldest_unanswered_at() is None
    uids = fill(record)
    totals = figures.totals()
    assert (totals.instances, totals.studies[StudyState.FAILED]) == (10, 1)
    found = {(one.destination, one.state): one.count for one in figures.waiting()}
    assert found == {
        ("emr", DeliveryState.DEAD): 1,
        ("emr", DeliveryState.PENDING): 2,
        ("pacs", DeliveryState.PENDING): 1,
    }
    oldest = record.reading.study(uids["assembled"]).revisions[0].assembled_at
    assert figures.oldest_unanswered_at() == oldest
    record.engine.dispose()
