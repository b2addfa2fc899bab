"""Images that kill who sends them on: counted starts, one by one, alone, set aside."""

# ruff: noqa: F811  fixtures are named as they are imported

from __future__ import annotations

import os
import time

import pytest

from hoichan.adapters import frames
from hoichan.errors import RecordsUnavailable
from hoichan.reporting.forwarding import ForwardState, Told
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from service.causes import cause_of
from service.forwarding import BATCH, LEFT_BEHIND_SECONDS
from service.starts import KILLS_WORKER
from tests.unit.service.api.dicomweb_site import sample
from tests.unit.service.test_forwarding import empty, house, rule  # noqa: F401  fixtures

FIRST, SECOND = sorted([film().SOPInstanceUID, film(instance="2").SOPInstanceUID])  # as they are sent


class Alone:
    """A process of its own, which is killed or does as told; the images that it was given."""

    def __init__(self, does=lambda errand: None, *, killed=False):
        self.does, self.killed, self.uids = does, killed, []

    def __call__(self, errand):
        self.uids.append(errand.sop_instance_uid)
        self.does(errand)
        return not self.killed


def two_images(house):
    study = house.take(as_file(film()), as_file(film(instance="2")))
    house.forwarding.plan()
    return study


def killed(house, times):
    """As if so many workers had died in the middle of a try of whatever is next."""
    for _ in range(times):
        assert house.forwards.begin_try(house.forwards.due("far", BATCH))


def starts(house):
    """How often each image that waits was begun without an end."""
    found = {}
    while waiting := house.forwards.due("far", BATCH):
        found |= {one.sop_instance_uid: one.begun for one in waiting}
        house.forwards.settle([Told(errand=one, state=ForwardState.SENT, detail="ok") for one in waiting], {})
    return found


def with_alone(house, alone):
    house.alone = alone
    house.forwarding = house.again()
    return house.forwarding


def test_a_start_is_counted_before_anything_is_sent(house):
    two_images(house)
    seen = []
    bring = house.far.bring
    house.far.bring = lambda pieces: seen.append(house.forwards.due("far", BATCH)) or bring(pieces)
    house.forwarding.send("far")
    assert [[one.begun for one in waiting] for waiting in seen] == [[1]]
    assert house.states() == {"sent": 2}


def test_after_a_death_they_go_one_by_one(house):
    two_images(house)
    killed(house, 1)
    alone = Alone()
    assert with_alone(house, alone).send("far") == 2
    assert (house.far.calls, alone.uids) == (2, [])


def test_what_was_not_on_its_way_goes_together(house):
    two_images(house)
    killed(house, 1)
    house.take(*(as_file(film(instance=str(number))) for number in (3, 4)))
    assert house.run() == 4
    assert house.far.calls == 3


def test_what_killed_twice_is_tried_alone_and_may_arrive(house):
    two_images(house)
    killed(house, 2)
    inside = house.forwarding
    alone = Alone(inside.send_alone)
    with_alone(house, alone).send("far")
    assert (alone.uids, house.states()) == ([FIRST], {"sent": 2})


def test_what_kills_a_process_of_its_own_too_is_set_aside_alone(house):
    study = two_images(house)
    killed(house, 2)
    alone = Alone(killed=True)
    with_alone(house, alone).send("far")
    assert (alone.uids, set(house.far.taken)) == ([FIRST], {SECOND})
    (dead,) = house.forwards.wants_a_person(10)
    assert (dead.state, dead.instances, dead.detail) == (ForwardState.DEAD, 1, KILLS_WORKER)
    assert cause_of(dead.detail) == "kills_worker"
    assert "forward_set_aside" in house.events(study)
    house.later(10_000)
    assert house.run() == 0 and alone.uids == [FIRST], "nobody tries it any more"


def test_a_retry_begins_the_count_anew(house):
    study = two_images(house)
    killed(house, 2)
    with_alone(house, Alone(killed=True)).send("far")
    assert house.forwards.retry(study.study_instance_uid) == 1
    assert house.run() == 1 and house.states() == {"sent": 2}


def test_without_a_process_of_its_own_it_is_set_aside_at_once(house):
    two_images(house)
    killed(house, 2)
    house.forwarding.send("far")
    assert house.states() == {"dead": 1, "sent": 1}


