"""What every spool promises; the same tests on the fake and on the disk."""

import hashlib
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import IncompleteObject, IntakeError, NotDicom, SpoolFull, WrongSopClass
from hoichan.intake.changes import changes_of
from hoichan.intake.evidence import Evidence, Notice, Source, StepState, evidence_of, keep, step
from hoichan.intake.headers import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import digest, read_meta
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.types import SOPInstanceUID, StudyInstanceUID


@pytest.fixture(params=["fake", "disk"])
def doors(request, tmp_path):
    """Two doors of one spool: on the disk as two processes have them."""
    if request.param == "disk":
        yield DiskSpool(tmp_path / "spool"), DiskSpool(tmp_path / "spool")
        return
    fake = FakeSpool()
    yield fake, fake
    fake.close()


@pytest.fixture
def spool(doors):
    return doors[0]


def store(spool, data_set=None, *, data=None, syntax=EXPLICIT_LITTLE, title="CR_ROOM1", instance=None):
    data_set = data_set if data_set is not None else film()
    return spool.store(
        encode(data_set, syntax) if data is None else data,
        transfer_syntax_uid=syntax,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=instance or data_set.SOPInstanceUID,
        calling_ae_title=title,
    )


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED])
def test_the_bytes_are_kept_exactly_as_they_came(spool, syntax):
    data = encode(film(), syntax)
    stored = store(spool, data=data, syntax=syntax)
    assert (stored.duplicate, stored.quarantined) == (False, None)
    kept = spool.file(stored.path).read_bytes()
    assert kept[read_meta(kept).offset :] == data
    assert digest(kept, read_meta(kept)) == hashlib.sha256(data).hexdigest()
    assert read_meta(kept).transfer_syntax_uid == syntax


def receive(spool, data_set, *, title="CR_ROOM1"):
    return spool.receive(
        transfer_syntax_uid=EXPLICIT_LITTLE,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=data_set.SOPInstanceUID,
        calling_ae_title=title,
    )


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_what_arrives_in_pieces_is_kept_as_it_came(spool, size):
    data = encode(film(pixels=bytes(range(256)) * 8))
    incoming = receive(spool, film())
    pieces = [memoryview(data)[at : at + size] for at in range(0, len(data), size)]
    for at in range(0, len(pieces), 700):
        incoming.write(pieces[at : at + 700])
    assert spool.every_study() == []
    stored = incoming.keep()
    kept = spool.file(stored.path).read_bytes()
    assert kept[read_meta(kept).offset :] == data
    assert digest(kept, read_meta(kept)) == hashlib.sha256(data).hexdigest()
    assert store(spool, data=data).duplicate


def test_what_breaks_off_leaves_nothing(spool):
    data = encode(film())
    incoming = receive(spool, film())
    incoming.write([data[:100]])
    incoming.drop()
    incoming.drop()
    with pytest.raises(SpoolFull):
        incoming.write([data[100:]])
    with pytest.raises(SpoolFull):
        incoming.keep()
    assert spool.every_study() == [] and spool.take_fresh() == []
    assert not store(spool, data=data).duplicate


def test_nothing_can_be_taken_back_once_it_is_kept(spool):
    data = encode(film())
    incoming = receive(spool, film())
    incoming.write([data])
    stored = incoming.keep()
    incoming.drop()
    assert [spooled.path for spooled in spool.listing(stored.study_instance_uid)] == [stored.path]
    with pytest.raises(SpoolFull):
        incoming.keep()


def test_the_same_bytes_again_are_a_duplicate_without_a_new_mark(spool):
    first = store(spool)
    spool.take_fresh()
    again = store(spool, title="ANOTHER")
    assert again.duplicate and again.quarantined is None and again.path == first.path
    assert spool.take_fresh() == []
    assert len(spool.listing(first.study_instance_uid)) == 1


def test_changed_content_goes_aside_and_never_replaces(spool):
    first = store(spool)
    spool.take_fresh()
    kept = spool.file(first.path).read_bytes()
    changed = store(spool, film(pixels=b"\2\1" * 64))
    assert changed.quarantined == "changed_content" and not changed.duplicate
    assert changed.path != first.path and changed.path.parts[0] == "quarantine"
    assert spool.file(first.path).read_bytes() == kept
    store(spool, film(pixels=b"\2\1" * 64))  # once more
    assert spool.take_fresh() == [first.study_instance_uid]  # somebody has to look at it
    (told,) = changes_of(spool.notes, first.study_instance_uid)
    assert (told.path, told.sop_instance_uid) == (changed.path, first.sop_instance_uid)
    assert spool.file(told.path).read_bytes().endswith(b"\2\1" * 64)


