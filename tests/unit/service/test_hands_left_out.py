"""Receivers of the page that cannot be put together at a worker's start: left out, and tried again."""

from __future__ import annotations

import pytest

from hoichan.adapters.sink_fhir import FhirSink
from hoichan.errors import ConfigurationError, Unreachable
from hoichan.settings import Settings
from hoichan.testing.tokens import private_key
from hoichan.types import DeliveryState
from service import wiring, wiring_receivers
from service.hands import hands_of, of_the_page, renewed, sinks_of
from service.outbox import AWAITED, Outbox
from service.receivers import TRY_AGAIN_SECONDS, InForce, Live
from service.wiring_receivers import NotMade
from tests.unit.service.test_hands import EMR, Site

OTHER = {**EMR, "name": "emr3", "url": "https://10.1.2.4/other"}


class Restarted(Site):
    """A worker that starts after the page has written."""

    def restart(self):
        self.house = wiring.open_house(self.house.receivers.file)
        self.hands = hands_of(self.house, may_lack=of_the_page(self.house.receivers))
        self.in_force = InForce(
            self.house.receivers,
            self.rows,
            self.put,
            left_out=lambda: self.hands.left_out,
            monotonic=lambda: self.seconds,
        )
        self.outbox = Outbox(
            self.house.studies,
            Live(lambda: self.hands.sinks),
            self.house.clock,
            self.house.settings.work,
            self.house.work,
            awaited=self.in_force.awaits,
        )

    def try_again(self):
        self.seconds += TRY_AGAIN_SECONDS
        return self.in_force.look()


@pytest.fixture
def site(tmp_path):
    opened = Restarted(tmp_path)
    yield opened
    opened.house.engine.dispose()


def test_the_others_work_and_what_is_for_it_waits(site):
    site.write(site.folder("share"), EMR)  # its key file is not there
    site.restart()
    assert dict(site.hands.left_out) == {"emr2": "configuration"}
    site.arrives(site.report())
    assert len(site.files("share")) == 1
    assert "emr2" in site.hands.destinations  # reports are planned for it
    key = site.report(to="emr2")
    site.outbox.deliver(key)
    assert (site.row(key).state, site.row(key).acknowledgement) == (DeliveryState.PENDING, AWAITED)
    assert site.house.work.receivers()["emr2"].detail == AWAITED  # asked once an hour, not every minute
    with pytest.raises(Unreachable):
        site.hands.probes["emr2"]()


def test_a_mended_file_is_taken_without_a_restart_and_not_before_half_a_minute(site):
    site.write(site.folder("share"), EMR)
    site.restart()
    share = site.hands.sinks["share"]
    assert not site.in_force.look() and site.puts == 0
    assert not site.try_again() and site.puts == 1
    assert dict(site.hands.left_out) == {"emr2": "configuration"}
    private_key(site.key.parent).rename(site.key)
    assert not site.in_force.look() and site.puts == 1  # its half minute is not over
    assert site.try_again() and not site.hands.left_out
    assert isinstance(site.hands.sinks["emr2"], FhirSink)
    assert site.hands.sinks["share"] is share  # and what it knows
    assert not site.try_again() and site.puts == 2


def test_another_version_is_taken_while_one_is_left_out(site):
    site.write(EMR)
    site.restart()
    site.write(site.folder("share"), EMR)
    assert site.in_force.look() and site.in_force.refused is None
    assert dict(site.hands.left_out) == {"emr2": "configuration"}
    site.arrives(site.report())
    site.write(site.folder("share"), EMR, OTHER)  # while it runs nothing new is left out
    assert not site.in_force.look() and site.in_force.refused == (3, "configuration")
    site.write(site.folder("share"))
    assert site.in_force.look() and not site.hands.left_out


def test_a_receiver_that_has_not_changed_works_on_where_its_file_is_gone(site):
    private_key(site.key.parent).rename(site.key)
    site.write(EMR)
    site.restart()
    emr = site.hands.sinks["emr2"]
    site.key.unlink()
    site.write(EMR, site.folder("share"))
    assert site.in_force.look() and not site.hands.left_out
    assert site.hands.sinks["emr2"] is emr


def test_images_for_it_and_questions_to_it_wait_too():
    pacs = {"kind": "dicom", "name": "pacs2", "host": "10.1.2.4", "port": 104, "ae_title": "PACS2"}
    rule = {"name": "to_pacs2", "to": ["pacs2"]}
    settings = Settings.model_validate({"destinations": [{**pacs, "commitment": True}], "forward": [rule]})
    courier = wiring_receivers.couriers(settings, without=["pacs2"])["pacs2"]
    _, asked = wiring_receivers.pacs(settings, without=["pacs2"])["pacs2"]
    for call in (lambda: courier.bring([]), lambda: asked.ask("1.2.3", [], hear=print)):
        with pytest.raises(Unreachable) as said:
            call()
        assert (said.value.detail, said.value.not_taken) == (AWAITED, True)


def test_a_receiver_of_the_file_that_cannot_be_made_still_stops_the_start(site, tmp_path):
    file = {
        "storage": {"data_dir": tmp_path / "other", "reserve_bytes": 0},
        "destinations": [
            {
                "kind": "fhir",
                "name": "emr",
                "url": "https://10.1.2.4/fhir",
                "auth": {"kind": "smart", "client_id": "hoichan", "private_key": site.key},
            }
        ],
    }
    house = wiring.open_house(Settings.model_validate(file))
    try:
        with pytest.raises(ConfigurationError):
            hands_of(house, may_lack=of_the_page(house.receivers))
        assert isinstance(sinks_of(house)["emr"], NotMade)  # a child of a worker does what it can
    finally:
        house.engine.dispose()


def test_whoever_renews_leaves_the_old_as_they_were(site):
    site.write(site.folder("share"), EMR)
    site.restart()
    before = site.hands
    renewed(before, site.house.receivers)
    assert site.hands is before and dict(before.left_out) == {"emr2": "configuration"}
