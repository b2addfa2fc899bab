"""A modality tells over the wire what it does (MPPS), and an image manager what it has (IAN)."""

from contextlib import contextmanager
from pathlib import PurePosixPath

import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_context
from structlog.testing import capture_logs

from dicom_listener import Door
from dicom_listener.steps import IAN, MPPS
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.evidence import Source, evidence_of
from hoichan.intake.headers import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.settings import Listener
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, MARKER, film
from hoichan.uids import derived_uid
from tests.integration.test_listener import association, send

STEP = "1.2.3.9"


@pytest.fixture
def spool(tmp_path):
    return DiskSpool(tmp_path)


@contextmanager
def modality(spool, syntax=EXPLICIT_LITTLE):
    door = Door(spool, Listener(port=0))
    port = door.open()
    contexts = [build_context(MPPS, syntax), build_context(IAN, syntax)]
    contexts.append(build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE))
    try:
        with association(port, contexts=contexts) as made:
            yield made
    finally:
        door.close()


def item(**attributes):
    data_set = Dataset()
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return data_set


def begun():
    return item(
        PerformedProcedureStepStatus="IN PROGRESS",
        PatientName=MARKER,
        ScheduledStepAttributesSequence=[item(StudyInstanceUID=film().StudyInstanceUID)],
        PerformedSeriesSequence=[],
    )


def ended(count):
    images = [
        item(
            ReferencedSOPClassUID=COMPUTED_RADIOGRAPHY,
            ReferencedSOPInstanceUID=derived_uid("test", "study", "series", str(number)),  # as `film` does
        )
        for number in range(count)
    ]
    return item(
        PerformedProcedureStepStatus="COMPLETED",
        PerformedSeriesSequence=[item(SeriesDescription=MARKER, ReferencedImageSequence=images)],
    )


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_a_step_survives_from_its_begin_to_its_end(spool, syntax, tmp_path):
    with modality(spool, syntax) as made:
        assert made.send_n_create(begun(), MPPS, STEP)[0].Status == 0x0000
        assert send(made, film(instance="0")).Status == 0x0000
    again = DiskSpool(tmp_path)  # the listener was started again
    assert evidence_of(again, film().StudyInstanceUID).in_progress
    with modality(again, syntax) as made:
        assert made.send_n_set(ended(2000), MPPS, STEP)[0].Status == 0x0000
        assert made.send_n_set(ended(1), MPPS, STEP)[0].Status == 0x0110
    (expected,) = evidence_of(again, film().StudyInstanceUID).expected.items()
    assert expected[0] is Source.MPPS and len(expected[1]) == 2000
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert kept and MARKER not in kept


def test_a_notice_of_availability_is_kept(spool):
    references = [
        item(
            ReferencedSOPClassUID=COMPUTED_RADIOGRAPHY,
            ReferencedSOPInstanceUID=film().SOPInstanceUID,
            InstanceAvailability="ONLINE",
            RetrieveAETitle="PACS",
        )
    ]
    notice = item(
        StudyInstanceUID=film().StudyInstanceUID,
        ReferencedSeriesSequence=[item(SeriesInstanceUID="1.2.4", ReferencedSOPSequence=references)],
    )
    with modality(spool) as made:
        assert made.send_n_create(notice, IAN, "1.2.3.10")[0].Status == 0x0000
    evidence = evidence_of(spool, film().StudyInstanceUID)
    assert evidence.expected == {Source.IAN: {film().SOPInstanceUID}}
    assert evidence.retrieve_from == {"PACS": {film().SOPInstanceUID}}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:The value length")
def test_nothing_of_a_patient_is_said_of_a_malformed_step(spool, tmp_path, capfd):
    odd = begun()
    odd.ScheduledStepAttributesSequence[0].StudyInstanceUID = MARKER
    with capture_logs() as lines, modality(spool) as made:
        assert made.send_n_create(odd, MPPS, STEP)[0].Status == 0x0120
        odd.PerformedProcedureStepStatus = MARKER
        assert made.send_n_create(odd, MPPS, STEP)[0].Status == 0x0106
    said = capfd.readouterr()
    assert MARKER not in str(lines) + said.out + said.err + str(list(tmp_path.rglob("*")))


def test_a_step_is_not_given_out(spool):
    with modality(spool) as made:
        assert made.send_n_create(begun(), MPPS, STEP)[0].Status == 0x0000
        answer, data_set = made.send_n_get([0x00100010], MPPS, STEP)
        assert (answer.Status, data_set) == (0x0211, None)
        assert answer.ErrorComment == "This SOP class has no such operation here"


def test_an_unknown_step_and_an_unknown_class_are_refused(spool):
    with modality(spool) as made:
        assert made.send_n_set(ended(1), MPPS, "1.2.3.77")[0].Status == 0x0112
        assert made.send_n_create(begun(), "1.2.840.10008.5.1.1.1", STEP, meta_uid=MPPS)[0].Status == 0x0118
    assert spool.notes.names(PurePosixPath("steps")) == []
