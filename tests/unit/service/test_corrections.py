"""Orders and corrected patients, from the door's messages to what receivers get."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from hoichan import er7
from hoichan.adapters import search_sql
from hoichan.adapters.changes_sql import ChangesSql
from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.database import open_database
from hoichan.adapters.earlier_sql import EarlierSql
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.links_sql import LinksSql
from hoichan.adapters.merged_sql import MergedSql
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.orders_sql import OrdersSql
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.adapters.schema import studies as studies_table
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.sight import EVERYTHING
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.errors import NotDicom, PatientCorrected
from hoichan.intake.orders import MatchReason
from hoichan.intake.patients import Doubt, Source
from hoichan.settings import Hl7Destination, Settings
from hoichan.settings.orders import Expectation, Orders
from hoichan.testing import hl7
from hoichan.testing.database import migrated
from hoichan.testing.datasets import encode, film
from hoichan.testing.ports import FakeClock, FakeRunner
from hoichan.testing.reports import a_manifest
from hoichan.testing.spool import FakeSpool
from hoichan.types import DeliveryState, DocumentKind, ReportStatus, StudyState, Urgency
from service.arrivals import Arrivals
from service.corrections import Corrections
from service.orders import OrderDesk
from service.pipeline import analyse
from service.steering import replay

EXPLICIT = "1.2.840.10008.1.2.1"
RIS = Hl7Destination(name="ris", kind="hl7v2", host="127.0.0.1", port=1)


@functools.cache
def empty_record():
    file = Path(tempfile.mkdtemp(prefix="hoichan-")) / "records.sqlite"
    engine = open_database(f"sqlite:///{file}")
    migrated(engine)
    with engine.connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)
    return file


class Line:
    """Who would be analysed, in the order in which they were closed."""

    def __init__(self):
        self.enlisted = []

    def enlist(self, study):
        self.enlisted.append((study.study_instance_uid, study.revision, study.closed_by))


class House:
    """Door, worker and receivers, without a process."""

    def __init__(self, folder, **orders):
        shutil.copy(empty_record(), folder / "records.sqlite")
        self.clock = FakeClock()
        self.settings = Settings(
            destinations=(RIS, {"name": "share", "kind": "folder", "path": folder / "share"}),
            orders=Orders(
                enabled=True, expectations=(Expectation(procedure="36554-4", instances=2),), **orders
            ),
        )
        self.engine = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        objects = ObjectsDisk(folder / "objects")
        self.spool = FakeSpool(now=self.clock.now)
        self.studies = StudiesSql(self.engine, objects, self.clock)
        self.steering = SteeringSql(self.engine, objects, self.clock)
        self.asked = CorrectionsSql(self.engine, self.clock)
        self.links = LinksSql(self.engine, self.clock)
        self.retractions = RetractionsSql(self.engine, objects, self.clock)
        self.corrections = Corrections(
            self.asked,
            self.links,
            self.retractions,
            ChangesSql(self.engine, self.clock),
            self.spool,
            self.studies,
            self.clock,
            self.settings,
        )
        self.line = Line()
        self.arrivals = Arrivals(
            self.spool, self.studies, self.line, self.clock, self.settings, corrections=self.corrections
        )
        self.desk = OrderDesk(self.settings, OrdersSql(self.engine, self.clock), self.clock)

    def close(self):
        self.spool.close()
        self.engine.dispose()

    def tell(self, message):
        assert b"MSA|AA" in self.desk.answer(message, "127.0.0.1")
        return self.corrections.step()

    def receive(self, *data_sets):
        for data_set in data_sets:
            uid = self.spool.store(
                encode(data_set),
                transfer_syntax_uid=EXPLICIT,
                sop_class_uid=data_set.SOPClassUID,
                sop_instance_uid=data_set.SOPInstanceUID,
                calling_ae_title="CR1",
            ).study_instance_uid
        self.arrivals.step()
        return uid

    def wait(self):
        self.clock.advance(6)
        self.arrivals.step()

    def analyse(self, uid, revision):
        """As the worker does it."""
        self.corrections.retract(uid)
        return analyse(
            self.studies.load(uid, revision),
            manifests=[a_manifest()],
            runner=FakeRunner(self.clock),
            encoder=DocumentEncoder(self.spool, self.settings),
            studies=self.studies,
            destinations=self.settings.effective_destinations,
            clock=self.clock,
        )

    def deliver(self):
        """Every delivery that is due, as if each receiver took it; what it got."""
        got = []
        while due := self.studies.due(self.clock.now()):
            for delivery in due:
                for document in self.studies.documents(delivery):
                    got.append((delivery.destination, document))
                self.studies.acknowledged(delivery.idempotency_key, "AA")
            self.clock.advance(1)
        return got

    def delivered(self, *data_sets):
        """A study whose report is with every receiver."""
        uid = self.receive(*data_sets)
        self.wait()
        self.analyse(uid, 1)
        self.deliver()
        return uid

    def patient(self, uid):
        return self.studies.current(uid).patient

    def events(self, uid):
        return [line.event for line in self.studies.trail(uid)]

    def finds(self, text):
        with self.engine.connect() as connection:
            return [row["study_instance_uid"] for row in search_sql.find(connection, text, limit=9)]

    def head(self, uid):
        with self.engine.connect() as connection:
            wanted = sa.select(studies_table).where(studies_table.c.study_instance_uid == uid)
            return connection.execute(wanted).mappings().one()


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.close()


def hanh(**changes):
    """A film of Trần Thị Hạnh, as the console wrote her name."""
    data_set = film(
        **{name: changes.pop(name) for name in ("study", "series", "instance") if name in changes}
    )
    data_set.PatientName, data_set.PatientID = "TRAN THI HANH", "BN0001"
    data_set.PatientBirthDate, data_set.PatientSex, data_set.AccessionNumber = "19610402", "F", "XR1"
    for keyword, value in changes.items():
        setattr(data_set, keyword, value)
    return data_set


# ------------------------------------------------------------------ corrected patients
def test_a_merge_is_followed_everywhere(house):
    uid = house.delivered(hanh())
    house.tell(hl7.merge(prior="BN0001", pid=hl7.patient("BN0002")))
    assert house.patient(uid).patient_id.reveal() == "BN0002"
    assert house.patient(uid).patient_name.reveal() == "Trần^Hạnh^Thị"
    assert house.finds("bn0001") == house.finds("bn0002") == house.finds("hanh") == [uid]
    assert [one.source for one in house.asked.versions(uid)] == [Source.IMAGES, Source.ADT_MERGE]
    assert house.head(uid)["last_revision"] == 2
    house.analyse(uid, 2)
    got = house.deliver()
    messages = [document.content.decode() for name, document in got if name == "ris"]
    assert ["|BN0001^" in one for one in messages] == [True, False]  # taken back first, then the right one
    assert ["|BN0002^" in one for one in messages] == [False, True]
    assert all(line.split("|")[11] == "W" for line in messages[0].split("\r") if line.startswith("OBX"))
    assert house.head(uid)["state"] == StudyState.DELIVERED
    assert house.events(uid).count("patient_corrected") == house.events(uid).count("report_withdrawn") == 1


def test_the_folder_gets_note_and_bundle_of_the_former_patient_and_the_new_report(house):
    uid = house.delivered(hanh())
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    house.analyse(uid, 2)
    got = [document for name, document in house.deliver() if name == "share"]
    assert [one.kind for one in got] == [
        DocumentKind.KOS,
        DocumentKind.FHIR,
        DocumentKind.SC,
        DocumentKind.SR,
        DocumentKind.FHIR,
    ]
    numbers = [
        dcmread(BytesIO(one.content)).PatientID for one in got if one.media_type == "application/dicom"
    ]
    assert numbers == ["BN0001", "BN0002", "BN0002"]
    assert "entered-in-error" in got[1].content.decode() and "BN0001" in got[1].content.decode()
    assert "Patient?identifier=" in got[4].content.decode() and "BN0002" in got[4].content.decode()


def test_what_waits_for_the_former_patient_is_not_sent(house):
    uid = house.receive(hanh())
    house.wait()
    first = house.analyse(uid, 1)
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    house.analyse(uid, 2)
    states = {d.report_uid: d.state for d in house.studies.deliveries(uid)}
    assert states[first.report_uid] is DeliveryState.CANCELLED
    assert all("BN0001" not in document.content.decode("latin-1") or document.kind is DocumentKind.KOS
               or b"entered-in-error" in document.content or b"|W|" in document.content
               for _, document in house.deliver())  # fmt: skip


@pytest.mark.parametrize("stopped", [False, True])
def test_no_replay_sends_what_names_the_former_patient(house, stopped):
    """Refused, or stopped by a person, before the correction: no receiver has it, none is to get it."""
    uid = house.receive(hanh())
    house.wait()
    house.analyse(uid, 1)
    first = [one.idempotency_key for one in house.studies.deliveries(uid)]
    for key in first:
        house.studies.refused(key, status="HTTP 422")
    if stopped:
        house.steering.cancel(uid)
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    house.studies.refused(first[0], status="HTTP 422")  # its answer comes after the correction
    assert replay(house.studies, uid).deliveries == 0
    for key in (*first, *house.steering.newest_deliveries(uid)):
        house.studies.revive(key, even_sent=True)
    assert house.deliver() == []
    house.analyse(uid, 2)
    numbers = {
        dcmread(BytesIO(one.content)).PatientID
        for _, one in house.deliver()
        if one.media_type == "application/dicom"
    }
    assert numbers == {"BN0002"}


@pytest.mark.parametrize("ended", ["refused", "cancelled"])
def test_a_receiver_that_may_have_it_hears_that_it_was_taken_back(house, ended):
    """A try without an answer, and then an end: the report may be there under the former patient."""
    uid = house.receive(hanh())
    house.wait()
    house.analyse(uid, 1)
    for one in house.studies.deliveries(uid):
        house.studies.postponed(one.idempotency_key, detail="no answer", until=house.clock.now())
        if ended == "refused":
            house.studies.refused(one.idempotency_key, status="HTTP 422")
    if ended == "cancelled":
        house.steering.cancel(uid)
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    got = house.deliver()
    assert {name for name, _ in got} == {"ris", "share"}
    assert all(
        b"|W|" in one.content or b"entered-in-error" in one.content or one.kind is DocumentKind.KOS
        for _, one in got
    )


def test_work_that_began_under_the_former_patient_is_begun_anew(house):
    uid = house.receive(hanh())
    house.wait()
    loaded = house.studies.load(uid, 1)
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    assert house.head(uid)["last_revision"] == 1  # its report is not written yet
    report = house.analyse(uid, 1)
    with pytest.raises(PatientCorrected) as caught:
        house.studies.save(loaded, report=replace(report, report_uid="2.25.9"), documents=(), deliveries=())
    assert caught.value.retryable
    assert {
        document.content.decode().count("BN0001") for name, document in house.deliver() if name == "ris"
    } == {0}


@pytest.mark.parametrize("name", ["Trần^Hạnh^Thị", "Tran^Hanh^Thi"])
def test_another_spelling_is_kept_and_sends_nothing(house, name):
    uid = house.delivered(hanh())
    house.tell(hl7.update(pid=hl7.patient("BN0001", name=name)))
    assert house.patient(uid).patient_name.reveal() == name
    assert house.head(uid)["last_revision"] == 1 and house.deliver() == []
    assert "patient_corrected" in house.events(uid)


def test_another_birth_date_makes_a_report_and_takes_nothing_back(house):
    uid = house.delivered(hanh())
    house.tell(hl7.update(pid=hl7.patient("BN0001", born="20120402")))
    assert house.patient(uid).patient_age_years == 14
    house.analyse(uid, 2)
    assert [document.kind for name, document in house.deliver() if name == "ris"] == [DocumentKind.HL7]
    with house.engine.connect() as connection:
        assert connection.execute(sa.select(retractions)).all() == []


def test_the_same_message_again_changes_nothing(house):
    uid = house.delivered(hanh())
    for _ in range(3):
        house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    house.tell(hl7.merge("77", pid=hl7.patient("BN0002")))
    assert house.events(uid).count("patient_corrected") == 1
    assert house.head(uid)["last_revision"] == 2


def test_a_merge_from_before_is_known_when_the_study_comes(house):
    house.tell(hl7.merge("1", prior="BN0001", pid=hl7.patient("BN0002")))
    house.tell(hl7.merge("2", prior="BN0002", pid=hl7.patient("BN0003")))
    uid = house.receive(hanh())
    assert house.patient(uid).patient_id.reveal() == "BN0003"
    house.wait()
    assert [revision for _, revision, _ in house.line.enlisted] == [1]
    late = house.receive(hanh(instance="late"))  # the console still has the old number
    house.wait()
    assert late == uid and house.asked.questions() == ()
    assert house.patient(uid).patient_id.reveal() == "BN0003"
    former = MergedSql(house.engine).of(house.patient(uid))  # under which a PACS may have earlier films
    assert [number for number, _ in former] == ["BN0002", "BN0001"]


@pytest.mark.parametrize("numbers", [("BN0001", "BN0002"), ("BN0001", "BN0002", "BN0003")])
def test_a_merge_that_was_taken_back_moves_no_later_study(house, numbers):
    for place, prior in enumerate(numbers):
        into = hl7.patient(numbers[(place + 1) % len(numbers)])
        house.tell(hl7.merge(str(place), prior=prior, pid=into))
    uid = house.receive(hanh())
    house.wait()
    house.receive(hanh(instance="late"))
    house.wait()
    assert house.patient(uid).patient_id.reveal() == "BN0001"  # merged away, and into it again later
    assert house.events(uid).count("patient_corrected") <= 1  # how the hospital spells her
    second = house.receive(hanh(study="second", PatientID="BN0002"))
    assert house.patient(second).patient_id.reveal() == "BN0001"


def test_earlier_films_of_both_numbers_and_one_body_part_lie_beside_a_study(house):
    before = house.receive(hanh(study="before"))
    hand = hanh(study="hand")
    hand.BodyPartExamined = "HAND"
    unsaid = hanh(study="unsaid")
    del unsaid.BodyPartExamined
    house.receive(hand, unsaid)
    house.tell(hl7.merge(prior="BN0001", pid=hl7.patient("BN0002")))
    now = hanh(study="now")
    now.PatientID = "BN0002"
    study = house.studies.current(house.receive(now))
    found = EarlierSql(house.engine).of(study, EVERYTHING)
    assert sorted(found) == sorted([before, unsaid.StudyInstanceUID])


def test_somebody_else_under_the_number_is_a_question(house):
    uid = house.delivered(hanh())
    other = hl7.patient("BN0001", name="Lê^Bình^Văn", born="19900101", sex="M")
    house.tell(hl7.update(pid=other))
    (question,) = house.asked.questions(uid)
    assert (question.kind, question.holds) == (Doubt.UPDATE_CONTRADICTS, False)
    assert house.patient(uid).patient_name.reveal() == "TRAN THI HANH"
    assert house.head(uid)["last_revision"] == 1
    house.asked.answer(question.id, take=False, who="bs.lan")
    house.tell(hl7.update("9", pid=other))
    assert house.asked.questions(uid) == ()  # asked once
    assert house.asked.answer(question.id, take=True, who="bs.lan") is None


# ------------------------------------------------------------------ two people in one study
@pytest.mark.parametrize("together", [True, False])
def test_two_people_in_one_study_wait_for_a_person(house, together):
    wrong = hanh(instance="2", PatientID="BN0777", PatientName="LE VAN BINH", PatientSex="M")
    uid = house.receive(hanh(), wrong) if together else house.receive(hanh())
    if not together:
        house.receive(wrong)
    house.wait()
    house.clock.advance(3600)
    house.arrivals.step()
    assert house.line.enlisted == [] and house.head(uid)["state"] == StudyState.RECEIVING
    (question,) = house.asked.questions()
    assert (question.kind, question.holds) == (Doubt.TWO_PATIENTS, True)
    assert {question.patient.patient_id.reveal(), question.current.patient_id.reveal()} == {
        "BN0001",
        "BN0777",
    }
    assert house.finds("le van binh") == house.finds("tran thi hanh") == [uid]
    house.asked.answer(question.id, take=question.patient.patient_id.reveal() == "BN0001", who="ktv.hoa")
    for fresh in house.corrections.step():
        house.spool.mark_fresh(fresh)
    house.wait()
    assert [revision for _, revision, _ in house.line.enlisted] == [1]
    assert house.patient(uid).patient_id.reveal() == "BN0001"
    assert "question_answered" in house.events(uid)


def test_a_second_number_of_the_same_person_holds_nothing(house):
    uid = house.receive(hanh(), hanh(instance="2", PatientID="TEMP-9"))
    house.wait()
    assert len(house.line.enlisted) == 1
    assert house.finds("temp9") == [uid]


# ------------------------------------------------------------------ the same images with other content
def details(house, uid, event):
    return [dict(line.details) for line in house.studies.trail(uid) if line.event == event]


def test_a_study_that_is_sent_again_under_another_patient_is_followed(house):
    uid = house.delivered(hanh(), hanh(instance="2"))
    binh = {"PatientID": "BN0777", "PatientName": "Lê^Bình^Văn", "PatientSex": "M", "AccessionNumber": "XR9"}
    house.receive(hanh(**binh))
    (question,) = house.asked.questions(uid)  # of a part only a person can say
    assert (question.kind, question.holds) == (Doubt.RESENT_IN_PART, False)
    assert house.patient(uid).patient_id.reveal() == "BN0001"
    house.receive(hanh(instance="2", **binh))
    assert house.asked.questions(uid) == ()
    assert (house.patient(uid).patient_id.reveal(), house.head(uid)["accession_number"]) == ("BN0777", "XR9")
    assert house.asked.versions(uid)[-1].source is Source.RESENT
    assert [one["difference"] for one in details(house, uid, "content_changed")] == ["patient", "patient"]
    house.analyse(uid, 2)
    messages = [document.content.decode() for name, document in house.deliver() if name == "ris"]
    assert [("|BN0001^" in one, "|BN0777^" in one) for one in messages] == [(True, False), (False, True)]
    house.receive(hanh(**binh), hanh(instance="2", **binh))  # once more
    assert house.head(uid)["last_revision"] == 2
    assert len(details(house, uid, "content_changed")) == 2


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"PixelData": b"\2\1" * 64, "PatientID": "BN0777"}, "pixels"),
        ({"ViewPosition": "LL", "PatientID": "BN0777"}, "attributes"),
        ({"StationName": "CR2"}, "attributes"),
    ],
)
def test_other_content_is_told_and_replaces_nothing(house, changes, difference):
    uid = house.delivered(hanh())
    before = house.studies.current(uid)
    house.receive(hanh(**changes))
    assert house.studies.current(uid) == before
    (told,) = details(house, uid, "content_changed")
    assert (told["difference"], told["sender"]) == (difference, "CR1")
    assert house.asked.questions() == () and house.deliver() == []
    assert ChangesSql(house.engine, house.clock).counts() == {difference: 1}


def test_an_image_that_was_refused_stands_on_the_trail_of_its_study(house):
    uid = house.delivered(hanh())
    damaged = hanh(instance="2")
    said = {"transfer_syntax_uid": EXPLICIT, "sop_class_uid": damaged.SOPClassUID, "calling_ae_title": "CR1"}
    for _ in range(2):  # the modality tries again
        with pytest.raises(NotDicom):
            house.spool.store(encode(damaged)[:-20], sop_instance_uid=damaged.SOPInstanceUID, **said)
        house.arrivals.step()
    (told,) = details(house, uid, "instance_refused")
    assert told == {"instance": damaged.SOPInstanceUID, "reason": "intake.not_dicom", "sender": "CR1"}
    assert ChangesSql(house.engine, house.clock).counts() == {}
    assert house.asked.questions() == () and house.deliver() == []


# ------------------------------------------------------------------ orders
def test_an_order_closes_its_study_and_lends_its_urgency(house):
    house.tell(hl7.order(priority="S"))
    uid = house.receive(hanh())
    house.arrivals.step()
    assert house.line.enlisted == []
    house.receive(hanh(instance="2"))
    assert house.line.enlisted == [(uid, 1, "order")]
    assert house.links.of(uid).reason is MatchReason.ACCESSION_NUMBER
    assert house.head(uid)["urgency"] == Urgency.STAT.rank
    assert "order_linked" in house.events(uid)


def test_an_order_that_comes_late_is_linked(house):
    uid = house.receive(hanh())
    house.wait()
    assert house.links.of(uid) is None
    assert house.tell(hl7.order(priority="A")) == (uid,)
    assert house.links.of(uid).order.accession_number == "XR1"
    assert house.head(uid)["urgency"] == Urgency.URGENT.rank
    house.tell(hl7.order("2", control="CA", at="20261120120000+0700"))
    assert house.links.of(uid) is None and "order_unlinked" in house.events(uid)


def test_a_missing_accession_number_is_taken_from_the_order_that_is_certainly_theirs(house):
    house.tell(hl7.order())
    uid = house.receive(hanh(AccessionNumber=""))
    assert house.links.of(uid).reason is MatchReason.PATIENT_MODALITY_TIME
    assert house.head(uid)["accession_number"] == "XR1"
    assert house.asked.questions(uid) == ()
    assert house.asked.versions(uid)[-1].source is Source.ORDER
    house.wait()
    assert len(house.line.enlisted) == 1
    house.analyse(uid, 1)
    message = next(document for name, document in house.deliver() if name == "ris")
    assert b"|XR1" in message.content


@pytest.mark.parametrize(
    ("order", "changes", "number"),
    [
        ({"placer": "ORD7^EMR"}, {}, "ORD7"),  # the film names its accession number
        ({"placer": "ORD7"}, {"AccessionNumber": ""}, "ORD7"),  # the order gave it its own
        ({"placer": "ORD7", "accession": "XR2611200042-0001"}, {"AccessionNumber": ""}, ""),  # by time alone
        ({"placer": ""}, {}, ""),
    ],
)
def test_a_result_names_the_order_that_is_certainly_its_own(house, order, changes, number):
    house.tell(hl7.order(**order))
    uid = house.receive(hanh(**changes))
    assert house.links.of(uid) is not None
    house.wait()
    house.analyse(uid, 1)
    (told,) = [er7.read(document.content) for name, document in house.deliver() if name == "ris"]
    assert {told.first(name).text(2) for name in ("ORC", "OBR")} == {number}


def test_what_takes_a_result_back_names_the_order_of_the_result(house):
    house.tell(hl7.order())
    uid = house.delivered(hanh())
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    house.analyse(uid, 2)
    first, second = [er7.read(document.content) for name, document in house.deliver() if name == "ris"]
    assert (first.first("OBR").text(2), first.first("OBR").text(25)) == ("ORD1", "X")
    assert second.first("PID").text(3) == "BN0002"
    assert second.first("OBR").text(2) == "ORD1"


def test_a_number_that_dicom_cannot_hold_is_proposed(house):
    house.tell(hl7.order(accession="XR2611200042-0001"))
    uid = house.receive(hanh(AccessionNumber=""))
    assert house.head(uid)["accession_number"] is None
    (question,) = house.asked.questions(uid)
    assert (question.kind, question.accession_number) == (Doubt.ACCESSION_PROPOSED, "XR2611200042-0001")


def test_an_order_that_comes_after_the_report_sends_it_again_with_its_number(house):
    uid = house.delivered(hanh(AccessionNumber=""))
    house.tell(hl7.order())
    assert house.head(uid)["accession_number"] == "XR1"
    assert house.head(uid)["last_revision"] == 2  # the same patient: nothing is taken back
    assert house.retractions.pending(uid) == ()


@pytest.mark.parametrize(
    ("born", "fills"),
    [
        ("", True),  # only the number says who it is
        (hl7.BORN, False),  # the site wants a person to decide
    ],
)
def test_what_is_less_certain_is_proposed(tmp_path, born, fills):
    house = House(tmp_path, fill_accession=fills)
    house.tell(hl7.order(pid=hl7.patient(born=born)))
    uid = house.receive(hanh(AccessionNumber=""))
    assert house.head(uid)["accession_number"] is None
    (question,) = house.asked.questions(uid)
    assert (question.kind, question.accession_number) == (Doubt.ACCESSION_PROPOSED, "XR1")
    house.wait()
    assert len(house.line.enlisted) == 1  # nobody waits for the answer
    house.asked.answer(question.id, take=True, who="ktv.hoa")
    assert house.head(uid)["accession_number"] == "XR1"
    assert house.asked.versions(uid)[-1].source is Source.PERSON
    house.close()


def test_one_order_fills_one_study_and_is_proposed_to_the_next(house):
    house.tell(hl7.order())
    first = house.receive(hanh(AccessionNumber=""))
    second = house.receive(hanh(AccessionNumber="", study="2.25.990", instance="9"))
    assert house.head(first)["accession_number"] == "XR1"
    assert house.head(second)["accession_number"] is None
    assert [one.kind for one in house.asked.questions(second)] == [Doubt.ACCESSION_PROPOSED]


def test_a_missing_patient_number_is_proposed(house):
    study = hanh(PatientID="")
    house.tell(hl7.order(study=study.StudyInstanceUID))
    uid = house.receive(study)
    (question,) = house.asked.questions(uid)
    assert question.kind is Doubt.PATIENT_ID_PROPOSED
    assert house.patient(uid).patient_id.reveal() == ""


def test_no_order_of_somebody_else_is_linked(house):
    house.tell(hl7.order(pid=hl7.patient("BN0001", born="19990101")))
    assert house.links.of(house.receive(hanh())) is None


def test_nothing_of_a_patient_is_on_the_trail(house):
    uid = house.delivered(hanh())
    house.tell(hl7.order())
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    trail = json.dumps([dict(line.details) for line in house.studies.trail(uid)])
    assert not any(word in trail for word in ("BN0001", "BN0002", "XR1", "HANH", "1961"))


def test_a_withdrawn_report_is_not_the_newest(house):
    uid = house.delivered(hanh())
    former = house.studies.latest_report_uid(uid, before=9)
    house.tell(hl7.merge(pid=hl7.patient("BN0002")))
    house.corrections.step()
    assert house.studies.latest_report_uid(uid, before=9) == former
    with house.engine.connect() as connection:
        statuses = (
            connection.execute(sa.text("SELECT status FROM reports ORDER BY created_at")).scalars().all()
        )
    assert statuses == [ReportStatus.UNVERIFIED, ReportStatus.WITHDRAWN]
