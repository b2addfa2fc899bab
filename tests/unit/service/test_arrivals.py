"""From spool to assembled studies, with a clock set by hand."""

from __future__ import annotations

import threading
from datetime import UTC, timedelta
from io import BytesIO
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from hoichan.adapters.database import open_database
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.recorded_sql import RecordedSql
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.errors import RecordsUnavailable, ValueNotKept
from hoichan.intake.dataset import read_spooled
from hoichan.intake.evidence import Notice, Source, StepState, keep
from hoichan.intake.rejections import withdrawn
from hoichan.reporting.deliveries import plan
from hoichan.settings import FolderDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.database import migrated
from hoichan.testing.datasets import encode, film, rejection_note
from hoichan.testing.ports import FakeClock, FakeEncoder, FakeEngine
from hoichan.testing.spool import FakeSpool
from hoichan.types import DeliveryState, DocumentKind, StudyState
from service.arrivals import Arrivals
from service.left_behind import LeftBehind
from service.order_of_work import Line

EXPLICIT = "1.2.840.10008.1.2.1"


class Watch(Arrivals):
    """With whoever gives the engine what is next, as in a worker that leads."""

    def step(self):
        did = super().step()
        self._line.dispatch(slots=50)
        return did


class Door:
    """A spool, a record and the watcher between them."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = FakeClock()
        self.spool = FakeSpool(now=self.clock.now)
        self.database = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.database)
        self.studies = StudiesSql(self.database, ObjectsDisk(folder / "objects"), self.clock)
        self.engine = FakeEngine()
        self.work = WorkSql(self.database, self.clock)
        self.arrivals = self.restarted()

    def close(self):
        self.spool.close()
        self.database.dispose()

    def restarted(self):
        self.line = Line(
            self.work,
            self.studies,
            self.engine,
            self.clock,
            Settings(),
            lambda study: ("cxr-demo",),
            monotonic=lambda: 0.0,
        )
        return Watch(self.spool, self.studies, self.line, self.clock, Settings())

    def receive(self, data_set):
        return self.spool.store(
            encode(data_set),
            transfer_syntax_uid=EXPLICIT,
            sop_class_uid=data_set.SOPClassUID,
            sop_instance_uid=data_set.SOPInstanceUID,
            calling_ae_title="CR1",
        ).study_instance_uid


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path)
    yield opened
    opened.close()


def test_a_clock_that_is_set_back_a_day_holds_no_study_for_a_day(door):
    uid = door.receive(film())
    door.arrivals.step()
    door.clock.advance(-86_400)
    door.arrivals.step()
    assert list(door.engine.studies) == [(uid, 1, 0)]


def test_while_nothing_changes_the_record_is_not_asked(door):
    door.receive(film())
    door.arrivals.step()
    asked = []
    sa.event.listen(door.database, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    for _ in range(4):
        door.clock.advance(1)
        Arrivals.step(door.arrivals)
    assert asked == []
    door.clock.advance(1)
    Arrivals.step(door.arrivals)
    assert asked


def test_an_association_that_ends_without_a_mark_is_noticed_within_a_second(door):
    """Its process died: nobody marks the study."""
    uid = door.receive(film())
    door.spool.opened(uid, "one")
    door.arrivals.step()
    door.clock.advance(6)
    door.arrivals.step()
    assert door.engine.studies == {}
    door.spool.released("one")
    door.spool.take_fresh()
    door.clock.advance(1)
    door.arrivals.step()
    assert list(door.engine.studies) == [(uid, 1, 0)]


def test_a_study_is_closed_after_the_quiet_time(door):
    uid = door.receive(film())
    door.arrivals.step()
    assert door.engine.studies == {}
    door.clock.advance(5)
    door.arrivals.step()
    assert list(door.engine.studies) == [(uid, 1, 0)]


def test_a_name_in_the_set_that_the_site_names_for_its_sender(door):
    settings = Settings(
        listener={"senders": [{"ae_title": "CR1", "host": "10.0.0.1", "character_set": "tcvn3"}]}
    )
    arrivals = Watch(door.spool, door.studies, door.line, door.clock, settings)
    old = film()
    old.SpecificCharacterSet = "ISO_IR 100"
    old.PatientName = b"Nguy\xd4n^Th\xde H\xe5ng^\xa7\xb5o".decode("latin-1")
    uid = door.receive(old)
    arrivals.step()
    assert door.studies.current(uid).patient.patient_name.reveal() == "Nguyễn^Thị Hồng^Đào"
    kept = dcmread(door.spool.file(door.spool.listing(uid)[0].path))
    assert kept.PatientName == old.PatientName  # the original stays as it came


def test_an_open_association_holds_the_study_back(door):
    uid = door.receive(film())
    door.spool.opened(uid, "a1")
    door.arrivals.step()
    door.clock.advance(60)
    door.arrivals.step()
    assert door.engine.studies == {}
    door.spool.released("a1")
    door.clock.advance(1)
    door.arrivals.step()
    assert list(door.engine.studies) == [(uid, 1, 0)]


def test_late_instance_makes_a_new_revision(door):
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    door.receive(film(instance="late"))
    door.clock.advance(5)
    door.arrivals.step()
    assert list(door.engine.studies) == [(uid, 1, 0), (uid, 2, 0)]
    assert len(door.studies.load(uid, 2).instances) == 2


def step(door, uid, state, *instances):
    keep(
        door.spool,
        Notice(
            uid="1.2.9",
            source=Source.MPPS,
            state=state,
            studies=(uid,),
            instances=frozenset(film(instance=instance).SOPInstanceUID for instance in instances),
        ),
    )


def test_a_modality_that_has_finished_closes_its_study_at_once(door):
    uid = film().StudyInstanceUID
    step(door, uid, StepState.IN_PROGRESS)
    door.arrivals.step()  # nothing is here yet
    door.receive(film(instance="1"))
    door.clock.advance(60)
    door.arrivals.step()
    assert door.engine.studies == {}
    step(door, uid, StepState.COMPLETED, "1", "2")
    door.receive(film(instance="2"))
    door.arrivals.step()
    assert list(door.engine.studies) == [(uid, 1, 0)]
    assert door.studies.load(uid, 1).closed_by == "mpps"


def test_a_modality_that_never_finishes_holds_its_study_until_the_cap(door):
    uid = door.receive(film())
    step(door, uid, StepState.IN_PROGRESS)
    door.arrivals.step()
    door.clock.advance(899)
    door.arrivals.step()
    assert door.engine.studies == {}
    door.clock.advance(1)
    door.arrivals.step()
    assert door.studies.load(uid, 1).closed_by == "cap"


def test_a_rejection_note_stands_on_the_trail_once_and_makes_a_revision(door):
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    door.receive(rejection_note(film(), title="113037"))
    for _ in range(3):
        door.clock.advance(5)
        door.arrivals.step()
    told = [line.details for line in door.studies.trail(uid) if line.event == "rejection_received"]
    note = rejection_note(film(), title="113037").SOPInstanceUID
    assert told == [{"title": "113037", "instances": 1, "sender": "CR1", "note": note}]
    assert list(door.engine.studies) == [(uid, 1, 0), (uid, 2, 0)]
    assert withdrawn(door.spool, door.studies.current(uid)) == {film().SOPInstanceUID}


def test_a_note_that_rejects_our_result_is_told_and_gives_no_other_answer(door, tmp_path):
    (tmp_path / "film.dcm").write_bytes(as_bytes(a_film()))
    study = a_study()
    door.studies.add_arrivals(study, study.instances)
    door.studies.assemble(study)
    report = a_report(study)
    documents = DocumentEncoder(FolderOfFilms(tmp_path), Settings()).encode(study, report)
    door.studies.save(study, report=report, documents=documents, deliveries=())
    (sr,) = (document for document in documents if document.kind is DocumentKind.SR)
    uid = door.receive(rejection_note(dcmread(BytesIO(sr.content))))
    assert uid == study.study_instance_uid
    for _ in range(3):
        door.spool.mark_fresh(uid)
        door.clock.advance(60)
        door.arrivals.step()
    told = [line.details["instances"] for line in door.studies.trail(uid) if line.event == "result_rejected"]
    assert told == [1]
    assert door.engine.studies == {}


def a_note_elsewhere(*rejected, title="113001"):
    """A rejection note that lies in a study of its own."""
    note = rejection_note(*rejected, title=title)
    note.StudyInstanceUID, note.SeriesInstanceUID = "1.2.99", "1.2.99.1"
    return note


def answered(door, study):
    """The study's revision has a report that a PACS and an EMR have."""
    report = a_report(study)
    made = FakeEncoder().encode(study, report)
    receivers = [FolderDestination(name=name, kind="folder", path=name) for name in ("pacs", "emr")]
    planned = plan(report, study, receivers, made, door.clock.now())
    door.studies.save(study, report=report, documents=made, deliveries=planned)
    door.studies.acknowledged(planned[0].idempotency_key, "here")
    return made


