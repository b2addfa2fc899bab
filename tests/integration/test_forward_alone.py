"""An image that kills who sends it on, twice a worker and then a process of its own, is set aside."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from functools import partial

import pytest
from pynetdicom import AE, build_context, evt

from hoichan.adapters.forwards_sql import ForwardsSql
from hoichan.errors import RecordsUnavailable
from hoichan.intake.assembly import merge
from hoichan.intake.dataset import read_spooled
from hoichan.intake.files import take_in
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.reporting.forwarding import ForwardState, Told
from hoichan.settings import load
from hoichan.testing.database import prepared
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, film
from hoichan.testing.files import as_file
from service.alone import POISON_STARTS, forward_alone
from service.hands import couriers_of
from service.starts import KILLS_WORKER
from service.wiring import forwarding, open_house

HARMLESS, DEADLY = sorted([film().SOPInstanceUID, film(instance="2").SOPInstanceUID])  # as they are sent
RULE = '[[forward]]\nname = "archive"\nto = ["hub"]\n[[destinations]]\nname = "hub"\nkind = "dicom"\n'


class Hub:
    """A receiver that may kill who brings the deadly image."""

    def __init__(self):
        self.kills_with, self.taken = None, []
        entity = AE(ae_title="HUB")
        entity.supported_contexts = [build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)]
        self.server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)]
        )

    def store(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        if self.kills_with is not None and uid == DEADLY:
            (child,) = multiprocessing.active_children()
            os.kill(child.pid, self.kills_with)
            child.join(60)
        else:
            self.taken.append(uid)
        return 0x0000


class Site:
    """A house with a rule, and two images that it sends on."""

    def __init__(self, folder):
        self.hub = Hub()
        config = folder / "hoichan.toml"
        place = f'host = "127.0.0.1"\nport = {self.hub.server.server_address[1]}\nae_title = "HUB"\n'
        config.write_text(RULE + place + "send = []\n")
        self.settings = prepared(load(config, data_dir=folder / "data", environment={}))
        self.house = house = open_house(self.settings)
        self.forwards = ForwardsSql(house.engine, house.clock)
        alone = partial(forward_alone, self.settings)
        self.forwarding = forwarding(house, couriers_of(house), lambda rule: False, alone)
        self.forwarding.begin()
        for one in (film(), film(instance="2")):
            self.uid = take_in(house.spool, as_file(one), calling_ae_title="CR1").study_instance_uid
        zone = self.settings.site.zone
        parts = [read_spooled(house.spool, one, zone) for one in house.spool.listing(self.uid)]
        house.studies.add_arrivals(merge(parts), merge(parts).instances)
        assert house.studies.assemble(replace(house.studies.current(self.uid), closed_by="test"))
        assert self.forwarding.plan() == 2

    def states(self):
        return {one.state: (one.instances, one.detail) for one in self.forwards.standing()}

    def close(self):
        self.house.engine.dispose()
        self.hub.server.shutdown()


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.close()


class Deadly:
    """A courier that one image ends with its process."""

    def bring(self, pieces):
        for one in pieces:
            if one.sop_instance_uid == DEADLY:
                os._exit(9)
            yield Told(errand=one.errand, state=ForwardState.SENT, detail="0x0000")


def _worker(settings):
    forwarding(open_house(settings), {"hub": Deadly()}, lambda rule: False).send("hub")


def killed(site):
    """Let workers die in the middle of a try, as often as one is tried among others."""
    for _ in range(POISON_STARTS):
        worker = multiprocessing.get_context("spawn").Process(target=_worker, args=(site.settings,))
        worker.start()
        worker.join(120)
        assert worker.exitcode == 9
        worker.close()


def test_an_image_that_kills_is_set_aside_and_sent_when_a_person_asks(site):
    killed(site)
    assert site.states() == {"sent": (1, "0x0000"), "pending": (1, "")}, "after one death they go one by one"
    site.hub.kills_with = signal.SIGKILL
    site.forwarding.send("hub")
    assert site.states() == {"sent": (1, "0x0000"), "dead": (1, KILLS_WORKER)}
    last = site.house.studies.trail(site.uid)[-1]
    assert (last.event, last.details["instance"]) == ("forward_set_aside", DEADLY)
    site.hub.kills_with = None
    assert site.house.steering.retry_forwards(site.uid) == 1
    site.forwarding.send("hub")
    assert (site.states(), site.hub.taken) == ({"sent": (2, "0x0000")}, [DEADLY])


def test_one_that_is_not_to_blame_arrives_alone(site):
    killed(site)
    site.forwarding.send("hub")
    assert (site.states(), site.hub.taken) == ({"sent": (2, "0x0000")}, [DEADLY])


def test_one_that_is_asked_to_end_is_not_to_blame(site):
    site.hub.kills_with = signal.SIGTERM
    errand = next(one for one in site.forwards.due("hub", 2) if one.sop_instance_uid == DEADLY)
    with pytest.raises(RecordsUnavailable):
        forward_alone(site.settings, errand)
    assert site.states() == {"pending": (2, "")}
