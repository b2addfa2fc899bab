"""A record filled with synthetic studies in every state, for the page. Nobody in it is real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa

from hoichan.adapters.audit_sql import KEY_FILE, AuditSql
from hoichan.adapters.database import open_database
from hoichan.adapters.held_sql import HeldSql
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.passwords import Passwords
from hoichan.adapters.people_sql import PeopleSql
from hoichan.adapters.records_read import ReadingSql
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.adapters.tokens_sql import TokensSql
from hoichan.guard.roles import Role
from hoichan.privacy import Phi
from hoichan.reporting import plan
from hoichan.settings import DicomDestination, FhirDestination, Settings
from hoichan.testing.database import migrated
from hoichan.testing.ports import FakeClock, FakeEncoder
from hoichan.testing.reports import a_film, a_finding, a_manifest, a_refused_report, a_report, a_study
from hoichan.types import Document, Refusal, RefusalCode, Report, Study, StudyInstanceUID

HOSTILE_NAME = '<script>alert(1)</script>^"><img src=x onerror=alert(2)>\u202e'
DESTINATIONS = (
    DicomDestination(name="pacs", kind="dicom", host="127.0.0.1", port=104, ae_title="PACS"),
    FhirDestination(name="emr", kind="fhir", url="http://127.0.0.1/fhir"),
)
PEOPLE: Sequence[tuple[str, str, int, str]] = (
    ("Nguyễn^An^Văn", "M", 1958, "BN-2026-004127"),
    ("Trần^Hồng^Thị Thu", "F", 1971, "BN-2026-004131"),
    ("Lê^Đức^Minh", "M", 1949, "BN-2026-004118"),
    ("Phạm^Ngọc^Thị Bích", "F", 1990, "BN-2026-004140"),
    ("HOANG VAN THAI", "M", 1966, "79-0045512"),
    ("Võ^Út^Thị", "F", 1938, "BN-2026-004102"),
    ("Đặng^Quỳnh^Như", "F", 2003, "BN-2026-004155"),
    ("Bùi^Lâm^Thanh", "M", 1982, "BN-2026-004156"),
    ("Huỳnh^Khoa^Đăng", "M", 1977, "BN-2026-004160"),
)
Encode = Callable[[Study, Report], Sequence[Document]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An empty record in one folder, and a clock that stands still."""

    settings: Settings
    engine: sa.Engine
    studies: StudiesSql
    reading: ReadingSql
    people: PeopleSql
    tokens: TokensSql
    audit: AuditSql
    clock: FakeClock

    @property
    def held(self) -> HeldSql:
        """What is given out as DICOM objects."""
        objects = ObjectsDisk(self.settings.storage.data_dir / "objects")
        folder = self.settings.storage.data_dir / "cache"
        return HeldSql(self.engine, objects, DiskSpool(self.spool_root, reserve_bytes=0), folder)

    @property
    def spool_root(self) -> Path:
        """Where the door would put what it accepts."""
        return self.settings.storage.spool_dir


def a_record(folder: Path, settings: Settings | None = None) -> Record:
    """A record on SQLite under `folder`, at the schema of this program."""
    settings = settings or Settings.model_validate({"storage": {"data_dir": folder, "reserve_bytes": 0}})
    clock = FakeClock()
    engine = open_database(settings.storage.database_url)
    migrated(engine)
    settings.storage.spool_dir.mkdir(parents=True, exist_ok=True)
    objects = ObjectsDisk(settings.storage.data_dir / "objects")
    return Record(
        settings=settings,
        engine=engine,
        studies=StudiesSql(engine, objects, clock),
        reading=ReadingSql(engine, objects),
        people=PeopleSql(engine, clock),
        tokens=TokensSql(engine, clock),
        audit=AuditSql(engine, settings.storage.data_dir / KEY_FILE),
        clock=clock,
    )


QUICK = Passwords(time_cost=1, memory_kib=64)  # argon2id at a cost for tests
PASSWORD = "mưa rơi trên phố Huế"


def add_user(record: Record, user_name: str, role: Role = Role.RADIOLOGIST) -> None:
    """An account whose password is PASSWORD."""
    record.people.add(
        user_name, display_name=f"Người {user_name}", role=role, password_hash=QUICK.hashed(PASSWORD)
    )


def arrive(
    record: Record,
    seed: str,
    *,
    person: tuple[str, str, int, str] | None = None,
    sender: str = "CR_ROOM1",
) -> Study:
    """A film is received and recorded; not assembled."""
    name, sex, year, patient_id = person or PEOPLE[0]
    film = a_film(seed, rows=640, columns=560)
    study = a_study(film, patient_name=name, patient_id=patient_id)
    (series,) = study.series
    received = tuple(replace(one, received_at=record.clock.now()) for one in series.instances)
    study = replace(
        study,
        revision=0,
        calling_ae_title=sender,
        accession_number=f"XR2611{20000 + len(seed) * 37 + sum(map(ord, seed))}",
        patient=replace(study.patient, patient_birth_date=Phi(date(year, 3, 15)), patient_sex=sex),
        series=(replace(series, instances=received),),
    )
    record.studies.add_arrivals(study, study.instances)
    return study