def test_a_note_in_another_study_makes_a_revision_of_its_own_once(door):
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    study = door.studies.load(uid, 1)
    answered(door, study)
    door.receive(a_note_elsewhere(film()))
    for _ in range(3):
        door.clock.advance(60)
        door.spool.mark_fresh("1.2.99")
        door.arrivals.step()
    told = [
        line.details["instances"] for line in door.studies.trail(uid) if line.event == "rejection_received"
    ]
    assert told == [1]
    assert door.studies.rejected(uid) == {film().SOPInstanceUID}
    assert (uid, 2, 0) in door.engine.studies and (uid, 3, 0) not in door.engine.studies
    assert door.studies.load(uid, 2).closed_by == "rejection_note"
    assert len(door.studies.load(uid, 2).instances) == 1


def test_a_note_that_comes_before_its_images_waits_for_them(door):
    door.receive(a_note_elsewhere(film()))
    door.clock.advance(5)
    door.arrivals.step()
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    assert door.studies.rejected(uid) == {film().SOPInstanceUID}
    assert (uid, 1, 0) in door.engine.studies and (uid, 2, 0) not in door.engine.studies


def test_a_note_of_images_that_are_too_old_takes_nothing_back(door):
    uid = door.receive(film())
    door.receive(a_note_elsewhere(film(), title="113039"))
    door.clock.advance(60)
    door.arrivals.step()
    assert door.studies.rejected(uid) == frozenset()