def test_what_is_refused_is_told_to_the_study_that_it_names(spool):
    damaged = encode(film(pixels=b"\2\1" * 64))[:-20]  # cut off in its pixels
    for last in (False, True):
        with pytest.raises(NotDicom):
            spool.store(
                damaged,
                transfer_syntax_uid=EXPLICIT_LITTLE,
                sop_class_uid=film().SOPClassUID,
                sop_instance_uid=film().SOPInstanceUID,
                calling_ae_title="CT1",
            )
        assert spool.take_fresh() == ([film().StudyInstanceUID] if last else [])  # nothing to look at yet
        if not last:
            store(spool, film(instance="2"))
            spool.take_fresh()
    (told,) = changes_of(spool.notes, film().StudyInstanceUID)
    assert (told.sop_instance_uid, told.refused) == (film().SOPInstanceUID, "intake.not_dicom")
    assert told.calling_ae_title == "CT1" and told.path.parts[0] == "quarantine"
    assert len(spool.listing(film().StudyInstanceUID)) == 1


def test_what_is_refused_and_names_no_study_is_told_to_none(spool):
    with pytest.raises(NotDicom):
        spool.store(
            encode(film())[:40],
            transfer_syntax_uid=EXPLICIT_LITTLE,
            sop_class_uid=film().SOPClassUID,
            sop_instance_uid=film().SOPInstanceUID,
            calling_ae_title="CT1",
        )
    assert spool.take_fresh() == []


@pytest.mark.parametrize(
    ("data", "instance", "error"),
    [
        (b"no dicom at all", None, NotDicom),
        (encode(film())[:-3], None, NotDicom),
        (b"", None, NotDicom),
        (encode(film()).replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0c\x00UI"), None, IncompleteObject),
        (encode(film()), "1.2.3", WrongSopClass),
    ],
    ids=["garbage", "cut off", "empty", "no study", "another instance"],
)
def test_what_cannot_be_filed_leaves_no_study(spool, data, instance, error):
    with pytest.raises(error):
        store(spool, data=data, instance=instance)
    assert spool.every_study() == [] and spool.take_fresh() == []


def test_arrivals_are_marked_and_taken_once(spool):
    first = store(spool, film(study="a")).study_instance_uid
    second = store(spool, film(study="b")).study_instance_uid
    store(spool, film(study="a", instance="2"))
    assert sorted(spool.take_fresh()) == sorted([first, second])
    assert spool.take_fresh() == []
    assert sorted(spool.every_study()) == sorted([first, second])


def test_an_arrival_after_taking_marks_again(spool):
    study = store(spool).study_instance_uid
    spool.take_fresh()
    store(spool, film(instance="late"))
    assert spool.take_fresh() == [study]
    assert len(spool.listing(study)) == 2


def test_a_study_can_be_marked_by_hand(spool):
    study = store(spool).study_instance_uid
    spool.take_fresh()
    spool.mark_fresh(study)
    spool.mark_fresh(study)
    assert spool.take_fresh() == [study]


def test_the_listing_is_oldest_first_and_knows_the_sender(spool):
    uids = [film(instance=str(number)).SOPInstanceUID for number in range(5)]
    for number in range(5):
        store(spool, film(instance=str(number)), title=f"CR{number}")
    listing = spool.listing(film().StudyInstanceUID)
    assert [spooled.path.stem for spooled in listing] == uids
    assert [spooled.calling_ae_title for spooled in listing] == [f"CR{number}" for number in range(5)]
    moments = [spooled.received_at for spooled in listing]
    assert moments == sorted(moments) and all(moment.tzinfo is not None for moment in moments)


def test_an_unknown_study_is_empty_and_closed(spool):
    study = film(study="never seen").StudyInstanceUID
    assert list(spool.listing(study)) == [] and not spool.is_open(study)


def test_a_study_is_open_while_any_association_sends(spool):
    study = store(spool).study_instance_uid
    spool.opened(study, "one")
    spool.opened(study, "one")
    spool.opened(study, "two")
    spool.released("one")
    assert spool.is_open(study)
    spool.released("two")
    assert not spool.is_open(study)
    spool.released("two")
    spool.released("never opened")


def test_the_end_of_an_association_has_its_studies_looked_at(spool):
    study = store(spool).study_instance_uid
    spool.opened(study, "one")
    spool.take_fresh()
    spool.released("one")
    assert spool.take_fresh() == [study]


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "studies/../../x"])
def test_a_path_never_leads_out(spool, path):
    with pytest.raises(IntakeError):
        spool.file(PurePosixPath(path))


