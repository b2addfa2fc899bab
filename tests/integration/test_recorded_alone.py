"""An object that kills who records it: set aside, told, and taken up again when a person asks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from hoichan.adapters.halted_read import halted
from hoichan.adapters.set_aside_sql import WHOLE, SetAsideSql
from hoichan.adapters.sight import Sight
from hoichan.adapters.spool_identity import identity_of
from hoichan.adapters.spool_taken import BLAMED_AFTER, FIRST_REST_SECONDS
from hoichan.errors import KilledItsRecorders, NotRecorded, RecordsUnavailable
from hoichan.settings import load
from hoichan.testing.database import prepared
from hoichan.testing.datasets import film
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeClock, FakeEngine
from hoichan.testing.spool import bring
from hoichan.types import StudyState
from service import explain, steering
from service.alone import record_alone
from service.arrivals import MOST_DEADLY, MOST_STUMBLES, Arrivals
from service.aside import record, set_aside
from service.order_of_work import Line
from service.wiring import open_house

CODE = KilledItsRecorders.code


@pytest.fixture
def house(tmp_path):
    opened = open_house(prepared(load(data_dir=tmp_path / "data", environment={})))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def aside(house):
    return set_aside(house)


def receive(house, data_set):
    return bring(house.spool, data_set).sop_instance_uid


def halted_of(house):
    with house.engine.connect() as connection:
        return halted(connection, Sight(), 9)[0]


def watch(house, aside, alone, *, spool=None, clock=None, corrections=None):
    line = Line(house.work, house.studies, FakeEngine(), house.clock, house.settings, lambda study: ())
    return Arrivals(
        spool or house.spool,
        house.studies,
        line,
        clock or house.clock,
        house.settings,
        originals=house.spool.originals,
        corrections=corrections,
        aside=aside,
        alone=alone,
    )


def blamed(house, uid):
    """As if processes had died looking at the study, long ago."""
    mark = house.settings.storage.spool_dir / "fresh" / uid
    mark.write_bytes(b"." * BLAMED_AFTER)
    long_ago = time.time() - FIRST_REST_SECONDS - 1
    os.utime(mark, (long_ago, long_ago))


class Deadly:
    """Dies of some instances, one after the other, until none of them is left to be read."""

    def __init__(self, house, aside, *deadly):
        self.house, self.aside, self.deadly, self.calls = house, aside, deadly, 0

    def __call__(self, uid):
        self.calls += 1
        return next((one for one in self.deadly if one not in self.aside.of(uid)), None)


def test_a_study_that_killed_nobody_is_recorded_by_the_worker_itself(house, aside):
    made = film()
    receive(house, made)
    alone = Deadly(house, aside)
    watch(house, aside, alone).step()
    assert alone.calls == 0
    assert len(house.studies.current(made.StudyInstanceUID).instances) == 1


def test_what_kills_is_set_aside_and_the_other_images_are_recorded(house, aside):
    made = film()
    uid = made.StudyInstanceUID
    receive(house, made)
    bad = receive(house, film(instance="deadly"))
    blamed(house, uid)
    arrivals = watch(house, aside, Deadly(house, aside, bad))
    arrivals.step()
    assert [one.sop_instance_uid for one in house.studies.current(uid).instances] == [made.SOPInstanceUID]
    assert [(one.sop_instance_uid, one.code) for one in aside.standing()] == [(bad, CODE)]
    told = [line for line in house.studies.trail(uid) if line.event == "object_set_aside"]
    assert [line.details for line in told] == [{"instance": bad, "code": CODE}]
    house.spool.mark_fresh(uid)
    arrivals.step()  # not read again
    assert len(house.studies.current(uid).instances) == 1


def test_a_replay_has_it_looked_at_again(house, aside):
    made = film()
    uid = made.StudyInstanceUID
    bad = receive(house, made)
    blamed(house, uid)
    watch(house, aside, Deadly(house, aside, bad)).step()
    assert house.studies.current(uid) is None
    assert steering.find(house, uid) == [uid]
    assert [line for line in explain.where(house, uid) if bad in line and CODE in line]
    assert house.steering.release(uid) == 1
    assert aside.standing() == []
    elsewhere = SetAsideSql(house.engine, house.clock, lambda: "another spool")
    assert elsewhere.released() == []
    later = watch(house, aside, Deadly(house, aside))
    later.take_over()
    later.step()
    assert len(house.studies.current(uid).instances) == 1
    assert aside.released() == []
    assert house.steering.release(uid) == 0


def test_where_nobody_knows_of_what_the_whole_study_is_set_aside(house, aside):
    made = film()
    uid = made.StudyInstanceUID
    receive(house, made)
    record(house, uid, lambda instance: None)  # on record, and then something kills
    blamed(house, uid)
    alone = Deadly(house, aside, WHOLE)
    arrivals = watch(house, aside, alone)
    arrivals.step()
    study = house.studies.current(uid)
    assert study.state is StudyState.FAILED
    assert aside.of(uid) == {WHOLE}
    house.spool.mark_fresh(uid)
    arrivals.step()
    assert alone.calls == 1, "nobody looks at it any more"
    house.steering.release(uid)
    assert house.studies.current(uid).state is StudyState.RECEIVING


def test_one_with_too_many_deadly_images_is_set_aside_whole(house, aside):
    uid = film().StudyInstanceUID
    bad = [receive(house, film(instance=f"deadly {number}")) for number in range(MOST_DEADLY + 1)]
    blamed(house, uid)
    watch(house, aside, Deadly(house, aside, *bad)).step()
    assert WHOLE in aside.of(uid)
    assert house.studies.current(uid) is None


class Stumbling:
    """A spool with one file at whose reading the program raises what nobody foresaw."""

    def __init__(self, spool, bad):
        self.spool, self.bad, self.is_mended = spool, bad, False

    def __getattr__(self, name):
        return getattr(self.spool, name)

    def file(self, path):
        if path.stem == self.bad and not self.is_mended:
            raise TypeError("somebody's words")
        return self.spool.file(path)


class Later(FakeClock):
    """A clock that goes on by more than a minute whenever a round is over."""

    def rounds(self, arrivals, count):
        for _ in range(count):
            arrivals.step()
            self.advance(61)


def stumbling(house, aside, bad):
    spool, clock = Stumbling(house.spool, bad), Later(house.clock.now())
    made = watch(house, aside, Deadly(house, aside), spool=spool, clock=clock)
    return made, spool, clock


def test_what_we_stumble_over_each_time_is_set_aside_and_the_others_go_on(house, aside, capsys):
    made = film()
    uid = made.StudyInstanceUID
    receive(house, made)
    bad = receive(house, film(instance="odd"))
    arrivals, _, clock = stumbling(house, aside, bad)
    clock.rounds(arrivals, MOST_STUMBLES - 1)
    assert aside.standing() == []
    clock.rounds(arrivals, 2)
    assert [(one.sop_instance_uid, one.code) for one in aside.standing()] == [(bad, NotRecorded.code)]
    assert [one.sop_instance_uid for one in house.studies.current(uid).instances] == [made.SOPInstanceUID]
    assert [one.code for one in halted_of(house)] == [NotRecorded.code]
    assert "somebody's words" not in "".join(capsys.readouterr())


def test_after_a_start_what_we_stumbled_over_is_looked_at_again(house, aside):
    bad = receive(house, film())
    uid = film().StudyInstanceUID
    arrivals, spool, clock = stumbling(house, aside, bad)
    clock.rounds(arrivals, MOST_STUMBLES + 1)
    assert house.studies.current(uid) is None
    assert [one.sop_instance_uid for one in aside.standing()] == [bad]
    spool.is_mended = True
    arrivals.recover()
    clock.rounds(arrivals, 1)
    assert [one.sop_instance_uid for one in house.studies.current(uid).instances] == [bad]
    assert aside.standing() == []
    assert "set_aside_tried_anew" in [line.event for line in house.studies.trail(uid)]


def test_what_killed_is_not_looked_at_again_by_a_start(house, aside):
    bad = receive(house, film())
    blamed(house, film().StudyInstanceUID)
    arrivals = watch(house, aside, Deadly(house, aside, bad))
    arrivals.step()
    arrivals.recover()
    assert [one.sop_instance_uid for one in aside.standing()] == [bad]


def test_a_study_that_stumbles_behind_its_reading_is_set_aside_whole(house, aside):
    made = film()
    uid = made.StudyInstanceUID
    receive(house, made)

    class Broken:
        def may_go_on(self, study):
            raise LookupError

        def arrived(self, parts):
            """Nobody to ask about."""

    clock, alone = Later(house.clock.now()), Deadly(house, aside)
    clock.rounds(watch(house, aside, alone, clock=clock, corrections=Broken()), MOST_STUMBLES + 2)
    study = house.studies.current(uid)
    assert (study.state, aside.of(uid)) == (StudyState.FAILED, {WHOLE})
    assert [(one.code, one.images) for one in halted_of(house)] == [(NotRecorded.code, 0)]
    newer = watch(house, aside, alone, clock=clock)
    newer.recover()
    clock.rounds(newer, 1)
    assert house.studies.current(uid).state is not StudyState.FAILED


def test_one_with_too_many_odd_images_is_set_aside_whole(house, aside):
    uid = film().StudyInstanceUID
    for number in range(MOST_DEADLY + 1):
        receive(house, film(instance=f"odd {number}"))
    arrivals, spool, clock = stumbling(house, aside, None)
    spool.file = lambda path: int(f"no number: {path}")
    clock.rounds(arrivals, (MOST_STUMBLES + 1) * (MOST_DEADLY + 1))
    assert WHOLE in aside.of(uid)


def test_a_study_that_is_not_to_blame_is_recorded_alone(house):
    made = film()
    receive(house, made)
    assert record_alone(house.settings, made.StudyInstanceUID) is None
    assert len(house.studies.current(made.StudyInstanceUID).instances) == 1


def test_what_is_read_is_told_before(house):
    bad = receive(house, film())
    told = []
    record(house, film().StudyInstanceUID, told.append)
    assert told == [bad, ""]


def test_one_that_is_killed_is_told_apart(house):
    bad = receive(house, film())

    def kill():
        wait_until(multiprocessing.active_children, seconds=60, what="a child")[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    died_of = record_alone(house.settings, film().StudyInstanceUID)
    killer.join(60)
    assert died_of in (WHOLE, bad)


def test_one_that_is_asked_to_end_is_not_to_blame(house):
    receive(house, film())

    def end():
        child = wait_until(multiprocessing.active_children, seconds=60, what="a child")[0]
        os.kill(child.pid, signal.SIGTERM)

    killer = threading.Thread(target=end)
    killer.start()
    with pytest.raises(RecordsUnavailable):
        record_alone(house.settings, film().StudyInstanceUID)
    killer.join(60)


def test_a_spool_has_one_name(house):
    spool_dir = house.settings.storage.spool_dir
    assert identity_of(spool_dir) == identity_of(spool_dir)
    assert len(identity_of(spool_dir)) == 32