def test_what_was_said_before_the_process_of_its_own_died_stands(house):
    study = two_images(house)
    killed(house, 2)
    inside = house.forwarding
    house.far.answer = "away"
    with_alone(house, Alone(inside.send_alone, killed=True)).send("far")
    assert house.states() == {"pending": 2}
    assert "forward_set_aside" not in house.events(study)


def test_an_answer_ends_the_count(house):
    two_images(house)
    killed(house, 1)
    house.far.answer = "away"
    house.forwarding.send("far")
    house.later(60)
    assert starts(house) == {FIRST: 0, SECOND: 1}


def test_an_error_that_the_worker_survives_is_no_death(house):
    def away(*_words):
        raise RecordsUnavailable

    two_images(house)
    settle, house.forwards.settle = house.forwards.settle, away
    for _ in range(3):
        with pytest.raises(RecordsUnavailable):
            house.forwarding.send("far")
    house.forwards.settle = settle
    assert starts(house) == {FIRST: 0, SECOND: 0}


def test_one_alone_that_could_not_be_tried_is_tried_alone_again(house):
    def away(_errand):
        raise RecordsUnavailable

    two_images(house)
    killed(house, 2)
    alone = Alone(away)
    forwarding = with_alone(house, alone)
    for _ in range(2):
        with pytest.raises(RecordsUnavailable):
            forwarding.send("far")
    assert alone.uids == [FIRST, FIRST]
    assert starts(house) == {FIRST: 2, SECOND: 1}


def test_a_worker_that_is_asked_to_end_was_not_killed(house):
    two_images(house)
    seen = []
    bring = house.far.bring

    def slow(pieces):
        house.forwarding.stop()  # and then its time is over
        seen.extend(one.begun for one in house.forwards.due("far", BATCH))
        return bring(pieces)

    house.far.bring = slow
    house.forwarding.send("far")
    assert seen == [0, 0], "the start that was cut off does not count"
    assert house.states() == {"sent": 2}, "one that still ends is not lost"


def test_a_worker_that_ends_begins_nothing(house):
    two_images(house)
    house.forwarding.stop()
    with pytest.raises(RecordsUnavailable):
        house.forwarding.send("far")
    assert house.far.calls == 0 and starts(house) == {FIRST: 0, SECOND: 0}


def test_a_process_of_its_own_waits_for_a_rule_that_it_does_not_know(house):
    two_images(house)
    (errand, _) = house.forwards.due("far", BATCH)
    house.rules, house.awaited = [], {"all"}
    house.again().send_alone(errand)
    assert house.states() == {"pending": 2}


@rule(deidentify={"allow_pixel_risk": True})
def test_an_image_that_the_memory_cannot_hold_does_not_hold_up_those_behind_it(house):
    def key():
        asked.append(1)
        if len(asked) == 1:
            raise MemoryError
        return bytes(32)

    asked = []
    house.key = key
    house.forwarding = house.again()
    study = two_images(house)
    house.forwarding.send("far")
    assert house.states() == {"sent": 1, "pending": 1}
    assert "forward_postponed" in house.events(study)


@rule(transcode="lossless")
def test_an_image_that_the_memory_cannot_unpack_waits(house, monkeypatch):
    def too_large(*_what):
        raise MemoryError

    packed = sample("emri_small_jpeg_2k_lossless.dcm")
    house.far.refuses = {"1.2.840.10008.1.2.4.90"}
    monkeypatch.setattr(frames, "converted", too_large)
    house.take(packed)
    house.run()
    (waits,) = house.forwards.standing()
    assert (waits.state, waits.detail) == (ForwardState.PENDING, "out_of_memory")


def test_changed_images_that_a_killed_process_left_go_after_a_day(house):
    folder = house.folder / "drawer"
    for name, age in (("old", LEFT_BEHIND_SECONDS + 60), ("young", 60)):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.dcm").write_bytes(b"x")
        then = time.time() - age
        os.utime(folder / name, (then, then))
    two_images(house)
    house.forwarding.send("far")
    assert [one.name for one in folder.iterdir()] == ["young"]
    (folder / "young" / "1.dcm").unlink()
    (folder / "young").rmdir()
