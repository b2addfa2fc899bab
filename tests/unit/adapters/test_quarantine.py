"""What lies in quarantine: what its notes say, what the record is told; made-up UIDs fill nothing."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from hoichan.adapters.database import open_database
from hoichan.adapters.quarantine_disk import (
    Lying,
    content_of,
    forget_refusals,
    lying_in,
    newest,
    take_out,
)
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.schema_set_aside import quarantined
from hoichan.adapters.spool_disk import CHANGED_CONTENT, DiskSpool
from hoichan.errors import IntakeError, RecordsUnavailable
from hoichan.intake.changes import changes_of
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.testing.database import migrated
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.testing.ports import FakeClock
from hoichan.types import StudyInstanceUID

NOT_DICOM = "intake.not_dicom"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def known(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'records.sqlite'}")
    migrated(engine)
    yield QuarantineSql(engine, FakeClock()), engine
    engine.dispose()


def store(root, data_set, *, cut=0, instance=None):
    """What a sender brings, cut off at its end; refused or not."""
    data = encode(data_set)
    with suppress(IntakeError):
        DiskSpool(root).store(
            data[: len(data) - cut],
            transfer_syntax_uid=EXPLICIT_LITTLE,
            sop_class_uid=COMPUTED_RADIOGRAPHY,
            sop_instance_uid=instance or data_set.SOPInstanceUID,
            calling_ae_title="CR_ROOM1",
        )


def refused(number, study="1.2.3"):
    return f"20261120T0800{number:02}.000000Z-abcdef01.json", Lying(
        reason=NOT_DICOM,
        sop_instance_uid=f"1.2.3.{number}",
        study_instance_uid=study,
        calling_ae_title="CR_ROOM1",
        received_at=FakeClock().now(),
        size_bytes=700,
    )


def test_a_note_says_of_which_study_it_is_who_sent_it_and_how_large_it_is(root):
    store(root, film(), cut=3)
    (one,) = lying_in(root).values()
    assert (one.reason, one.study_instance_uid) == (NOT_DICOM, film().StudyInstanceUID)
    assert (one.sop_instance_uid, one.calling_ae_title) == (film().SOPInstanceUID, "CR_ROOM1")
    assert one.size_bytes == len(encode(film())) - 3 and one.received_at.tzinfo is not None


def test_changed_content_names_its_study_too(root):
    store(root, film())
    store(root, film(pixels=b"\2\3" * 64))
    (one,) = lying_in(root).values()
    assert (one.reason, one.study_instance_uid) == (CHANGED_CONTENT, film().StudyInstanceUID)


def test_what_names_no_study_is_told_without_one(root, known):
    store(root, film(), cut=len(encode(film())) - 40)
    quarantine, _ = known
    assert quarantine.tell("a", lying_in(root)) == 1
    (one,) = quarantine.listed()
    assert (one.study_instance_uid, one.reason) == (None, NOT_DICOM)


def test_a_note_of_an_earlier_version_says_less(root):
    (root / "quarantine").mkdir(parents=True)
    note = {"reason": NOT_DICOM, "sop_instance_uid": None}
    (root / "quarantine" / "a.json").write_text(json.dumps(note), encoding="utf-8")
    assert lying_in(root) == {"a.json": Lying(reason=NOT_DICOM)}


def test_a_row_of_an_earlier_version_is_completed(known):
    quarantine, engine = known
    name, one = refused(1)
    old = {"spool": "a", "note": name, "reason": NOT_DICOM, "sop_instance_uid": "1.2.3.1"}
    with engine.begin() as connection:
        connection.execute(quarantined.insert().values(**old, seen_at=FakeClock().now()))
    assert [row.calling_ae_title for row in quarantine.listed()] == [None]
    assert quarantine.tell("a", {name: one}) == 1
    assert [row.calling_ae_title for row in quarantine.listed()] == ["CR_ROOM1"]
    assert quarantine.tell("a", {name: one}) == 0


def test_the_list_is_of_all_machines_newest_first(known):
    quarantine, _ = known
    first, second = refused(1), refused(2)
    quarantine.tell("b", dict([first]))
    quarantine.tell("a", dict([second]))
    assert [(one.spool, f"{one.name}.json") for one in quarantine.listed()] == [
        ("a", second[0]),
        ("b", first[0]),
    ]
    assert len(quarantine.listed(1)) == 1 and quarantine.counts() == {NOT_DICOM: 2}
    assert quarantine.names(StudyInstanceUID("1.2.3"))
    assert not quarantine.names(StudyInstanceUID("1.2.4"))
    quarantine.tell("a", {})
    assert [one.spool for one in quarantine.listed()] == ["b"]


def test_of_refused_images_the_newest_are_told_and_of_changed_ones_all():
    lying = dict(refused(number, study=f"1.2.{number}") for number in range(9))
    changed = {f"2020{number}.json": Lying(reason=CHANGED_CONTENT) for number in range(9)}
    told = newest({**lying, **changed}, 4)
    assert set(told) == {*changed, *(refused(number)[0] for number in range(5, 9))}
    assert newest(lying, 9) == lying


def test_notes_for_studies_that_never_came_stay_within_their_bound(root):
    store(root, film(study="here"))
    for number in range(5):
        store(root, film(study="here", instance=f"late{number}"), cut=3)
        store(root, film(study=f"made-up{number}"), cut=3)
    assert forget_refusals(root, 2) == 3
    assert forget_refusals(root, 2) == 0
    folders = {path.name for path in (root / "changes").iterdir()}
    assert folders == {film(study=name).StudyInstanceUID for name in ("here", "made-up3", "made-up4")}
    here = StudyInstanceUID(film(study="here").StudyInstanceUID)
    assert len(changes_of(DiskSpool(root).notes, here)) == 5
    assert len(list((root / "quarantine").glob("*.json"))) == 10  # the files all stay


def test_without_refusals_there_is_nothing_to_forget(root):
    DiskSpool(root)
    assert forget_refusals(root) == 0


def test_a_file_without_names_gets_a_head_to_be_handed_in_with(root):
    store(root, film(), instance="no uid")
    (name,) = lying_in(root)
    sender, content = content_of(root, name)
    assert sender == "CR_ROOM1" and content[128:132] == b"DICM" and content.endswith(encode(film()))


def test_what_is_taken_out_is_gone_with_its_note(root):
    store(root, film(), cut=3)
    (name,) = lying_in(root)
    take_out(root, name)
    assert list((root / "quarantine").iterdir()) == []
    with pytest.raises(RecordsUnavailable):
        take_out(root, name)
    with pytest.raises(RecordsUnavailable):
        content_of(root, name)