@pytest.mark.parametrize(("title", "owed"), [("113001", ["emr", "pacs"]), ("113039", None)])
def test_a_note_that_names_our_sr_has_it_taken_back_from_every_receiver(door, title, owed):
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    made = answered(door, door.studies.load(uid, 1))
    (sr,) = (one for one in made if one.kind is DocumentKind.SR)
    result = film()
    result.SOPInstanceUID = sr.uid
    door.receive(a_note_elsewhere(result, title=title))
    for _ in range(2):
        door.clock.advance(60)
        door.spool.mark_fresh("1.2.99")
        door.arrivals.step()
    pending = RetractionsSql(door.database, ObjectsDisk(door.folder / "objects"), door.clock).pending(uid)
    assert [(list(one.destinations), one.by_note) for one in pending] == ([(owed, True)] if owed else [])
    assert "result_rejected" in [line.event for line in door.studies.trail(uid)]
    assert (uid, 2, 0) not in door.engine.studies
    waiting = {one.state for one in door.studies.deliveries(uid)}
    assert waiting == (
        {DeliveryState.SENT, DeliveryState.CANCELLED} if owed else {DeliveryState.SENT, DeliveryState.PENDING}
    )


@pytest.mark.parametrize(("tries", "owed"), [(0, ["pacs"]), (1, ["emr", "pacs"])])
def test_a_note_is_handed_on_to_who_may_have_what_it_names(door, tries, owed):
    """A receiver that refused a report may have it from an earlier try that it did not answer."""
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    made = answered(door, door.studies.load(uid, 1))
    (emr,) = (one.idempotency_key for one in door.studies.deliveries(uid) if one.destination == "emr")
    for _ in range(tries):
        door.studies.postponed(emr, detail="no answer", until=door.clock.now())
    door.studies.refused(emr, status="HTTP 422")
    result = film()
    (result.SOPInstanceUID,) = (one.uid for one in made if one.kind is DocumentKind.SR)
    door.receive(a_note_elsewhere(result))
    door.clock.advance(60)
    door.arrivals.step()
    pending = RetractionsSql(door.database, ObjectsDisk(door.folder / "objects"), door.clock).pending(uid)
    assert [list(one.destinations) for one in pending] == [owed]


