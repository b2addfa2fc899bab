"""Forwarding with rules and receivers that change while it runs."""

# ruff: noqa: F811  fixtures are named as they are imported

from __future__ import annotations

import threading

from hoichan.settings import FolderDestination, Forward
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from hoichan.testing.house import wait_until
from tests.unit.service.test_forwarding import FakeCourier, empty, house  # noqa: F401  fixtures


def test_images_by_a_rule_that_this_worker_does_not_know_yet_wait_for_it(house):
    """Another worker planned them, which had the newer receivers a moment before."""
    study = house.take(as_file(film()))
    house.forwarding.plan()
    rules, house.rules = house.rules, []
    house.awaited = {"all"}
    house.forwarding = house.again()
    assert house.forwarding.send("far") == 0
    assert house.states() == {"pending": 1} and "forward_postponed" in house.events(study)
    house.later(60)
    far = FolderDestination(name="far", kind="folder", path=house.folder / "far")
    house.forwarding.use(rules, destinations={"far": far}, couriers={"far": house.far})
    assert house.forwarding.send("far") == 1
    assert house.states() == {"sent": 1} and len(house.far.taken) == 1


def test_a_rule_that_nobody_knows_is_a_dead_letter(house):
    house.take(as_file(film()))
    house.forwarding.plan()
    house.rules = []
    house.forwarding = house.again()
    house.forwarding.send("far")
    assert house.states() == {"dead": 1}


def test_other_rules_and_receivers_count_while_it_runs(house):
    house.take(as_file(film()))
    house.far.answer = "away"
    house.run()
    house.later(1)  # a rule is about what is closed after it was made
    there = FakeCourier()
    moved = FolderDestination(name="far", kind="folder", path=house.folder / "moved")
    near = FolderDestination(name="near", kind="folder", path=house.folder / "near")
    rules = [*house.rules, Forward(name="more", to=("near",))]
    house.forwarding.use(
        rules, destinations={"far": moved, "near": near}, couriers={"far": there, "near": there}
    )
    house.record.clock.advance(60)  # its try is due; the rest of a receiver that has moved is over at once
    assert house.forwarding.send("far") == 1
    house.take(as_file(film(study="later")))
    house.forwarding.plan()
    assert house.forwarding.send("near") == 1 and len(there.taken) == 2
    assert house.far.taken == {}


def test_threads_are_started_for_receivers_that_come_later(house):
    stop = threading.Event()
    house.rules = []
    forwarding = house.again()
    near = FolderDestination(name="near", kind="folder", path=house.folder / "near")
    try:
        forwarding.start(leads=lambda: True, stop=stop)
        rule = Forward(name="more", to=("near",))
        forwarding.use([rule], destinations={"near": near}, couriers={"near": house.far})
        house.take(as_file(film(study="later")))
        wait_until(lambda: house.far.taken, seconds=60, what="an image that was sent on")
        wait_until(lambda: house.states().get("sent"), seconds=60, what="its row")
    finally:
        stop.set()
        for thread in threading.enumerate():
            if thread.name.startswith("forward-"):
                thread.join(60)
                assert not thread.is_alive()
