"""Receivers of the page in a worker that runs: nothing in the middle, nothing lost, nothing twice."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.settings import FolderDestination, Settings, Work
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeRunner
from hoichan.testing.reports import a_film, a_manifest, a_study
from hoichan.types import DeliveryState
from service import wiring
from service.hands import hands_of, renewed
from service.outbox import AWAITED, Outbox
from service.pipeline import analyse
from service.receivers import InForce, Live

EMR = {"kind": "fhir", "name": "emr2", "url": "https://10.1.2.4/fhir", "credentials": "emr"}


class Held:
    """A receiver that answers when it may."""

    def __init__(self):
        self.begun, self.may, self.got = threading.Event(), threading.Event(), []

    def deliver(self, delivery, documents):
        self.got.append(delivery.idempotency_key)
        self.begun.set()
        assert self.may.wait(60)
        return "held"


class Site:
    """What a worker holds of receivers: real record, rows, sinks and outbox."""

    def __init__(self, folder):
        self.key = folder / "emr.pem"
        self.outbox_dir = (folder / "data" / "outbox").absolute()
        auth = {"kind": "smart", "client_id": "hoichan", "private_key": self.key}
        settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder / "data", "reserve_bytes": 0},
                "credentials": {"emr": {"hosts": ["10.1.2.4"], "auth": auth}},
            }
        )
        self.house = wiring.open_house(settings)
        self.rows = ReceiversSql(self.house.engine, self.house.clock)
        self.hands = hands_of(self.house)
        self.seconds, self.puts, self.made = 0.0, 0, 0
        self.in_force = InForce(self.house.receivers, self.rows, self.put, monotonic=lambda: self.seconds)
        self.outbox = Outbox(
            self.house.studies,
            Live(lambda: self.hands.sinks),
            self.house.clock,
            Work(first_retry_seconds=0.001),
            awaited=self.in_force.awaits,
        )

    def put(self, laid):
        self.puts += 1
        self.hands = renewed(self.hands, laid)

    def folder(self, name, *, place=None):
        path = str(self.outbox_dir / (place or name))
        return {"kind": "folder", "name": name, "path": path, "send": ["sr"]}

    def write(self, *entries):
        seen = self.rows.newest()
        assert self.rows.write(entries, [], seen=seen, who="it.nam", reason="x") == seen + 1

    def report(self, to="share"):
        """A report of which one receiver gets the SR, as an analysis plans it; the delivery's key."""
        self.made += 1
        study = a_study(a_film(f"in force {self.made}", rows=16, columns=16))
        studies = self.house.studies
        studies.add_arrivals(study, study.instances)
        analyse(
            studies.assemble(replace(studies.current(study.study_instance_uid), closed_by="quiet_time")),
            manifests=[a_manifest()],
            runner=FakeRunner(FakeClock()),
            encoder=FakeEncoder(),
            studies=studies,
            destinations=[FolderDestination(name=to, kind="folder", path="elsewhere", send=("sr",))],
            clock=self.house.clock,
        )
        (delivery,) = studies.deliveries(study.study_instance_uid)
        return delivery.idempotency_key

    def row(self, key):
        return self.house.studies.delivery(key)

    def arrives(self, key):
        """Try it until it is there."""

        def is_sent():
            self.outbox.deliver(key)
            return self.row(key).state is not DeliveryState.PENDING

        wait_until(is_sent, seconds=60, what="a delivery")
        assert self.row(key).state is DeliveryState.SENT

    def files(self, name):
        return [one.read_bytes() for one in (self.outbox_dir / name).glob("*/*/*")]


@pytest.fixture
def site(tmp_path):
    opened = Site(tmp_path)
    yield opened
    opened.house.engine.dispose()


def test_a_receiver_that_is_written_while_the_worker_runs_gets_what_waits_for_it_once(site):
    assert not site.in_force.look()
    site.write(site.folder("share"))
    key = site.report()  # planned by a process that knew the receiver sooner
    site.outbox.deliver(key)
    assert (site.row(key).state, site.row(key).acknowledgement) == (DeliveryState.PENDING, AWAITED)
    assert site.in_force.look() and not site.in_force.look()
    assert site.hands.house.receivers.version == 1 and site.puts == 1
    site.arrives(key)
    site.outbox.deliver(key)
    assert len(site.files("share")) == 1


def test_a_delivery_that_has_begun_ends_where_it_began(site):
    site.write(site.folder("share"))
    site.in_force.look()
    old = Held()
    site.hands = replace(site.hands, sinks={**site.hands.sinks, "share": old})
    key = site.report()
    sender = threading.Thread(target=site.outbox.deliver, args=(key,))
    sender.start()
    assert old.begun.wait(60)
    site.write(site.folder("share", place="moved"))
    assert site.in_force.look()
    old.may.set()
    sender.join(60)
    assert (site.row(key).state, site.row(key).acknowledgement) == (DeliveryState.SENT, "held")
    assert (old.got, site.files("moved")) == ([key], [])
    site.arrives(site.report())  # what begins now goes to the new place
    assert (len(old.got), len(site.files("moved"))) == (1, 1)


def test_a_receiver_that_was_removed_while_a_result_for_it_was_made_still_gets_it(site):
    site.write(site.folder("share"))
    site.in_force.look()
    site.write()
    assert site.in_force.look() and "share" not in site.hands.sinks  # nothing was owed to it
    key = site.report()
    site.outbox.deliver(key)
    assert site.row(key).state is DeliveryState.PENDING
    assert site.in_force.look()
    assert site.hands.house.receivers.places["destinations", "share"] == "kept"
    assert not site.hands.destinations["share"].active  # nothing new is planned for it
    site.arrives(key)
    assert len(site.files("share")) == 1


def test_a_receiver_that_never_was_is_a_dead_letter_as_before(site):
    key = site.report(to="nobody")
    site.outbox.deliver(key)
    assert (site.row(key).state, site.row(key).acknowledgement) == (
        DeliveryState.DEAD,
        "destination_not_configured",
    )


def test_a_version_that_cannot_be_put_together_leaves_the_old_one_and_says_so(site):
    site.write(site.folder("share"))
    site.in_force.look()
    before = site.hands
    site.write(site.folder("share", place="moved"), EMR)  # its key file is not there
    assert not site.in_force.look()
    assert (site.in_force.refused, site.hands) == ((2, "configuration"), before)
    assert site.in_force.laid.version == 1
    key = site.report()
    site.arrives(key)
    assert len(site.files("share")) == 1
    puts = site.puts
    assert not site.in_force.look() and site.puts == puts  # not every second
    site.seconds = 60.0
    assert not site.in_force.look() and site.puts == puts + 1
    site.write(site.folder("share", place="moved"))
    assert site.in_force.look() and site.in_force.refused is None
    assert site.hands.destinations["share"].path.name == "moved"


def test_what_has_not_changed_keeps_its_sink(site):
    site.write(site.folder("share"), site.folder("other"))
    site.in_force.look()
    before = dict(site.hands.sinks)
    site.write(site.folder("share"), site.folder("other", place="moved"))
    assert site.in_force.look()
    assert site.hands.sinks["share"] is before["share"]
    assert site.hands.sinks["other"] is not before["other"]
    assert site.hands.at_a_time["share"] == 1 and set(site.hands.probes) >= {"share", "other"}