def left_behind(door):
    return LeftBehind(door.spool, RecordedSql(door.database).paths)


def test_a_mark_that_was_lost_is_found_after_the_next_start(door):
    uid = door.receive(film())
    door.spool.take_fresh()  # and a power cut took the mark with it
    door.clock.advance(5)
    restarted = door.restarted()
    restarted.recover()
    restarted.step()
    assert door.engine.studies == {}
    assert left_behind(door).compare(threading.Event()) == 1
    restarted.step()
    assert list(door.engine.studies) == [(uid, 1, 0)]
    assert left_behind(door).compare(threading.Event()) == 0


def test_a_late_image_without_a_mark_is_found_too(door):
    uid = door.receive(film())
    other = door.receive(film(study="other"))
    door.clock.advance(5)
    door.arrivals.step()
    door.receive(film(instance="late"))
    assert door.spool.take_fresh() == [uid] != [other]
    assert left_behind(door).compare(threading.Event()) == 1
    assert door.spool.take_fresh() == [uid]


def test_the_comparison_ends_when_the_worker_does(door):
    door.receive(film())
    door.spool.take_fresh()
    stop = threading.Event()
    stop.set()
    left_behind(door).start(stop).join(30)
    assert door.spool.take_fresh() == []
    stop.clear()
    left_behind(door).start(stop).join(30)
    assert door.spool.take_fresh() == [film().StudyInstanceUID]


def test_a_mark_is_kept_until_all_is_written_down(door, monkeypatch):
    uid = door.receive(film())
    looked_at = []
    monkeypatch.setattr(
        door.spool, "looked_at", lambda study: looked_at.append(bool(door.studies.current(study)))
    )
    door.spool.mark_fresh("1.2.3")  # nothing lies there
    door.arrivals.step()
    assert sorted(looked_at) == [False, True] and door.studies.current(uid) is not None


def test_a_damaged_file_stands_on_the_trail_of_its_study_once_also_after_a_restart(door):
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    damaged = film(instance="2")
    door.receive(damaged)
    (spooled,) = [one for one in door.spool.listing(uid) if one.path.stem == damaged.SOPInstanceUID]
    place = door.spool.file(spooled.path)
    place.write_bytes(place.read_bytes()[:200])
    for _ in range(3):
        door.clock.advance(60)
        door.spool.mark_fresh(uid)
        door.arrivals.step()
        door.arrivals = door.restarted()
    told = [line.details for line in door.studies.trail(uid) if line.event == "file_damaged"]
    assert told == [{"instance": damaged.SOPInstanceUID, "code": "intake.not_dicom"}]
    assert len(door.studies.current(uid).instances) == 1


def test_a_revision_the_engine_never_heard_of_is_given_to_it(door):
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    door.engine.studies.clear()  # the worker died between the record and the queue
    door.restarted()
    door.line.resume()
    assert list(door.engine.studies) == [(uid, 1, 0)]


def test_work_the_engine_gave_up_is_taken_up_again(door):
    uid = door.receive(film())
    door.clock.advance(5)
    door.arrivals.step()
    door.engine.given_up.add((uid, 1, 0))  # the record could not be reached for minutes
    door.line.resume()
    door.line.resume()
    door.line.dispatch(slots=1)
    assert list(door.engine.studies) == [(uid, 1, 0), (uid, 1, 1)]
    assert door.studies.current(uid).state is StudyState.ASSEMBLED


def test_a_round_that_fails_keeps_its_marks(door, tmp_path):
    door.receive(film())
    door.database.dispose()
    (tmp_path / "records.sqlite").rename(tmp_path / "gone.sqlite")
    (tmp_path / "records.sqlite").mkdir()
    with pytest.raises(Exception, match="database"):
        door.arrivals.step()
    (tmp_path / "records.sqlite").rmdir()
    (tmp_path / "gone.sqlite").rename(tmp_path / "records.sqlite")
    door.clock.advance(5)
    door.arrivals.step()
    assert len(door.engine.studies) == 1


