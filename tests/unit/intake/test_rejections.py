"""What a rejection note takes back, and what it does not."""

import pytest

from hoichan.errors import NotDicom
from hoichan.intake.assembly import merge
from hoichan.intake.dataset import read_header, read_spooled
from hoichan.intake.headers import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.rejections import mark_rejected, read_rejection, rejection_of, withdrawn
from hoichan.settings import Site
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import encode, film, rejection_note


@pytest.fixture
def spool():
    fake = FakeSpool()
    yield fake
    fake.close()


def store(spool, data_set, syntax=EXPLICIT_LITTLE):
    return spool.store(
        encode(data_set, syntax),
        transfer_syntax_uid=syntax,
        sop_class_uid=data_set.SOPClassUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        calling_ae_title="PACS",
    )


def study(spool):
    (uid,) = spool.every_study()
    return merge([read_spooled(spool, spooled, Site().zone) for spooled in spool.listing(uid)])


def header(data_set):
    return read_header(encode(data_set), EXPLICIT_LITTLE)


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED])
def test_the_note_names_its_title_and_the_images(spool, syntax):
    first, second = film(instance="1"), film(instance="2")
    path = store(spool, rejection_note(first, second, title="113001"), syntax).path
    found = read_rejection(spool, path)
    assert found.title == "113001" and found.withdraws
    assert found.instances == {first.StudyInstanceUID: {first.SOPInstanceUID, second.SOPInstanceUID}}


def test_only_the_named_images_of_the_study_are_marked(spool):
    kept, bad = film(instance="1"), film(instance="2")
    for data_set in (kept, bad, rejection_note(bad)):
        store(spool, data_set)
    marked = mark_rejected(study(spool), withdrawn(spool, study(spool)))
    assert [i.sop_instance_uid for i in marked.instances if i.rejected] == [bad.SOPInstanceUID]


def test_images_whose_time_is_over_keep_their_answer(spool):
    store(spool, film())
    store(spool, rejection_note(film(), title="113039"))
    assert withdrawn(spool, study(spool)) == frozenset()


@pytest.mark.parametrize("title", ["113000", "121322", ""])
def test_other_key_objects_reject_nothing(title):
    assert rejection_of(header(rejection_note(film(), title=title))) is None


def test_a_title_of_another_scheme_and_a_note_without_one_reject_nothing():
    note = rejection_note(film())
    note.ConceptNameCodeSequence[0].CodingSchemeDesignator = "99LOCAL"
    assert rejection_of(header(note)) is None
    del note.ConceptNameCodeSequence
    assert rejection_of(header(note)) is None


def test_malformed_references_are_passed_over():
    note = rejection_note(film())
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    del series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert rejection_of(header(note)).instances == {film().StudyInstanceUID: frozenset()}
    del note.CurrentRequestedProcedureEvidenceSequence
    assert rejection_of(header(note)).instances == {}


def test_an_absurdly_large_note_is_not_read(spool):
    note = rejection_note(film())
    note.add_new(0x00420011, "OB", b"\0" * (17 << 20))
    with pytest.raises(NotDicom):
        read_rejection(spool, store(spool, note).path)
