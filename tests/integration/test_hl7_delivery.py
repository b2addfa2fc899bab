"""From a report to two HL7 receivers, by the records and the outbox: each its own message, in order, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hoichan import er7
from hoichan.adapters.database import open_database
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.reporting import plan
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.database import migrated
from hoichan.testing.mllp import Receiver, acknowledgement, answering, framed, taking
from hoichan.testing.ports import FakeClock
from hoichan.types import DeliveryState
from service.outbox import Outbox
from service.wiring_receivers import sinks


class House:
    """Records, encoder and outbox over real stores, towards an RIS in UTF-8 and a HIS in ASCII."""

    def __init__(self, folder, engine, ris: int, his: int) -> None:
        receiver = {"kind": "hl7v2", "host": "127.0.0.1"}
        self.settings = Settings.model_validate(
            {
                "destinations": [
                    {**receiver, "name": "ris", "port": ris},
                    {**receiver, "name": "his", "port": his, "charset": "ascii", "unread_status": "P"},
                ]
            }
        )
        self.clock = FakeClock()
        self.studies = StudiesSql(engine, ObjectsDisk(folder / "objects"), self.clock)
        self.encoder = DocumentEncoder(FolderOfFilms(folder), self.settings)
        self.outbox = Outbox(self.studies, sinks(self.settings), self.clock, self.settings.work)

    def report(self, study):
        """Save a report of the study; returns its deliveries."""
        self.studies.add_arrivals(study, study.instances)
        assembled = self.studies.assemble(study) or study
        report = a_report(assembled)
        documents = self.encoder.encode(assembled, report)
        deliveries = plan(
            report, assembled, self.settings.effective_destinations, documents, self.clock.now()
        )
        assert self.studies.save(assembled, report=report, documents=documents, deliveries=deliveries)
        return deliveries

    def deliver_due(self) -> None:
        """One try of whatever is due."""
        for delivery in self.studies.due(self.clock.now()):
            self.outbox.deliver(delivery.idempotency_key)


@pytest.fixture
def film(tmp_path):
    film = a_film()
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    return film


@contextmanager
def a_house(folder, ris: int, his: int) -> Iterator[House]:
    engine = open_database(f"sqlite:///{folder / 'records.sqlite'}")
    migrated(engine)
    try:
        yield House(folder, engine, ris, his)
    finally:
        engine.dispose()


def test_each_receiver_gets_its_own_message(tmp_path, film):
    with (
        Receiver(answering(taking)) as ris,
        Receiver(answering(taking)) as his,
        a_house(tmp_path, ris.port, his.port) as house,
    ):
        study = a_study(film)
        house.report(study)
        house.deliver_due()
        house.deliver_due()
        settled = house.studies.deliveries(study.study_instance_uid)
    assert [(each.state, each.acknowledgement) for each in settled] == [(DeliveryState.SENT, "AA")] * 2
    (to_ris,), (to_his,) = ris.frames, his.frames
    assert "KẾT QUẢ AI – CHƯA ĐƯỢC BÁC SĨ XÁC NHẬN".encode() in to_ris
    assert b"KET QUA AI - CHUA DUOC BAC SI XAC NHAN" in to_his and to_his.isascii()
    statuses = [next(er7.read(frame[1:-2]).all("OBR")).raw(25) for frame in (to_ris, to_his)]
    assert statuses == ["R", "P"]


def test_a_receiver_that_is_busy_gets_the_same_bytes_later_and_one_that_refuses_no_more(tmp_path, film):
    answers = iter(["AR", "AA"])
    busy = answering(lambda control_id: framed(acknowledgement(next(answers), control_id)))
    strict = answering(lambda control_id: framed(acknowledgement("AE", control_id, "ERR|||204^MARKER")))
    with (
        Receiver(busy) as ris,
        Receiver(strict) as his,
        a_house(tmp_path, ris.port, his.port) as house,
    ):
        study = a_study(film)
        house.report(study)
        for _ in range(3):
            house.deliver_due()
            house.clock.advance(7200)
        settled = {each.destination: each for each in house.studies.deliveries(study.study_instance_uid)}
        trail = repr(house.studies.trail(study.study_instance_uid))
    assert (settled["ris"].state, settled["his"].state) == (DeliveryState.SENT, DeliveryState.DEAD)
    assert settled["his"].acknowledgement == "AE (204)" and "MARKER" not in trail
    assert len(ris.frames) == 2 and len(set(ris.frames)) == 1
    assert len(his.frames) == 1


def test_a_newer_report_passes_one_that_was_not_taken(tmp_path, film):
    answers = iter(["AR", "AA"])  # nothing of the first was filed
    busy = answering(lambda control_id: framed(acknowledgement(next(answers), control_id)))
    with (
        Receiver(busy) as ris,
        Receiver(answering(taking)) as his,
        a_house(tmp_path, ris.port, his.port) as house,
    ):
        study = a_study(film)
        house.report(study)
        house.deliver_due()
        (instance,) = study.series[0].instances
        late = replace(instance, sop_instance_uid="2.25.7", sha256="7" * 64)
        series = replace(study.series[0], instances=(instance, late))
        house.report(replace(study, series=(series,), revision=2))
        for _ in range(3):
            house.deliver_due()
            house.clock.advance(7200)
    control_ids = [er7.read(frame[1:-2]).control_id for frame in ris.frames]
    assert len(control_ids) == len(set(control_ids)) == 2  # the older one never follows the newer