def assemble(record: Record, study: Study) -> Study:
    """Close the revision."""
    assembled = record.studies.assemble(study)
    assert assembled is not None
    return assembled


def report(
    record: Record,
    study: Study,
    scores: Mapping[str, float],
    *,
    encode: Encode | None = None,
    bar: float = 0.5,
) -> Report:
    """Save a report with these scores by finding key, and its deliveries."""
    manifest = a_manifest(algorithm_name="CXR demo", algorithm_version="0.1.0")
    findings = [
        a_finding(
            study,
            key,
            score,
            operating_point=bar,
            manifest=manifest,
            box=(0.08, 0.62, 0.36, 0.9) if score >= bar else None,
        )
        for key, score in scores.items()
    ]
    made = a_report(study, findings=findings, manifest=manifest)
    keep(record, study, made, encode)
    return made


def keep(record: Record, study: Study, made: Report, encode: Encode | None = None) -> None:
    """Save a report with its documents and deliveries."""
    made = replace(made, created_at=record.clock.now())
    documents = (encode or FakeEncoder().encode)(study, made)
    deliveries = plan(made, study, DESTINATIONS, documents, record.clock.now())
    record.studies.save(study, report=made, documents=documents, deliveries=deliveries)


def fill(record: Record, *, encode: Encode | None = None) -> dict[str, StudyInstanceUID]:
    """Nine studies over ninety minutes, one a state and more; their UIDs by what they show."""
    clock, studies = record.clock, record.studies
    uids: dict[str, StudyInstanceUID] = {}

    def taken(what: str, number: int, *, name: str | None = None) -> Study:
        clock.advance(600)
        person = PEOPLE[number % len(PEOPLE)]
        study = arrive(record, what, person=(name, *person[1:]) if name else person)
        uids[what] = study.study_instance_uid
        return study

    def send(made: Report, *, refuse: str = "", later: str = "") -> None:
        for destination in DESTINATIONS:
            key = f"{made.report_uid}:{destination.name}"
            clock.advance(1)
            if destination.name == refuse:
                studies.refused(key, status="HTTP 422 business-rule")
            elif destination.name == later:
                studies.postponed(key, detail="connection refused", until=clock.now() + timedelta(seconds=40))
            else:
                studies.acknowledged(key, "0x0000" if destination.kind == "dicom" else "HTTP 200")

    nothing = {"pneumothorax": 0.03, "pleural_effusion": 0.11, "cardiomegaly": 0.31, "consolidation": 0.07}
    unflagged = assemble(record, taken("nothing", 0))
    send(report(record, unflagged, nothing, encode=encode))
    leg = assemble(record, taken("refused", 1))
    refusal = a_refused_report(leg, RefusalCode.WRONG_BODY_PART)
    keep(record, leg, refusal, encode)
    send(refusal)
    failed = assemble(record, taken("failed", 2))
    studies.fail(failed.study_instance_uid, failed.revision, code="model.runner_failed")
    routine = assemble(record, taken("routine", 3, name=HOSTILE_NAME))
    send(report(record, routine, {**nothing, "cardiomegaly": 0.71}, encode=encode), later="emr")
    urgent = assemble(record, taken("urgent", 4))
    send(
        report(record, urgent, {**nothing, "pleural_effusion": 0.74, "cardiomegaly": 0.66}, encode=encode),
        refuse="emr",
    )
    late = assemble(record, taken("late", 5))
    send(report(record, late, {**nothing, "consolidation": 0.58}, encode=encode))
    _late_film(record, late)
    critical = assemble(record, taken("critical", 6))
    report(record, critical, {**nothing, "pneumothorax": 0.83, "pleural_effusion": 0.57}, encode=encode)
    assemble(record, taken("assembled", 7))
    taken("receiving", 8)
    clock.advance(90)
    return uids


def partly_refused(record: Record, study: Study) -> Report:
    """A report whose model also stumbled over one image."""
    manifest = a_manifest()
    refusal = Refusal(
        code=RefusalCode.UNDECODABLE_PIXELS, algorithm_name=manifest.algorithm_name, series_instance_uid=None
    )
    findings = [a_finding(study, "pleural_effusion", 0.2, manifest=manifest)]
    made = a_report(study, findings=findings, refusals=(refusal,), manifest=manifest)
    keep(record, study, made)
    return made


def _late_film(record: Record, study: Study) -> None:
    """One more image of a study that has a report already."""
    record.clock.advance(60)
    (series,) = study.series
    (first,) = series.instances
    uid = a_study(a_film("another")).instances[0].sop_instance_uid
    more = replace(first, sop_instance_uid=uid, instance_number=2, received_at=record.clock.now())
    record.studies.add_arrivals(replace(study, series=(replace(series, instances=(first, more)),)), [more])
