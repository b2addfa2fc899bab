"""The only place where ports meet adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hoichan.adapters.audit_sql import KEY_FILE, AuditSql
from hoichan.adapters.clock import SystemClock
from hoichan.adapters.database import migrate, open_database
from hoichan.adapters.people_sql import PeopleSql
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.spool_shared import SharedSpool
from hoichan.adapters.stores import open_objects, open_spool
from hoichan.adapters.tokens_sql import TokensSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.analysis.manifests import Shelf, discover, shelf_roots
from hoichan.ports import Encoder, Objects, Probe, Runner, Sink
from hoichan.settings import (
    DicomDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
    Settings,
)

if TYPE_CHECKING:
    from service.commitments import Committer


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What every process of the service shares."""

    settings: Settings
    clock: SystemClock
    engine: sa.Engine
    objects: Objects
    studies: StudiesSql
    people: PeopleSql
    tokens: TokensSql
    audit: AuditSql
    spool: SharedSpool
    work: WorkSql


def open_house(settings: Settings) -> House:
    """Open the stores and bring the database to the version of this program. Raises ConfigurationError."""
    clock = SystemClock()
    engine = open_database(settings.storage.database_url)
    migrate(engine)
    objects = open_objects(settings.storage)
    return House(
        settings=settings,
        clock=clock,
        engine=engine,
        objects=objects,
        studies=StudiesSql(engine, objects, clock),
        people=PeopleSql(engine, clock),
        tokens=TokensSql(engine, clock),
        audit=AuditSql(engine, settings.storage.data_dir / KEY_FILE),
        work=WorkSql(engine, clock),
        spool=open_spool(settings, engine),
    )


def shelf(settings: Settings) -> Shelf:
    """The model packages that may be used, and those that may not."""
    return discover(shelf_roots(settings.storage.data_dir))


def runner(house: House) -> Runner:
    """What executes models."""
    from hoichan.adapters.runner_onnx import OnnxRunner  # noqa: PLC0415  only workers pay for it

    return OnnxRunner(lambda path: Path(house.spool.file(path)), house.clock)


def encoder(house: House) -> Encoder:
    """What writes documents."""
    from hoichan.adapters.encoder import DocumentEncoder  # noqa: PLC0415  only workers pay for it

    return DocumentEncoder(house.spool, house.settings)


def sinks(settings: Settings) -> Mapping[str, Sink]:
    """One sink a destination, by its name."""
    from hoichan.adapters.sink_dimse import DimseSink  # noqa: PLC0415
    from hoichan.adapters.sink_fhir import FhirSink  # noqa: PLC0415
    from hoichan.adapters.sink_folder import FolderSink  # noqa: PLC0415
    from hoichan.adapters.sink_mllp import MllpSink  # noqa: PLC0415

    made: dict[str, Sink] = {}
    for destination in settings.effective_destinations:
        match destination:
            case DicomDestination():
                title = destination.calling_ae_title or settings.listener.ae_title
                made[destination.name] = DimseSink(destination, title)
            case FhirDestination():
                made[destination.name] = FhirSink(destination)
            case Hl7Destination():
                made[destination.name] = MllpSink(destination)
            case FolderDestination():
                made[destination.name] = FolderSink(destination)
    return made


def committer(house: House, sinks_by_name: Mapping[str, Sink]) -> Committer | None:
    """What asks for storage commitment; None where no destination wants it."""
    from hoichan.adapters.commitment_dimse import CommitmentScu  # noqa: PLC0415  only workers pay for it
    from hoichan.adapters.commitments_sql import CommitmentsSql  # noqa: PLC0415
    from service.commitments import Committer  # noqa: PLC0415

    settings = house.settings
    wanted = [
        destination
        for destination in settings.effective_destinations
        if isinstance(destination, DicomDestination) and destination.commitment
    ]
    if not wanted:
        return None
    return Committer(
        CommitmentsSql(house.engine),
        house.studies,
        house.spool,
        house.clock,
        destinations=wanted,
        pacs={one.name: CommitmentScu(one, settings.listener.ae_title) for one in wanted},
        sinks=sinks_by_name,
    )


def probes(settings: Settings) -> Mapping[str, Probe]:
    """How to knock at each receiver, by its name."""
    from hoichan.adapters.probes import probe_of  # noqa: PLC0415

    return {
        destination.name: probe_of(destination, settings.listener.ae_title)
        for destination in settings.effective_destinations
    }
