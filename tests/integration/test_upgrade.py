"""A database of the second version, with rows in every table it had, stands whole at the newest schema."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from hoichan.adapters import database as migrations
from hoichan.adapters.audit_sql import KEY_FILE, AuditSql
from hoichan.adapters.database import HEAD, migrate, open_database, schema_version
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.retention_sql import RetentionSql
from hoichan.adapters.schema import metadata
from hoichan.testing.ports import FakeClock
from hoichan.types import StudyState

AT = datetime(2025, 11, 20, 8, tzinfo=UTC)
UID, SERIES, INSTANCE, REPORT = "1.2.3", "1.2.3.1", "1.2.3.1.1", "2.25.9"

# What the program of the second version wrote, column by column: this list never changes.
ROWS = {
    "studies": {
        "study_instance_uid": UID, "state": "delivered", "last_revision": 1, "tier": 1,
        "calling_ae_title": "CR1", "patient_id": "BN0001", "patient_name": "Nguyễn^An^Văn",
        "patient_birth_date": date(1970, 1, 31), "patient_sex": "M", "accession_number": "A1",
        "modalities": "CR", "first_received_at": AT, "last_received_at": AT, "reported_at": AT,
        "delivered_at": AT,
    },
    "series": {
        "study_instance_uid": UID, "series_instance_uid": SERIES, "modality": "CR", "series_number": 1,
    },
    "instances": {
        "study_instance_uid": UID, "sop_instance_uid": INSTANCE, "series_instance_uid": SERIES, "revision": 1,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1", "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "number_of_frames": 1, "rows": 8, "columns": 8, "image_type": ["ORIGINAL", "PRIMARY"],
        "path": f"studies/00/{UID}/{INSTANCE}.dcm", "sha256": "0" * 64, "received_at": AT,
    },
    "revisions": {
        "study_instance_uid": UID, "revision": 1, "state": "reported", "closed_by": "association_released",
        "runs": 0, "begun": 0, "assembled_at": AT,
    },
    "reports": {
        "report_uid": REPORT, "study_instance_uid": UID, "revision": 1, "status": "unverified",
        "outcome": "without_findings", "findings": [], "refusals": [], "algorithms": [],
        "conclusion": {"vi": "x"}, "disclaimer": {"vi": "x"}, "created_at": AT,
    },
    "results": {
        "report_uid": REPORT, "sop_instance_uid": INSTANCE, "algorithm_name": "cxr", "algorithm_version": "1",
        "weights_sha256": "0" * 64, "logits": {"Effusion": -1.5}, "gate": 0.99, "provider": "CPU",
        "warnings": [], "started_at": AT, "ended_at": AT,
    },
    "documents": {
        "report_uid": REPORT, "kind": "sr", "destination": "", "position": 0, "uid": REPORT,
        "sop_class_uid": "1.2", "media_type": "application/dicom", "sha256": "1" * 64,
    },
    "deliveries": {
        "idempotency_key": "k", "report_uid": REPORT, "study_instance_uid": UID, "revision": 1,
        "destination": "pacs", "kind": "dicom", "documents": ["sr"], "state": "pending", "attempts": 3,
        "created_at": AT, "next_attempt_at": AT,
    },
    "trail": {"study_instance_uid": UID, "at": AT, "event": "report_saved", "details": {"revision": 1}},
    "users": {
        "user_name": "bs.an", "display_name": "BS. An", "role": "radiologist", "password_hash": "x",
        "created_at": AT, "password_changed_at": AT,
    },
    "sessions": {"session_sha256": "2" * 64, "user_name": "bs.an", "created_at": AT, "seen_at": AT},
}  # fmt: skip


@pytest.fixture
def engine(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'records.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent / "migrations"))
    with opened.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    with opened.begin() as connection:
        for name, row in ROWS.items():
            table = metadata.tables[name]
            connection.execute(sa.insert(table).values(row))
    yield opened
    opened.dispose()


def test_rows_of_the_second_version_read_back_at_the_newest(engine, tmp_path):
    assert migrate(engine) == "0002"
    assert schema_version(engine) == HEAD
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for name, row in ROWS.items():
            found = connection.execute(sa.select(metadata.tables[name])).mappings().one()
            assert {column: found[column] for column in row} == row
        met = {tuple(row) for row in connection.execute(sa.select(metadata.tables["name_pairs"]))}
    assert {("an", "nguyen"), ("nguyen", "an"), ("van", "an"), ("an", "van")} <= met
    studies = StudiesSql(engine, ObjectsDisk(tmp_path / "objects"), FakeClock())
    study = studies.current(UID)
    assert study.patient.patient_name.reveal() == "Nguyễn^An^Văn" and len(study.instances) == 1
    assert studies.load(UID, 1).state is StudyState.REPORTED
    (delivery,) = studies.due(FakeClock().now())
    assert delivery.attempts == 3 and delivery.committed_at is None
    assert studies.begin_try("k") == 1
    studies.acknowledged("k", "0x0000")
    assert [line.event for line in studies.trail(UID)] == ["report_saved", "delivery_acknowledged"]
    (facts,) = RetentionSql(engine).candidates(FakeClock().now(), set())
    assert facts.undelivered == 0 and not facts.on_hold
    assert AuditSql(engine, tmp_path / KEY_FILE).verify() is None
