"""An analysis in a process of its own: what kills it is not the worker's end."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from hoichan.settings import load
from hoichan.testing.datasets import encode, film
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeEngine
from hoichan.types import StudyState
from service.alone import analyse_alone
from service.arrivals import Arrivals
from service.order_of_work import Line
from service.wiring import open_house

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def house(tmp_path):
    opened = open_house(load(data_dir=tmp_path / "data", environment={}))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def study(house):
    """One film, assembled."""
    data_set = film()
    house.spool.store(
        encode(data_set),
        transfer_syntax_uid=EXPLICIT,
        sop_class_uid=data_set.SOPClassUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        calling_ae_title="CR1",
    )
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