def test_a_round_that_fails_at_one_study_keeps_the_marks_of_those_behind_it(door, tmp_path):
    for name in ("a", "b", "c"):
        door.receive(film(study=name))
    door.database.dispose()
    (tmp_path / "records.sqlite").rename(tmp_path / "gone.sqlite")
    (tmp_path / "records.sqlite").mkdir()
    with pytest.raises(Exception, match="database"):
        door.arrivals.step()
    (tmp_path / "records.sqlite").rmdir()
    (tmp_path / "gone.sqlite").rename(tmp_path / "records.sqlite")
    door.clock.advance(5)
    door.arrivals.step()
    assert len(door.engine.studies) == 3


@pytest.mark.parametrize("error", [TypeError("no library reads it"), ValueNotKept("no column holds it")])
def test_a_study_that_makes_us_stumble_holds_up_nobody(door, error):
    first, second = sorted(door.receive(film(study=name)) for name in ("a", "b"))

    class Stumbling(Watch):
        def _look(self, uid):
            if uid == first and door.clock.now() < later:
                raise error
            super()._look(uid)

    later = door.clock.now() + timedelta(seconds=30)
    watch = Stumbling(door.spool, door.studies, door.line, door.clock, Settings())
    for _ in range(2):
        watch.step()
        door.clock.advance(5)
    assert [uid for uid, _, _ in door.engine.studies] == [second]
    door.clock.advance(60)
    watch.step()
    assert {uid for uid, _, _ in door.engine.studies} == {first, second}


def test_after_a_start_a_file_is_found_though_the_record_has_as_many_from_elsewhere(door):
    uid = door.receive(film(instance="here"))
    elsewhere = FakeSpool(now=door.clock.now)
    there = Door.receive(SimpleNamespace(spool=elsewhere), film(instance="elsewhere"))
    study = read_spooled(elsewhere, elsewhere.listing(there)[0], UTC)
    door.studies.add_arrivals(study, study.instances)
    elsewhere.close()
    door.spool.take_fresh()  # the worker died with the mark in hand
    door.restarted().recover()
    assert uid in door.spool.take_fresh()
    door.spool.mark_fresh(uid)
    door.arrivals.step()
    assert len(door.studies.current(uid).instances) == 2


class Store:
    """Says what a store of originals would say; for the way between them and the record."""

    def __init__(self):
        self.shared = []
        self.away = False

    def share(self, instance):
        if self.away:
            raise RecordsUnavailable
        self.shared.append(instance.sop_instance_uid)

    def set_aside_if_other(self, instance, spooled):
        return False


def test_nothing_is_recorded_before_every_machine_can_read_it(door):
    store = Store()
    store.away = True
    arrivals = Arrivals(door.spool, door.studies, door.line, door.clock, Settings(), originals=store)
    uid = door.receive(film())
    with pytest.raises(RecordsUnavailable):
        arrivals.step()
    assert door.studies.current(uid) is None
    store.away = False
    arrivals.step()
    assert len(door.studies.current(uid).instances) == 1 == len(store.shared)


def test_a_study_whose_machine_is_gone_is_closed_by_the_leader(door):
    elsewhere = FakeSpool(now=door.clock.now)
    uid = Door.receive(SimpleNamespace(spool=elsewhere), film())
    study = read_spooled(elsewhere, elsewhere.listing(uid)[0], UTC)
    door.studies.add_arrivals(study, study.instances)  # by a machine that then burnt down
    elsewhere.close()
    door.clock.advance(600)
    assert door.arrivals.adopt() == 0  # it may still be receiving
    door.clock.advance(400)
    assert door.arrivals.adopt() == 1
    assert door.arrivals.adopt() == 0  # once a minute is enough
    door.arrivals.step()
    assert door.studies.current(uid).state is StudyState.ASSEMBLED
    door.clock.advance(400)
    assert door.arrivals.adopt() == 0
