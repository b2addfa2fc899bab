"""What is written down of a study and of its reports comes back as it was, and under its own person."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.adapters import rows
from hoichan.adapters.database import open_database
from hoichan.adapters.schema import instances, series, studies
from hoichan.privacy import Phi
from hoichan.testing import a_film, a_report, a_study
from hoichan.testing.database import migrated
from hoichan.types import (
    Delivery,
    DeliveryState,
    Document,
    DocumentKind,
    Patient,
    SOPInstanceUID,
    StudyInstanceUID,
    Urgency,
)

AT = datetime(2026, 11, 22, 7, 30, 0, 125000, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=64)
SOME = st.none() | TEXT
PATIENTS = st.builds(
    Patient,
    patient_id=TEXT.map(Phi),
    issuer_of_patient_id=SOME,
    national_id=st.none() | TEXT.filter(bool).map(Phi),
    patient_name=TEXT.map(Phi),
    patient_birth_date=st.none() | st.dates(date(1880, 1, 1), date(2030, 12, 31)).map(Phi),
    patient_sex=st.sampled_from([None, "M", "F", "O"]),
    patient_age_years=st.none() | st.integers(0, 130),
)
UIDS = st.lists(st.integers(0, 10**9), min_size=1, max_size=5).map(
    lambda parts: ".".join(map(str, [2, 25, *parts]))
)
FACTS = st.fixed_dictionaries(
    {
        "accession_number": SOME,
        "study_id": SOME,
        "study_description": SOME,
        "urgency": st.sampled_from(Urgency),
        "study_datetime": st.none() | st.integers(0, 10**10).map(lambda ms: AT - timedelta(milliseconds=ms)),
    }
)


@pytest.fixture(scope="module")
def engine():
    engine = open_database("sqlite://")
    migrated(engine)
    yield engine
    engine.dispose()


def kept(connection, study):
    connection.execute(studies.insert().values({"state": str(study.state), **rows.study_row(study)}))
    for one in study.series:
        connection.execute(series.insert().values(rows.series_row(study, one)))
        for instance in one.instances:
            row = {**rows.instance_row(study, one, instance), "revision": study.revision}
            connection.execute(instances.insert().values(row))


def read(connection, study):
    def of(table):
        wanted = table.c.study_instance_uid == study.study_instance_uid
        return connection.execute(sa.select(table).where(wanted)).mappings().all()

    (head,) = of(studies)
    told = {**head, "closed_by": study.closed_by, "revision_state": str(study.state)}
    return rows.study(told, of(series), of(instances), study.revision)


@settings(max_examples=40)
@given(people=st.tuples(PATIENTS, PATIENTS), facts=st.tuples(FACTS, FACTS))
def test_two_studies_come_back_each_with_its_own_person(engine, people, facts):
    made = [
        replace(a_study(a_film(seed)), patient=patient, **said)
        for seed, patient, said in zip(("one", "two"), people, facts, strict=True)
    ]
    with engine.connect() as connection:
        for study in made:
            kept(connection, study)
        assert [read(connection, study) for study in made] == made
        connection.rollback()


def test_a_study_is_received_from_its_first_image_to_its_last():
    study = a_study()
    (one,) = study.series
    (image,) = one.instances
    late = replace(image, sop_instance_uid=SOPInstanceUID("2.25.9"), received_at=AT + timedelta(hours=1))
    early = replace(image, received_at=AT)
    row = rows.study_row(replace(study, series=(replace(one, instances=(late, early)),)))
    assert (row["first_received_at"], row["last_received_at"]) == (AT, AT + timedelta(hours=1))


@given(
    kind=st.sampled_from(DocumentKind),
    place=st.sampled_from([(None, 1), (None, 2), (None, 17), ("pacs", 1), ("emr-2", 1)]),
    uid=UIDS,
    content=st.binary(max_size=20),
)
def test_a_document_keeps_its_place_and_its_receiver(kind, place, uid, content):
    destination, part = place
    document = Document(
        kind=kind,
        uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        media_type="application/dicom",
        destination=destination,
        part=part,
        content=content,
    )
    row = rows.document_row("2.25.1", document, 3, "ab" * 32)
    assert (row["report_uid"], row["position"], row["sha256"]) == ("2.25.1", 3, "ab" * 32)
    assert rows.document(row, content) == document


def test_no_two_documents_of_a_report_share_a_row():
    one = Document(kind=DocumentKind.SC, uid="2.25.2", sop_class_uid="1.2", media_type="x", content=b"")
    several = [one, replace(one, part=2), replace(one, part=3), replace(one, destination="pacs")]
    keys = [
        (row["report_uid"], row["kind"], row["destination"])
        for row in (rows.document_row("2.25.1", each, 0, "") for each in several)
    ]
    assert len(set(keys)) == len(several)


@given(
    state=st.sampled_from(DeliveryState),
    kinds=st.lists(st.sampled_from(DocumentKind), unique=True, max_size=4).map(tuple),
    attempts=st.integers(0, 10_000),
    said=st.none() | TEXT,
    revision=st.integers(1, 99),
)
def test_a_delivery_comes_back_as_it_was(state, kinds, attempts, said, revision):
    delivery = Delivery(
        report_uid=SOPInstanceUID("2.25.1"),
        study_instance_uid=StudyInstanceUID("2.25.3"),
        destination="pacs",
        kind="dicom",
        documents=kinds,
        idempotency_key="k",
        state=state,
        attempts=attempts,
        next_attempt_at=AT,
        acknowledgement=said,
    )
    row = rows.delivery_row(delivery, revision, AT)
    assert (row["revision"], row["created_at"], row["delivered_at"]) == (revision, AT, None)
    assert rows.delivery({**row, "committed_at": None}) == delivery


def test_a_report_names_the_models_that_spoke_and_where_they_looked():
    study = a_study()
    report = a_report(study)
    row = rows.report_row(report)
    assert row["study_instance_uid"] == study.study_instance_uid
    assert [one["weights_sha256"] for one in row["algorithms"]] == [
        one.weights_sha256 for one in report.manifests
    ]
    shown = {instance.sop_instance_uid for instance in study.instances}
    assert {finding["sop_instance_uid"] for finding in row["findings"]} <= shown
    assert row["measurements"] is None
