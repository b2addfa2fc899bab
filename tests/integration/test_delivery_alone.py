"""A delivery that kills who hands it over, twice a worker and then a process of its own, is set aside."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from functools import partial

import pytest

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.errors import DeliveryError, RecordsUnavailable
from hoichan.reporting import plan
from hoichan.settings import load
from hoichan.testing import FolderOfFilms, a_report, a_study
from hoichan.testing.database import prepared
from hoichan.testing.mllp import Receiver, answering, taking
from hoichan.types import DeliveryState
from service.alone import POISON_STARTS, deliver_alone
from service.hands import sinks_of
from service.outbox import KILLS_WORKER, Outbox
from service.steering import replay
from service.wiring import open_house


class Ris:
    """A receiver that may kill who sends, or hang up."""

    def __init__(self):
        self.kills_with, self.hangs_up = None, False
        self.server = Receiver(self.behave)

    async def behave(self, frame, reader, writer):
        if self.kills_with is not None:
            (child,) = multiprocessing.active_children()
            os.kill(child.pid, self.kills_with)
            await reader.read()
        elif not self.hangs_up:
            await answering(taking)(frame, reader, writer)


class Site:
    """A house with one receiver, and one report that waits for it."""

    def __init__(self, folder):
        self.ris = Ris()
        self.ris.server.__enter__()
        config = folder / "hoichan.toml"
        config.write_text(
            '[[destinations]]\nname = "ris"\nkind = "hl7v2"\nhost = "127.0.0.1"\n'
            f"port = {self.ris.server.port}\n"
        )
        self.settings = prepared(load(config, data_dir=folder / "data", environment={}))
        self.house = open_house(self.settings)
        studies, study = self.house.studies, a_study()
        studies.add_arrivals(study, study.instances)
        current = studies.current(study.study_instance_uid)
        study = studies.assemble(replace(current, closed_by="quiet_time"))
        report = a_report(study)
        documents = DocumentEncoder(FolderOfFilms(folder), self.settings).encode(study, report)
        (delivery,) = plan(
            report, study, self.settings.effective_destinations, documents, self.house.clock.now()
        )
        assert studies.save(study, report=report, documents=documents, deliveries=[delivery])
        self.uid, self.key = study.study_instance_uid, delivery.idempotency_key
        self.outbox = Outbox(
            studies,
            sinks_of(self.house),
            self.house.clock,
            self.settings.work,
            self.house.work,
            alone=partial(deliver_alone, self.settings),
        )

    @property
    def row(self):
        return self.house.studies.delivery(self.key)

    def close(self):
        self.house.engine.dispose()
        self.ris.server.__exit__()


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.close()


class Deadly:
    """A sink that ends its process."""

    def deliver(self, delivery, documents):
        os._exit(9)


def _worker(settings, key):
    house = open_house(settings)
    Outbox(house.studies, {"ris": Deadly()}, house.clock, settings.work).deliver(key)


def killed(site):
    """Let workers die in the middle of a try, as often as one is tried among others."""
    for _ in range(POISON_STARTS):
        worker = multiprocessing.get_context("spawn").Process(target=_worker, args=(site.settings, site.key))
        worker.start()
        worker.join(120)
        assert worker.exitcode == 9
        worker.close()


def test_a_delivery_that_kills_is_set_aside_and_sent_when_a_person_asks(site):
    killed(site)
    site.ris.kills_with = signal.SIGKILL
    site.outbox.deliver(site.key)
    assert (site.row.state, site.row.acknowledgement) == (DeliveryState.DEAD, KILLS_WORKER)
    assert site.row.attempts == POISON_STARTS + 1
    assert site.house.studies.trail(site.uid)[-1].event == "delivery_set_aside"
    assert len(site.ris.server.frames) == 1
    site.ris.kills_with = None
    replay(site.house.studies, site.uid)
    site.outbox.deliver(site.key)
    assert site.row.state is DeliveryState.SENT


def test_one_that_is_not_to_blame_arrives_alone(site):
    killed(site)
    site.outbox.deliver(site.key)
    assert site.row.state is DeliveryState.SENT
    assert len(site.ris.server.frames) == 1


def test_one_that_is_asked_to_end_is_not_to_blame(site):
    site.ris.kills_with = signal.SIGTERM
    with pytest.raises(RecordsUnavailable):
        deliver_alone(site.settings, site.key)
    assert site.row.state is DeliveryState.PENDING


def test_an_error_that_nobody_foresaw_is_no_death(site):
    storage = site.settings.storage.model_copy(update={"database": "nonsense"})
    with pytest.raises(DeliveryError):
        deliver_alone(site.settings.model_copy(update={"storage": storage}), site.key)


def test_what_the_receiver_says_to_the_process_of_its_own_stands_in_the_row(site):
    site.ris.hangs_up = True
    assert deliver_alone(site.settings, site.key)
    assert (site.row.state, site.row.attempts) == (DeliveryState.PENDING, 1)
    assert site.row.acknowledgement
