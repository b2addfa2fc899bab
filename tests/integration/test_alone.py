"""An analysis in a process of its own: what kills it is not the worker's end."""

from __future__ import annotations

import multiprocessing
import os
import threading

import pytest

from hoichan.settings import load
from hoichan.testing.database import prepared
from hoichan.testing.datasets import film
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeEngine
from hoichan.testing.spool import bring
from hoichan.types import StudyState
from service.alone import analyse_alone, follow_parent
from service.arrivals import Arrivals
from service.order_of_work import Line
from service.wiring import open_house


@pytest.fixture
def house(tmp_path):
    opened = open_house(prepared(load(data_dir=tmp_path / "data", environment={})))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def study(house):
    """One film, assembled."""
    data_set = film()
    bring(house.spool, data_set)
    line = Line(house.work, house.studies, FakeEngine(), house.clock, house.settings, lambda study: ())
    arrivals = Arrivals(house.spool, house.studies, line, house.clock, house.settings)
    uid = data_set.StudyInstanceUID
    wait_until(lambda: (arrivals.step(), house.studies.unfinished())[1], seconds=60, what="a closed study")
    return uid


def test_a_study_that_is_not_to_blame_has_its_report(house, study):
    assert analyse_alone(house.settings, study, 1)
    assert house.studies.latest_report_uid(study, before=2) is not None
    assert house.studies.current(study).state in (StudyState.REPORTED, StudyState.NOT_ANALYSED)


def test_one_that_is_killed_is_told_apart_from_one_that_failed(house, study):
    def kill():
        wait_until(multiprocessing.active_children, seconds=60, what="a child")[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    assert not analyse_alone(house.settings, study, 1)
    killer.join(60)
    assert house.studies.unfinished()


def _wait_for_the_end(held):
    follow_parent()
    held.send(os.getpid())
    threading.Event().wait(300)


def _worker(held):
    child = multiprocessing.get_context("spawn").Process(target=_wait_for_the_end, args=(held,))
    child.start()
    child.join(300)


def test_it_ends_with_its_worker():
    context = multiprocessing.get_context("spawn")
    told, held = context.Pipe(duplex=False)
    worker = context.Process(target=_worker, args=(held,))
    worker.start()
    held.close()
    with told:
        assert told.poll(60)
        assert told.recv() != worker.pid
        worker.kill()
        worker.join(60)
        assert told.poll(60), "the child lives on"  # nobody holds the other end any more
        with pytest.raises(EOFError):
            told.recv()
    worker.close()
