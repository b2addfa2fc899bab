"""Every cell of the answers to MPPS and IAN, on a spool in memory."""

from types import SimpleNamespace

import pytest
from pydicom.dataset import Dataset

from dicom_listener.steps import IAN, MPPS, changed, created
from hoichan.errors import SpoolFull
from hoichan.intake.dataset import read_header
from hoichan.intake.evidence import Source, evidence_of
from hoichan.intake.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import MARKER, encode
from hoichan.types import StudyInstanceUID

STUDY = StudyInstanceUID("1.2.3")
STEP = "1.2.3.9"


def item(**attributes):
    data_set = Dataset()
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return data_set


def begun(status="IN PROGRESS", study=STUDY):
    return item(
        PerformedProcedureStepStatus=status,
        PatientName=MARKER,
        PerformedProcedureStepDescription=MARKER,
        ScheduledStepAttributesSequence=[item(StudyInstanceUID=study)],
    )


def performed(*uids, others=(), status="COMPLETED"):
    series = item(
        SeriesDescription=MARKER,
        ReferencedImageSequence=[item(ReferencedSOPInstanceUID=uid) for uid in uids],
        ReferencedNonImageCompositeSOPInstanceSequence=[item(ReferencedSOPInstanceUID=uid) for uid in others],
    )
    return item(PerformedProcedureStepStatus=status, PerformedSeriesSequence=[series])


def notified(*instances, study=STUDY):
    references = [item(ReferencedSOPInstanceUID=uid, InstanceAvailability=how) for uid, how in instances]
    return item(StudyInstanceUID=study, ReferencedSeriesSequence=[item(ReferencedSOPSequence=references)])


@pytest.fixture
def spool():
    return FakeSpool()


def create(spool, data_set, *, uid=STEP, kind=MPPS, syntax=EXPLICIT_LITTLE):
    request = SimpleNamespace(AffectedSOPClassUID=kind, AffectedSOPInstanceUID=uid)
    return created(spool, request, read_header(encode(data_set, syntax), syntax)).status


def update(spool, data_set, *, uid=STEP, kind=MPPS):
    request = SimpleNamespace(RequestedSOPClassUID=kind, RequestedSOPInstanceUID=uid)
    return changed(spool, request, read_header(encode(data_set), EXPLICIT_LITTLE)).status


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_a_step_begins_names_its_images_and_ends(spool, syntax):
    assert create(spool, begun(), syntax=syntax) == 0x0000
    assert evidence_of(spool, STUDY).in_progress and spool.take_fresh() == [STUDY]
    assert update(spool, performed("1.2.3.4", status="IN PROGRESS")) == 0x0000
    assert evidence_of(spool, STUDY).in_progress and evidence_of(spool, STUDY).expected == {}
    assert update(spool, performed("1.2.3.4", "1.2.3.5", others=["1.2.3.6"])) == 0x0000
    known = evidence_of(spool, STUDY)
    assert not known.in_progress
    assert known.expected == {Source.MPPS: {"1.2.3.4", "1.2.3.5", "1.2.3.6"}}


def test_the_images_named_on_the_way_count_when_the_end_names_none(spool):
    create(spool, begun())
    update(spool, performed("1.2.3.4", status="IN PROGRESS"))
    update(spool, item(PerformedProcedureStepStatus="COMPLETED"))
    assert evidence_of(spool, STUDY).expected == {Source.MPPS: {"1.2.3.4"}}


def test_a_discontinued_step_says_nothing(spool):
    create(spool, begun())
    update(spool, performed("1.2.3.4", status="DISCONTINUED"))
    assert evidence_of(spool, STUDY).expected == {} and not evidence_of(spool, STUDY).in_progress


def test_a_step_that_ended_is_not_changed(spool):
    create(spool, begun())
    update(spool, performed("1.2.3.4"))
    assert update(spool, performed("1.2.3.5")) == 0x0110
    assert evidence_of(spool, STUDY).expected == {Source.MPPS: {"1.2.3.4"}}


def test_two_steps_of_a_study_are_both_waited_for(spool):
    create(spool, begun(), uid="1.1")
    create(spool, begun(), uid="1.2")
    update(spool, performed("1.2.3.4"), uid="1.1")
    assert evidence_of(spool, STUDY).in_progress
    update(spool, performed("1.2.3.5"), uid="1.2")
    assert evidence_of(spool, STUDY).expected == {Source.MPPS: {"1.2.3.4", "1.2.3.5"}}


@pytest.mark.parametrize(
    ("data_set", "options", "status"),
    [
        (begun(status="COMPLETED"), {}, 0x0106),
        (begun(status=""), {}, 0x0106),
        (begun(study=""), {}, 0x0120),
        (item(PerformedProcedureStepStatus="IN PROGRESS"), {}, 0x0120),
        (begun(), {"uid": None}, 0x0117),
        (begun(), {"uid": "../1"}, 0x0117),
        (begun(), {"kind": "1.2.840.10008.5.1.1.1"}, 0x0118),
        (notified(study=""), {"kind": IAN}, 0x0120),
    ],
)
def test_what_cannot_be_kept_is_refused(spool, data_set, options, status):
    assert create(spool, data_set, **options) == status
    assert spool.take_fresh() == []


def test_a_step_is_created_once_and_only_a_known_one_is_updated(spool):
    assert update(spool, performed("1.2.3.4")) == 0x0112
    assert update(spool, performed("1.2.3.4"), uid="..") == 0x0112
    assert create(spool, begun()) == 0x0000
    assert create(spool, begun()) == 0x0111
    assert update(spool, performed("1.2.3.4", status="PAUSED")) == 0x0106
    assert update(spool, performed("1.2.3.4"), kind=IAN) == 0x0118


def test_an_availability_notice_names_what_can_be_had(spool):
    data_set = notified(("1.2.3.4", "ONLINE"), ("1.2.3.5", "NEARLINE"), ("1.2.3.6", "UNAVAILABLE"))
    assert create(spool, data_set, kind=IAN) == 0x0000
    assert evidence_of(spool, STUDY).expected == {Source.IAN: {"1.2.3.4", "1.2.3.5"}}


def test_a_full_disk_is_said(spool):
    spool.notes.full = True
    with pytest.raises(SpoolFull):
        create(spool, begun())


def test_nothing_of_a_patient_is_kept(spool):
    create(spool, begun())
    update(spool, performed("1.2.3.4"))
    assert MARKER not in str(vars(spool.notes))
