"""Rules from the record to the receivers: durable, once, in another syntax or without the person."""

from __future__ import annotations

import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from hoichan.adapters.forwards_sql import ForwardsSql
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import Unreachable
from hoichan.intake.assembly import merge
from hoichan.intake.dataset import read_spooled
from hoichan.intake.files import take_in
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import split
from hoichan.reporting.forwarding import ForwardState, Told
from hoichan.settings import FolderDestination, Forward, Work
from hoichan.testing.datasets import encode, film, rejection_note
from hoichan.testing.files import as_file
from hoichan.testing.reading import a_record, assemble, keep
from hoichan.testing.reports import a_refused_report, a_report
from hoichan.types import RefusalCode
from service.forwarding import Forwarding
from tests.unit.service.api.dicomweb_site import sample

KEY = bytes(range(32))


class FakeCourier:
    """Keeps data sets; answers as it is told."""

    def __init__(self):
        self.taken, self.calls, self.answer, self.refuses = {}, 0, "yes", set()
        self.poison, self.fault = "", None

    def bring(self, pieces):
        self.calls += 1
        for number, one in enumerate(pieces):
            if one.sop_instance_uid == self.poison:
                raise self.fault
            if self.answer == "away" or (self.answer == "cut" and number == 1):
                raise Unreachable("far", "cut")
            if self.answer == "unwanted":
                yield Told(
                    errand=one.errand,
                    state=ForwardState.PENDING,
                    detail="association rejected (source 1, reason 3)",
                    later=True,
                    not_wanted=True,
                )
                continue
            if self.answer == "never" or one.transfer_syntax_uid in self.refuses:
                yield Told(
                    errand=one.errand,
                    state=ForwardState.DEAD,
                    detail="no",
                    syntax_refused=one.transfer_syntax_uid in self.refuses,
                )
                continue
            self.taken[one.sop_instance_uid] = one.file.read_bytes()
            yield Told(errand=one.errand, state=ForwardState.SENT, detail="0x0000")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database at the schema of today: to copy one is faster than to make one."""
    folder = tmp_path_factory.mktemp("empty")
    a_record(folder).engine.dispose()
    return folder / "hoichan.sqlite"


class House:
    def __init__(self, folder, empty, **rule):
        (folder / "data").mkdir()
        shutil.copy(empty, folder / "data")
        self.record = a_record(folder / "data")
        self.spool = DiskSpool(self.record.spool_root, reserve_bytes=0)
        self.far = FakeCourier()
        self.forwards = ForwardsSql(self.record.engine, self.record.clock)
        self.folder = folder
        self.seconds = 0.0
        self.is_on = True
        self.awaited = set()  # rules that another process knows already
        self.key = lambda: KEY
        self.alone = lambda errand: False  # there is no process of its own
        self.rules = [Forward(**{"name": "all", "to": ("far",), **rule})] if rule is not None else []
        self.forwarding = self.again()
        self.forwarding.begin()

    def again(self):
        """The same house after a restart."""
        far = FolderDestination(name="far", kind="folder", path=self.folder / "far", active=self.is_on)
        return Forwarding(
            self.rules,
            destinations={"far": far},
            couriers={"far": self.far},
            forwards=self.forwards,
            studies=self.record.studies,
            spool=self.spool,
            work=Work(),
            key=self.key,
            folder=self.folder / "drawer",
            awaited=lambda rule: rule in self.awaited,
            alone=self.alone,
            monotonic=lambda: self.seconds,
        )

    def later(self, seconds):
        self.record.clock.advance(seconds)
        self.seconds += seconds

    def take(self, *files, sender="CR1"):
        """Objects of one study, filed, recorded and closed."""
        self.record.clock.advance(1)
        stored = [take_in(self.spool, one, calling_ae_title=sender) for one in files]
        uid = stored[0].study_instance_uid
        parts = [
            read_spooled(self.spool, one, self.record.settings.site.zone) for one in self.spool.listing(uid)
        ]
        self.record.studies.add_arrivals(merge(parts), merge(parts).instances)
        return assemble(self.record, replace(self.record.studies.current(uid), closed_by="test"))

    def run(self):
        self.forwarding.plan()
        return self.forwarding.send("far")

    def states(self):
        return {one.state.value: one.instances for one in self.forwards.standing()}

    def events(self, study):
        return [one.event for one in self.record.studies.trail(study.study_instance_uid)]


@pytest.fixture
def house(tmp_path, empty, request):
    made = House(tmp_path, empty, **getattr(request, "param", {}))
    yield made
    made.record.engine.dispose()
    assert not list((tmp_path / "drawer").glob("*"))  # nothing of a patient stays behind


def rule(**values):
    return pytest.mark.parametrize("house", [values], indirect=True)


def test_a_closed_study_goes_on_byte_for_byte_and_once(house):
    study = house.take(as_file(film()), as_file(film(instance="2")))
    assert house.run() == 2
    assert {uid: split(one).data_set for uid, one in house.far.taken.items()} == {
        film().SOPInstanceUID: encode(film()),
        film(instance="2").SOPInstanceUID: encode(film(instance="2")),
    }
    assert house.run() == 0 and house.far.calls == 1
    assert house.states() == {"sent": 2}
    assert house.events(study)[-2:] == ["forward_planned", "forward_sent"]


def test_a_late_image_goes_on_alone(house):
    house.take(as_file(film()))
    house.run()
    house.take(as_file(film(instance="late")))
    assert house.run() == 1 and len(house.far.taken) == 2


def test_what_was_here_before_the_rule_stays(house):
    house.take(as_file(film()))
    house.rules = [Forward(name="new", to=("far",))]
    house.forwarding = house.again()
    house.record.clock.advance(1)
    house.forwarding.begin()
    assert house.run() == 0
    house.take(as_file(film(study="next")))
    assert house.run() == 1


def test_nothing_is_lost_while_the_receiver_is_away(house):
    study = house.take(as_file(film()), as_file(film(instance="2")))
    house.far.answer = "away"
    assert house.run() == 0
    assert house.run() == 0 and house.far.calls == 1  # it rests
    house.forwarding = house.again()  # and a restart forgets nothing
    house.far.answer = "yes"
    assert house.run() == 0  # not due yet
    house.later(6)
    assert house.run() == 2
    assert house.events(study).count("forward_postponed") == 1


def test_a_cut_in_the_middle_sends_the_rest_later(house):
    house.take(*(as_file(film(instance=str(number))) for number in range(3)))
    house.far.answer = "cut"
    assert house.run() == 1 and house.states() == {"sent": 1, "pending": 2}
    house.far.answer = "yes"
    house.later(6)
    assert house.run() == 2 and len(house.far.taken) == 3


@pytest.mark.parametrize("fault", [Unreachable("far", "cut"), AttributeError("a value of the data set")])
def test_an_object_that_ends_the_line_does_not_hold_up_those_behind_it(house, fault):
    study = house.take(*(as_file(film(instance=str(number))) for number in range(4)))
    house.far.poison, house.far.fault = film(instance="1").SOPInstanceUID, fault
    for _ in range(4):
        house.run()
        house.later(600)
    assert house.states() == {"sent": 3, "pending": 1}
    assert all(
        "data set" not in str(one.details) for one in house.record.studies.trail(study.study_instance_uid)
    )


def test_a_refusal_is_a_dead_letter_that_a_person_can_send_again(house):
    study = house.take(as_file(film()))
    house.far.answer = "never"
    house.run()
    house.later(10_000)
    assert house.run() == 0 and house.states() == {"dead": 1}
    house.far.answer = "yes"
    assert house.forwards.retry(study.study_instance_uid) == 1
    assert house.run() == 1 and house.states() == {"sent": 1}
    assert house.forwards.retry(study.study_instance_uid) == 0  # what was sent is not sent again


def test_who_refuses_us_for_a_week_is_given_up_with_the_cause_until_a_person_sends_again(house):
    house.far.answer = "unwanted"
    study = house.take(as_file(film()))
    house.run()
    house.later(6 * 86_400)
    house.run()
    assert house.states() == {"pending": 1}
    house.later(86_400)
    house.run()
    (standing,) = house.forwards.standing()
    assert (standing.state, standing.detail) == ("dead", "association rejected (source 1, reason 3)")
    assert house.events(study)[-1] == "forward_dead"
    house.later(86_400)
    house.far.answer = "yes"
    house.run()
    assert house.states() == {"dead": 1}
    house.forwards.retry(study.study_instance_uid)
    house.run()
    assert house.states() == {"sent": 1}


def test_a_lost_file_is_told_and_holds_nobody_up(house):
    study = house.take(as_file(film()), as_file(film(instance="2")))
    house.spool.file(study.instances[0].path).unlink()
    house.run()
    assert house.states() == {"dead": 1, "sent": 1}


def test_a_rule_that_is_gone_sends_nothing_more(house):
    house.take(as_file(film()))
    house.forwarding.plan()
    house.rules = []
    house.forwarding = house.again()
    house.run()
    assert house.states() == {"dead": 1} and not house.far.taken


@rule(states=("not_analysed",))
def test_a_rule_may_wait_for_the_answer(house):
    no, yes = house.take(as_file(film())), house.take(as_file(film(study="2")))
    assert house.run() == 0
    keep(house.record, no, a_refused_report(no, RefusalCode.NO_IMAGE))
    keep(house.record, yes, a_report(yes))
    assert house.run() == 1 and set(house.far.taken) == {film().SOPInstanceUID}


@rule(states=("failed",))
def test_what_failed_goes_where_a_rule_says(house):
    study = house.take(as_file(film()))
    house.record.studies.fail(study.study_instance_uid, study.revision, code="x")
    assert house.run() == 1


@rule(tiers=("urgent",))
def test_urgency_is_that_of_the_findings(house):
    study = house.take(as_file(film()))
    report = a_report(study)
    keep(house.record, study, report)
    assert house.run() == (1 if report.tier == "urgent" else 0)


@rule(active=False)
def test_a_rule_that_is_switched_off_finds_nothing_and_still_sends_what_waits(house):
    house.take(as_file(film()))
    assert house.run() == 0
    house.rules = [house.rules[0].model_copy(update={"active": True})]
    house.forwarding = house.again()
    assert house.forwarding.plan() == 1  # what came meanwhile
    house.rules = [house.rules[0].model_copy(update={"active": False})]
    house.forwarding = house.again()
    assert house.forwarding.send("far") == 1


@rule()
def test_a_receiver_that_is_switched_off_gets_no_new_images(house):
    house.is_on = False
    house.forwarding = house.again()
    house.take(as_file(film()))
    assert house.run() == 0 and not house.far.taken


# ---------------------------------------------------------------------- transfer syntaxes
J2K = "1.2.840.10008.1.2.4.90"


@rule(transcode="lossless")
def test_a_refused_syntax_is_unpacked_where_nothing_is_lost(house):
    house.far.refuses = {J2K}
    packed = sample("emri_small_jpeg_2k_lossless.dcm")
    house.take(packed)
    assert house.run() == 1
    (sent,) = house.far.taken.values()
    read, was = dcmread(BytesIO(sent)), dcmread(BytesIO(packed))
    assert read.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert read.SOPInstanceUID == was.SOPInstanceUID
    assert np.array_equal(read.pixel_array, was.pixel_array)


@rule(transcode="lossless")
def test_what_could_lose_something_is_refused_instead(house):
    lossy = sample("SC_rgb_jpeg_dcmtk.dcm")
    house.far.refuses = {str(dcmread(BytesIO(lossy)).file_meta.TransferSyntaxUID)}
    house.take(lossy)
    house.run()
    assert house.states() == {"dead": 1}


def test_nothing_is_unpacked_unless_the_rule_allows_it(house):
    house.far.refuses = {J2K}
    house.take(sample("emri_small_jpeg_2k_lossless.dcm"))
    house.run()
    assert house.states() == {"dead": 1}


# ---------------------------------------------------------------------- without the person
def clean_film(**names):
    made = film(**names)
    made.BurnedInAnnotation, made.RecognizableVisualFeatures = "NO", "NO"
    return made


@rule(deidentify={"keep_dates": True})
def test_the_person_stays_here_and_the_study_stays_together(house):
    house.take(as_file(clean_film()), as_file(clean_film(instance="2")))
    assert house.run() == 2
    sent = [dcmread(BytesIO(one)) for one in house.far.taken.values()]
    assert len({one.StudyInstanceUID for one in sent}) == 1
    assert {film().StudyInstanceUID, film().SOPInstanceUID}.isdisjoint(
        {one.StudyInstanceUID for one in sent} | {one.SOPInstanceUID for one in sent}
    )
    for one, raw in zip(sent, house.far.taken.values(), strict=True):
        assert one.PatientIdentityRemoved == "YES" and one.StudyDate != "20261120"
        assert b"BN0001" not in raw and "Nguyễn".encode() not in raw
    house.take(as_file(clean_film(instance="3")))
    house.run()
    assert len({dcmread(BytesIO(one)).StudyInstanceUID for one in house.far.taken.values()}) == 1


@rule(deidentify={})
def test_pixels_that_may_name_somebody_are_held_until_a_person_has_looked(house):
    study = house.take(as_file(film()))
    house.run()
    assert house.states() == {"held": 1} and not house.far.taken
    assert house.forwards.retry(study.study_instance_uid) == 0
    assert house.forwards.release(study.study_instance_uid) == 1
    assert house.run() == 1 and house.far.taken
    assert "forward_held" in house.events(study) and "forward_released" in house.events(study)


@rule(deidentify={"allow_pixel_risk": True})
def test_a_site_may_take_that_risk_on(house):
    house.take(as_file(film()))
    assert house.run() == 1 and house.states() == {"sent": 1}


@rule(deidentify={"allow_pixel_risk": True})
def test_what_no_profile_can_clean_is_not_sent(house):
    house.take(sample("test-SR.dcm"))
    house.run()
    assert house.states() == {"dead": 1} and not house.far.taken


@rule(deidentify={"allow_pixel_risk": True})
def test_images_that_were_taken_back_do_not_leave_without_their_note(house):
    bad = film(instance="2")
    house.take(as_file(film()), as_file(bad), as_file(rejection_note(bad)))
    house.run()
    assert house.states() == {"sent": 1, "dead": 1}  # the note itself cannot be cleaned
