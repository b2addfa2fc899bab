"""What processes count: names by the conventions, values that are neither lost nor counted twice."""

import re
import threading

import pytest

from hoichan.meters import DELIVERY_SECONDS, INSTANCES_RECEIVED, METERS, SUM, Key, Tally


def test_names_follow_the_conventions():
    assert len({meter.name for meter in METERS}) == len(METERS)
    for meter in METERS:
        assert re.fullmatch(r"[a-z][a-z_]*", meter.name)
        assert meter.name.endswith("_seconds") if meter.buckets else meter.name.endswith("_total")
        assert meter.help.endswith(".")
        assert list(meter.buckets) == sorted(set(meter.buckets))


def test_what_is_taken_is_taken_once():
    tally = Tally()
    tally.add(INSTANCES_RECEIVED, "CR_ROOM1", "stored")
    tally.add(INSTANCES_RECEIVED, "CR_ROOM1", "stored", amount=2)
    taken = tally.take()
    assert taken == {Key("instances_received_total", ("CR_ROOM1", "stored")): 3}
    assert tally.take() == {}
    tally.add(INSTANCES_RECEIVED, "CR_ROOM1", "stored")
    tally.give_back(taken)
    assert sum(tally.take().values()) == 4


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (0.05, 0), (0.050001, 1), (300.0, 10), (301.0, 11)])
def test_a_value_falls_into_its_bucket(value, bucket):
    tally = Tally()
    tally.observe(DELIVERY_SECONDS, "pacs", value=value)
    name = DELIVERY_SECONDS.name
    assert tally.take() == {Key(name, ("pacs",), str(bucket)): 1, Key(name, ("pacs",), SUM): value}


def test_wrong_labels_are_a_mistake_of_ours():
    with pytest.raises(ValueError, match="labels"):
        Tally().add(INSTANCES_RECEIVED, "CR_ROOM1")
    with pytest.raises(ValueError, match="no histogram"):
        Tally().observe(INSTANCES_RECEIVED, "CR_ROOM1", "stored", value=1)


def test_threads_lose_nothing():
    tally, taken = Tally(), []

    def count():
        for _ in range(2_000):
            tally.add(INSTANCES_RECEIVED, "CR", "stored")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        taken.append(tally.take())
    for thread in threads:
        thread.join(30)
    taken.append(tally.take())
    assert sum(value for one in taken for value in one.values()) == 8_000
