from contextlib import suppress
from pathlib import Path

import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import UID

from hoichan.errors import IncompleteObject, IntakeError, NotDicom, SpoolFull, WrongStudy
from hoichan.intake.files import MEDIA_DIRECTORY, is_media_directory, take_in
from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import split
from hoichan.intake.priors import PriorNote, is_prior, mark_prior
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, MARKER, encode, film, marked_film
from hoichan.testing.files import as_file


@pytest.fixture
def spool():
    fake = FakeSpool()
    yield fake
    fake.close()


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_a_file_is_kept_with_its_data_set_byte_for_byte(spool, syntax):
    stored = take_in(spool, as_file(film(), syntax), calling_ae_title="CD")
    kept = split(spool.file(stored.path).read_bytes())
    assert kept.data_set == encode(film(), syntax) and kept.transfer_syntax_uid == syntax
    assert spool.listing(stored.study_instance_uid)[0].calling_ae_title == "CD"


def test_the_same_file_again_is_a_duplicate_also_from_another_writer_of_meta(spool):
    take_in(spool, as_file(film()), calling_ae_title="CD")
    again = DicomBytesIO()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    FileDataset(None, film(), file_meta=meta, preamble=b"\0" * 128).save_as(again, enforce_file_format=True)
    assert take_in(spool, again.getvalue(), calling_ae_title="FOLDER").duplicate


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, DEFLATED])
@pytest.mark.parametrize("uid", ["", "1.2.3", MARKER])
def test_the_data_set_is_right_where_the_meta_is_missing_or_wrong(spool, syntax, uid):
    odd = as_file(film(), syntax, sop_class_uid=uid, sop_instance_uid=uid)
    stored = take_in(spool, odd, calling_ae_title="CD")
    assert stored.sop_instance_uid == film().SOPInstanceUID
    assert split(spool.file(stored.path).read_bytes()).sop_class_uid == COMPUTED_RADIOGRAPHY


@pytest.mark.parametrize(("sender", "is_judged"), [("STOW", True), ("PACS", False)])
def test_an_earlier_study_that_somebody_sends_is_to_be_judged(spool, sender, is_judged):
    stored = take_in(spool, as_file(film()), calling_ae_title="PACS")
    study = stored.study_instance_uid
    mark_prior(
        spool.notes,
        PriorNote(
            study_instance_uid=study,
            fetched_for="1.2.3",
            source="pacs",
            instances=frozenset({stored.sop_instance_uid}),
        ),
    )
    spool.take_fresh()
    assert take_in(spool, as_file(film()), calling_ae_title=sender).duplicate
    assert is_prior(spool.notes, study, [stored.sop_instance_uid]) is not is_judged
    assert spool.take_fresh() == ([study] if is_judged else [])


def test_only_the_named_study_is_taken(spool):
    data = as_file(film())
    with pytest.raises(WrongStudy):
        take_in(spool, data, calling_ae_title="STOW", study_instance_uid="1.2.3")
    assert spool.every_study() == []
    uid = film().StudyInstanceUID
    assert take_in(spool, data, calling_ae_title="STOW", study_instance_uid=uid).study_instance_uid == uid


def test_a_full_spool_is_said(spool):
    spool.full = True
    with pytest.raises(SpoolFull):
        take_in(spool, as_file(film()), calling_ae_title="CD")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotDicom),
        (b"no dicom", NotDicom),
        (b"\0" * 128 + b"DICM", IncompleteObject),
        (as_file(film(), meta_syntax=""), IncompleteObject),
        (as_file(film(), meta_syntax="not a uid"), IncompleteObject),
        (as_file(film())[:140], NotDicom),
        (as_file(film())[:-7], NotDicom),
        (as_file(film(), meta_syntax=IMPLICIT_LITTLE), IntakeError),
    ],
)
def test_what_cannot_be_taken_is_said_and_kept_out(spool, data, error):
    with pytest.raises(error):
        take_in(spool, data, calling_ae_title="CD")
    assert spool.every_study() == []


def test_no_error_quotes_the_data_set(spool):
    for data in (
        as_file(marked_film())[:-3],
        as_file(marked_film(), meta_syntax=MARKER),
    ):
        with pytest.raises(IntakeError) as caught:
            take_in(spool, data, calling_ae_title="CD")
        assert MARKER not in str(caught.value)


def test_a_media_directory_is_recognised_by_its_class():
    assert is_media_directory(as_file(film(), sop_class_uid=MEDIA_DIRECTORY))
    assert not is_media_directory(as_file(film(), sop_class_uid=COMPUTED_RADIOGRAPHY))
    assert not is_media_directory(b"DICOMDIR")


def test_every_file_that_pydicom_ships_is_taken_or_refused(spool):
    taken = refused = 0
    for file in (Path(pydicom.data.__file__).parent / "test_files").rglob("*.dcm"):
        try:
            take_in(spool, file.read_bytes(), calling_ae_title="CD")
            taken += 1
        except IntakeError:
            refused += 1
    assert taken > 50 and refused > 5


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_is_a_fault_of_ours(spool, data):
    syntax = data.draw(st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]))
    whole = bytearray(as_file(film(), syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(120, len(whole)))
        whole[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    with suppress(IntakeError):
        take_in(spool, bytes(whole), calling_ae_title="CD")
