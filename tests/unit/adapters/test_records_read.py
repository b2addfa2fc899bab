"""The reading side of the record."""

import shutil

import pytest
import sqlalchemy as sa

from hoichan.adapters import reading_order
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.reading_order import Place
from hoichan.adapters.records_read import ReadingSql
from hoichan.adapters.schema import deliveries, studies
from hoichan.errors import RecordsUnavailable, StudyUnknown
from hoichan.testing.reading import a_record, arrive, assemble, fill, partly_refused, report
from hoichan.types import DocumentKind, Outcome, SOPInstanceUID, StudyInstanceUID, StudyState, Tier

ORDER = ["critical", "urgent", "late", "routine", "nothing", "refused", "failed", "assembled", "receiving"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    record = a_record(folder)
    uids = fill(record)
    record.engine.dispose()
    return folder, uids


@pytest.fixture
def record(filled, tmp_path):
    shutil.copytree(filled[0], tmp_path / "data")
    record = a_record(tmp_path / "data")
    yield record
    record.engine.dispose()


@pytest.fixture
def uids(filled):
    return filled[1]


def test_the_list_is_by_tier_then_oldest_first(record, uids):
    names = {uid: name for name, uid in uids.items()}
    found = record.reading.reading_list()
    assert [names[entry.study_instance_uid] for entry in found.entries] == ORDER
    assert found.total == len(ORDER)
    assert found.by_state[StudyState.REPORTED] == 3


def test_a_signed_study_leaves_the_open_list(record, uids):
    with record.engine.begin() as connection:
        connection.execute(
            studies.update()
            .where(studies.c.study_instance_uid == uids["critical"])
            .values(state=StudyState.SIGNED)
        )
    assert uids["critical"] not in {one.study_instance_uid for one in record.reading.reading_list().entries}
    signed = record.reading.reading_list(state=StudyState.SIGNED)
    assert [one.study_instance_uid for one in signed.entries] == [uids["critical"]]
    assert (signed.total, record.reading.reading_list().total) == (1, len(ORDER) - 1)


def test_pages_join_without_gap_or_repeat(record):
    whole = [one.study_instance_uid for one in record.reading.reading_list().entries]
    parts = [
        one.study_instance_uid
        for offset in range(0, 12, 4)
        for one in record.reading.reading_list(limit=4, offset=offset).entries
    ]
    assert parts == whole


@pytest.mark.parametrize("state", [None, StudyState.REPORTED])
def test_pages_join_by_their_places_both_ways(record, state):
    whole = [one.study_instance_uid for one in record.reading.reading_list(state=state).entries]
    seen, page = [], record.reading.reading_list(state=state, limit=2)
    assert page.previous is None
    while page.next is not None:
        seen += [one.study_instance_uid for one in page.entries]
        page = record.reading.reading_list(state=state, limit=2, after=Place.parse(str(page.next)))
    seen += [one.study_instance_uid for one in page.entries]
    assert seen == whole
    back = [one.study_instance_uid for one in page.entries]
    while page.previous is not None:
        page = record.reading.reading_list(state=state, limit=2, before=page.previous)
        back = [one.study_instance_uid for one in page.entries] + back
    assert back == whole


def test_a_place_beyond_the_end_is_an_empty_page(record):
    last = record.reading.reading_list().entries[-1]
    place = Place(tier=9, first_received_at=last.first_received_at, study_instance_uid="9.9")
    page = record.reading.reading_list(after=place)
    assert (page.entries, page.next, page.previous) == ((), None, None)


@pytest.mark.parametrize(
    "text", ["", "9", "9-1-", "-1-1-1.2", "9-1-1.2 ", "9-999999999999999999-1.2", "9-1-1.2\n", "a-b-c"]
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(ValueError, match="Not a place"):
        Place.parse(text)


def test_a_long_list_is_counted_up_to_a_bound(record):
    with record.engine.connect() as connection:
        counted = reading_order.few_by_state(connection, up_to=2)
    assert counted[StudyState.REPORTED] == 2 and counted[StudyState.FAILED] == 1


def test_a_late_image_shows_the_earlier_report(record, uids):
    entry = record.reading.study(uids["late"]).entry
    assert entry.state is StudyState.RECEIVING
    assert entry.report is not None
    assert (entry.report.revision, entry.tier) == (1, Tier.URGENT)


def test_one_study_has_everything_that_is_kept(record, uids):
    view = record.reading.study(uids["urgent"])
    report = view.entry.report
    assert report is not None
    assert [finding.key for finding in report.positives] == ["pleural_effusion", "cardiomegaly"]
    assert report.positives[0].evidence[0].graphic_data
    assert {one.destination: one.state for one in view.deliveries} == {"pacs": "sent", "emr": "dead"}
    assert {one.kind for one in view.documents} >= {DocumentKind.SC, DocumentKind.SR}
    assert record.reading.content(view.documents[0])
    assert view.results[0].provider == "CPUExecutionProvider"
    assert [(one.modality, one.instances) for one in view.series] == [("CR", 1)]
    assert [one.revision for one in view.revisions] == [1]
    assert "Văn" not in repr(view)


def test_a_part_that_was_not_analysed_is_told(record):
    study = assemble(record, arrive(record, "partly"))
    partly_refused(record, study)
    report = record.reading.study(study.study_instance_uid).entry.report
    assert report is not None
    assert report.outcome is Outcome.PARTIAL_WITHOUT_FINDINGS
    assert [refusal.code for refusal in report.refusals] == ["undecodable_pixels"]


def test_the_trail_is_oldest_first(record, uids):
    trail = record.reading.trail(uids["urgent"])
    assert [line.event for line in trail] == [
        "instances_received",
        "study_assembled",
        "report_saved",
        "delivery_acknowledged",
        "delivery_refused",
    ]


@pytest.mark.parametrize("ask", ["study", "trail", "documents"])
def test_an_unknown_study_is_said_so(record, ask):
    with pytest.raises(StudyUnknown):
        getattr(record.reading, ask)(StudyInstanceUID("1.2.3"))


def test_counts_are_what_an_operator_watches(record):
    counts = record.reading.counts()
    assert (counts.instances, counts.pending_deliveries, counts.dead_deliveries) == (10, 3, 1)
    assert counts.oldest_undelivered_at is not None
    assert counts.studies[StudyState.FAILED] == 1


def test_a_database_that_is_away_can_be_tried_again(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'nowhere' / 'none.sqlite'}")
    reading = ReadingSql(engine, ObjectsDisk(tmp_path))
    for ask in (reading.reading_list, reading.counts, reading.schema_version):
        with pytest.raises(RecordsUnavailable):
            ask()
    engine.dispose()


def test_a_folder_is_told_without_the_path_of_the_machine(record, uids):
    with record.engine.begin() as connection:
        connection.execute(
            sa.update(deliveries).values(kind="folder", acknowledgement="/srv/hoichan/outbox/1.2/1.3")
        )
    told = {one.acknowledgement for one in record.reading.study(uids["urgent"]).deliveries}
    assert told == {"1.2/1.3"}


def test_a_result_that_a_note_took_back_is_told_as_such(tmp_path):
    record = a_record(tmp_path)
    study = assemble(record, arrive(record, "film"))
    uid = study.study_instance_uid
    made = report(record, study, {"pleural_effusion": 0.91})
    sr = record.studies.document(made.report_uid, DocumentKind.SR)
    for taken_back in (False, True):
        (entry,) = record.reading.reading_list().entries
        assert (entry.report.report_uid, entry.report.taken_back) == (made.report_uid, taken_back)
        assert record.reading.study(uid).entry.report.taken_back is taken_back
        title = "Rejected for Patient Safety Reasons"
        record.studies.take_back(uid, [SOPInstanceUID(sr.uid)], note=SOPInstanceUID("2.25.9"), title=title)
    record.engine.dispose()
