"""A RIS worklist as a source of orders: over a real association, into the record, to the study."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE, evt

from hoichan.adapters.orders_sql import OrdersSql
from hoichan.adapters.schema_orders import messages, orders
from hoichan.adapters.worklist_dimse import FIND, WorklistScu
from hoichan.errors import Refused, Unreachable
from hoichan.intake.dataset import Header
from hoichan.intake.orders import OrderPriority
from hoichan.intake.worklist import read_item
from hoichan.settings import Settings, Worklist
from hoichan.testing.house import free_ports
from hoichan.testing.reading import a_record
from service.worklists import Poll, examine_worklists

ZONE = timezone(timedelta(hours=7))
NOW = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)


def entry(accession="XR2611200042", **changes):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "18.0119", "L", "X-quang ngực thẳng"
    step = Dataset()
    step.Modality, step.ScheduledProcedureStepID = "DX", f"SPS{accession}"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20261120", "080000"
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.AccessionNumber, item.PatientID, item.IssuerOfPatientID = accession, "BN0012345", "HIS"
    item.PatientName, item.PatientBirthDate, item.PatientSex = "Nguyễn^An^Văn", "19850315", "M"
    item.StudyInstanceUID, item.RequestedProcedureID = "1.2.840.99.7", "RP1"
    item.RequestedProcedurePriority = "STAT"
    item.ReasonForTheRequestedProcedure = "Ho, sốt 3 ngày"
    item.RequestedProcedureCodeSequence = Sequence([code])
    item.ScheduledProcedureStepSequence = Sequence([step])
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    return item


class Ris:
    """Modality Worklist SCP on a free port, with what it was asked."""

    def __init__(self):
        self.entries, self.questions, self.status = [entry()], [], 0xFF00
        (self.port,) = free_ports(1)
        entity = AE(ae_title="RIS")
        entity.add_supported_context(FIND)
        self.server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_FIND, self.find)]
        )

    def find(self, event):
        self.questions.append(event.identifier)
        if self.status != 0xFF00:
            yield self.status, None
            return
        for one in self.entries:
            yield 0xFF00, one

    def settings(self, **changes):
        return Worklist(name="ris", host="127.0.0.1", port=self.port, ae_title="RIS", **changes)

    def scu(self, **changes):
        return WorklistScu(self.settings(**changes), our_title="HOICHAN", zone=ZONE)


@pytest.fixture
def ris():
    made = Ris()
    yield made
    made.server.shutdown()


@pytest.fixture
def record(tmp_path):
    made = a_record(tmp_path)
    yield made
    made.engine.dispose()


def rows(record, table):
    with record.engine.connect() as connection:
        return list(connection.execute(sa.select(table)).mappings())


def test_an_entry_says_everything_an_order_does(ris):
    (item,) = ris.scu().items(NOW)
    order = read_item(item, ZONE)
    assert (order.accession_number, order.study_instance_uid) == ("XR2611200042", "1.2.840.99.7")
    assert (order.modality, order.region, order.priority) == ("DX", "CHEST", OrderPriority.STAT)
    assert order.scheduled_at == datetime(2026, 11, 20, 8, tzinfo=ZONE)
    assert order.indication.reveal() == "Ho, sốt 3 ngày"
    patient = order.patient
    assert (patient.patient_id.reveal(), patient.patient_name.reveal()) == ("BN0012345", "Nguyễn^An^Văn")
    assert order.procedure.code_value == "18.0119"


def test_the_question_names_days_and_modalities_and_nobody(ris):
    list(ris.scu(modalities=("CR", "DX")).items(NOW))
    assert [one.ScheduledProcedureStepSequence[0].Modality for one in ris.questions] == ["CR", "DX"]
    for one in ris.questions:
        step = one.ScheduledProcedureStepSequence[0]
        assert step.ScheduledProcedureStepStartDate == "20261119-20261121"
        assert not one.PatientName and not one.PatientID and not one.AccessionNumber


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientID": "", "PatientName": "Nguyễn^An^Văn"},
        {"AccessionNumber": ""},
    ],
)
def test_an_entry_that_names_nobody_or_no_order_is_left_alone(changes):
    assert read_item(Header(entry(**changes)), ZONE) is None


def test_what_is_odd_becomes_nothing():
    item = entry(RequestedProcedurePriority="X", StudyInstanceUID="", ScheduledProcedureStepSequence=[])
    order = read_item(Header(item), ZONE)
    assert (order.priority, order.study_instance_uid, order.modality, order.scheduled_at) == (None,) * 4


def test_only_news_become_messages(ris, record):
    poll = Poll(ris.settings(), ris.scu(), OrdersSql(record.engine, record.clock), record.clock, ZONE)
    assert poll.step() == 1
    assert poll.step() == 0 and len(ris.questions) == 1  # not before its time
    for priority, taken in (("STAT", 0), ("ROUTINE", 1), ("STAT", 1)):
        record.clock.advance(60)
        ris.entries = [entry(RequestedProcedurePriority=priority)]
        assert poll.step() == taken
    (order,) = rows(record, orders)
    assert (order["accession_number"], order["priority"], order["fresh"]) == ("XR2611200042", "stat", True)
    kept = rows(record, messages)
    assert {(one["kind"], one["answer"], one["source"]) for one in kept} == {("MWL", "AA", "ris")}
    assert len(kept) == 3
    assert not any(b"BN0012345" in one["content"] for one in kept)


def test_an_entry_that_is_gone_stays_an_order(ris, record):
    poll = Poll(ris.settings(), ris.scu(), OrdersSql(record.engine, record.clock), record.clock, ZONE)
    poll.step()
    ris.entries = []
    record.clock.advance(60)
    assert poll.step() == 0
    assert [one["cancelled"] for one in rows(record, orders)] == [False]


@pytest.mark.parametrize(("status", "error"), [(0xA700, Unreachable), (0xC001, Refused), (0xA900, Refused)])
def test_a_ris_that_cannot_is_told_from_one_that_will_not(ris, status, error):
    ris.status = status
    with pytest.raises(error, match=f"0x{status:04X}"):
        list(ris.scu().items(NOW))


def test_the_doctor_asks_each_worklist(ris):
    settings = Settings.model_validate(
        {
            "orders": {
                "worklists": [
                    ris.settings().model_dump(),
                    {**ris.settings().model_dump(), "name": "gone", "port": free_ports(1)[0]},
                ]
            }
        }
    )
    found = list(
        examine_worklists(settings, lambda one: WorklistScu(one, our_title="HOICHAN", zone=ZONE), NOW)
    )
    assert [(name, passed) for name, passed, _ in found] == [("worklist ris", True), ("worklist gone", False)]
    assert found[0][2].endswith(": 1")