def test_filed_instances_are_located_by_their_uid_alone(spool):
    first, second = film(study="a", instance="1"), film(study="b", instance="2")
    for data_set in (first, second):
        store(spool, data_set)
    with suppress(NotDicom):
        store(spool, data=b"garbage", instance="1.2.3")
    found = spool.locate([first.SOPInstanceUID, second.SOPInstanceUID, "1.2.3"])
    assert found == {uid: COMPUTED_RADIOGRAPHY for uid in (first.SOPInstanceUID, second.SOPInstanceUID)}
    assert spool.locate([]) == {}


def test_instances_are_looked_for_in_some_studies_only(spool):
    first, second = film(study="a", instance="1"), film(study="b", instance="2")
    for data_set in (first, second):
        store(spool, data_set)
    both = [first.SOPInstanceUID, second.SOPInstanceUID]
    assert spool.locate(both, [second.StudyInstanceUID, "1.2.3"]) == {both[1]: COMPUTED_RADIOGRAPHY}
    assert spool.locate(both, []) == {}


def test_notes_are_kept_replaced_and_taken_away(spool):
    folder = PurePosixPath("evidence", "1.2.3")
    assert spool.notes.names(folder) == [] and spool.notes.read(folder / "b.json") is None
    spool.notes.write(folder / "b.json", {"state": "in_progress"})
    spool.notes.write(folder / "a.json", {"count": 1})
    spool.notes.write(folder / "b.json", {"state": "completed"})
    assert spool.notes.names(folder) == [folder / "a.json", folder / "b.json"]
    assert spool.notes.read(folder / "b.json") == {"state": "completed"}
    spool.notes.remove(folder / "b.json")
    spool.notes.remove(folder / "b.json")
    assert spool.notes.names(folder) == [folder / "a.json"]


def test_what_is_said_of_a_study_is_kept_and_has_it_looked_at(spool):
    study = StudyInstanceUID("1.2.3")
    assert evidence_of(spool, study) == Evidence() and step(spool, "1.9") is None
    begun = Notice(
        uid="1.9",
        source=Source.MPPS,
        state=StepState.IN_PROGRESS,
        studies=(study, StudyInstanceUID("1.2.4")),
        instances=frozenset(),
    )
    keep(spool, begun)
    assert step(spool, "1.9") == begun
    assert sorted(spool.take_fresh()) == ["1.2.3", "1.2.4"]
    named = frozenset({SOPInstanceUID("1.2.3.1"), SOPInstanceUID("1.2.3.2")})
    keep(spool, replace(begun, state=StepState.COMPLETED, instances=named))
    assert evidence_of(spool, study) == Evidence(expected={Source.MPPS: named})
    assert spool.every_study() == []


def test_a_note_never_lies_outside(spool):
    with pytest.raises(IntakeError):
        spool.notes.write(PurePosixPath("evidence", "..", "..", "a.json"), {})


def test_there_is_room(spool):
    assert spool.free_bytes() > 0


def test_what_one_door_took_the_other_knows(doors):
    one, other = doors
    first = store(one)
    assert store(other).duplicate
    assert store(other, film(pixels=b"\2\1" * 64)).quarantined == "changed_content"
    late = store(other, film(instance="2"))
    assert {spooled.path for spooled in one.listing(first.study_instance_uid)} == {first.path, late.path}
    assert one.take_fresh() == [first.study_instance_uid] and other.take_fresh() == []


def test_a_study_is_open_until_the_last_door_has_done(doors):
    one, other = doors
    study = store(one).study_instance_uid
    one.opened(study, "dimse")
    other.opened(study, "stow")
    one.released("dimse")
    assert one.is_open(study) and other.is_open(study)
    other.released("stow")
    assert not one.is_open(study) and not other.is_open(study)


def test_many_threads_at_two_doors_keep_the_first(doors):
    barrier = threading.Barrier(6)
    answers = []

    def send(number):
        barrier.wait()
        stored = store(doors[number % 2], film(pixels=bytes([number // 3, 0]) * 64))
        answers.append((stored.duplicate, stored.quarantined))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=str) == [(False, "changed_content")] * 3 + [(False, None)] + [(True, None)] * 2
    assert len(doors[0].listing(film().StudyInstanceUID)) == 1
