"""The only place where ports meet adapters, with `wiring_receivers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hoichan.adapters.audit_sql import KEY_FILE, AuditSql
from hoichan.adapters.changes_sql import ChangesSql
from hoichan.adapters.clock import SystemClock
from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.database import migrate, open_database
from hoichan.adapters.films_read import PIXELS_OF_A_FILM, FilmsRead
from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.adapters.links_sql import LinksSql
from hoichan.adapters.people_sql import PeopleSql
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.report_objects import report_objects
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.adapters.spool_shared import SharedSpool
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.adapters.stores import open_objects, open_spool
from hoichan.adapters.tokens_sql import TokensSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.analysis.manifests import shelf_roots
from hoichan.analysis.standing import Standing
from hoichan.errors import ConfigurationError
from hoichan.ports import Archive, Encoder, Objects, Outliner, Runner, Sink, Spool
from hoichan.reporting.deliveries import wanted
from hoichan.settings import (
    AnySource,
    DicomwebSource,
    DimseSource,
    OrthancSource,
    Settings,
    Worklist,
)
from hoichan.settings.overlay import Overlaid, of_file
from hoichan.types import DocumentKind
from service.analyst import Analyst
from service.analyst import load as load_revision
from service.corrections import Corrections
from service.receivers import in_force
from service.roster import Roster
from service.wiring_receivers import AskedPacs, pacs

if TYPE_CHECKING:
    from hoichan.adapters.worklist_dimse import WorklistScu
    from hoichan.reporting.forwarding import Courier
    from service.asking import Asking
    from service.commitments import Committer
    from service.drifting import Drifting
    from service.forwarding import Forwarding
    from service.notices import Notices
    from service.observer import Observer
    from service.reminders import Reminders


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What every process of the service shares."""

    settings: Settings  # with what the page says of receivers
    receivers: Overlaid  # where each of them came from
    clock: SystemClock
    engine: sa.Engine
    objects: Objects
    studies: StudiesSql
    people: PeopleSql
    tokens: TokensSql
    audit: AuditSql
    spool: SharedSpool
    work: WorkSql
    steering: SteeringSql
    films: FilmsRead  # between a study's models and its picture


def open_house(settings: Settings, *, as_they_are: bool = False) -> House:
    """Open the stores and bring the database to the version of this program. Raises ConfigurationError.

    `as_they_are`: for a process of a worker's own, which knows the receivers that the worker knows.
    """
    clock = SystemClock()
    _require_not_moved(settings)
    engine = open_database(settings.storage.database_url)
    migrate(engine)
    receivers = of_file(settings) if as_they_are else in_force(settings, engine, clock)
    settings = receivers.settings
    objects = open_objects(settings.storage)
    return House(
        settings=settings,
        receivers=receivers,
        clock=clock,
        engine=engine,
        objects=objects,
        studies=StudiesSql(engine, objects, clock),
        people=PeopleSql(engine, clock),
        tokens=TokensSql(engine, clock),
        audit=AuditSql(engine, settings.storage.data_dir / KEY_FILE),
        work=WorkSql(engine, clock),
        steering=SteeringSql(engine, objects, clock),
        spool=open_spool(settings, engine),
        films=FilmsRead(pixels=PIXELS_OF_A_FILM * settings.work.concurrency),
    )


def corrections(house: House) -> Corrections:
    """What follows orders, corrected patients and changed images."""
    return Corrections(
        CorrectionsSql(house.engine, house.clock),
        LinksSql(house.engine, house.clock),
        RetractionsSql(house.engine, house.objects, house.clock),
        ChangesSql(house.engine, house.clock),
        house.spool,
        house.studies,
        house.clock,
        house.settings,
    )


def _require_not_moved(settings: Settings) -> None:
    """Raises ConfigurationError for a database that was moved by `hoichan migrate --to`."""
    storage = settings.storage
    if storage.database_url.startswith("sqlite") and storage.moved_file.exists():
        raise ConfigurationError(
            "This site was moved to another database: set storage.database to it. "
            f"To go back to the old one, remove {storage.moved_file}; what happened since is not in it."
        )


def roster(house: House, changed: Callable[[Standing], None] = lambda standing: None) -> Roster:
    """The models in use. `changed` is told after a decision or a new package changed them."""
    settings = house.settings
    roots = shelf_roots(settings.storage.data_dir)
    return Roster(roots, settings.models, GovernanceSql(house.engine), changed=changed)


def runner(house: House) -> Runner:
    """What executes models."""
    from hoichan.adapters.runner_kserve import KserveRunner, routed  # noqa: PLC0415  only workers pay for it
    from hoichan.adapters.runner_onnx import OnnxRunner  # noqa: PLC0415

    def locate(path: PurePosixPath) -> Path:
        return Path(house.spool.file(path))

    models = house.settings.models
    return routed(
        OnnxRunner(locate, house.clock, films=house.films, provider=models.provider),
        [(one.package, KserveRunner(one, locate, house.clock, films=house.films)) for one in models.remote],
    )


def outliner(house: House) -> Outliner:
    """What measures volumes: each in a process of its own."""
    from hoichan.adapters.runner_apart import ApartRunner  # noqa: PLC0415  only workers pay for it
    from hoichan.adapters.runner_series import SeriesRunner  # noqa: PLC0415

    settings = house.settings
    fractions = any(
        DocumentKind.SEG_FRACTIONAL in wanted(destination) for destination in settings.effective_destinations
    )
    return SeriesRunner(
        lambda path: Path(house.spool.file(path)),
        house.clock,
        ApartRunner(settings.models),
        fractions=fractions,
    )


def encoder(house: House) -> Encoder:
    """What writes documents."""
    from hoichan.adapters.encoder import DocumentEncoder  # noqa: PLC0415  only workers pay for it

    return DocumentEncoder(house.spool, house.settings, report_objects(house.engine), house.films)


def analyst(house: House) -> Analyst:
    """What analyses one study in a process of its own. Raises ManifestInvalid where a package is broken."""
    return Analyst(
        house=house,
        roster=roster(house),
        runner=runner(house),
        outliner=outliner(house),
        encoder=encoder(house),
        corrections=corrections(house),
        priors=asking(house, {}, {}).priors.gather,
    )


def drifting(house: House, models: Roster | None = None) -> Drifting:
    """What holds each week of a model against its first ones."""
    from hoichan.adapters.drift_sql import DriftSql  # noqa: PLC0415  only workers pay for it
    from hoichan.adapters.evidence_sql import EvidenceSql  # noqa: PLC0415
    from service.drifting import Drifting  # noqa: PLC0415

    return Drifting(
        roster=models or roster(house),
        evidence=EvidenceSql(house.engine),
        rows=DriftSql(house.engine),
        clock=house.clock,
        zone=house.settings.site.zone,
    )


def observer(house: House, models: Roster | None = None) -> Observer:
    """What is done after the live answer."""
    from hoichan.adapters.shadow_sql import ShadowSql  # noqa: PLC0415  only workers pay for it
    from service.observer import Observer, read_stored  # noqa: PLC0415

    return Observer(
        roster=models or roster(house),
        governance=GovernanceSql(house.engine),
        rows=ShadowSql(house.engine),
        runner=runner(house),
        outliner=outliner(house),
        load=partial(load_revision, house),
        film=lambda instance: read_stored(Path(house.spool.file(instance.path))),
        clock=house.clock,
        watch_inputs=house.settings.models.watch_inputs,
    )


def committer(
    house: House, sinks_by_name: Mapping[str, Sink], asked: Mapping[str, AskedPacs] | None = None
) -> Committer:
    """What asks for storage commitment, where a destination wants it. `asked`: None for the settings' own."""
    from hoichan.adapters.commitments_sql import CommitmentsSql  # noqa: PLC0415  only workers pay for it
    from service.commitments import Committer  # noqa: PLC0415

    asked = pacs(house.settings) if asked is None else asked
    return Committer(
        CommitmentsSql(house.engine),
        house.studies,
        house.spool,
        house.clock,
        destinations=[one for one, _ in asked.values()],
        pacs={name: scu for name, (_, scu) in asked.items()},
        sinks=sinks_by_name,
    )


def archive_of(settings: Settings, spool: Spool, source: AnySource) -> Archive:
    """What asks one source and fetches from it."""
    from hoichan.adapters.query_dimse import DimseArchive  # noqa: PLC0415  only workers pay for it
    from hoichan.adapters.query_orthanc import OrthancArchive  # noqa: PLC0415
    from hoichan.adapters.query_web import DicomwebArchive  # noqa: PLC0415

    zone = settings.site.zone
    match source:
        case DimseSource():
            return DimseArchive(source, spool, our_title=settings.listener.ae_title, zone=zone)
        case DicomwebSource():
            return DicomwebArchive(source, spool, zone=zone)
        case OrthancSource():
            return OrthancArchive(source, spool, zone=zone)


def asking(house: House, sinks_by_name: Mapping[str, Sink], pacs_by_name: Mapping[str, AskedPacs]) -> Asking:
    """What a worker asks others for while it leads, and the earlier studies that any worker asks for."""
    from hoichan.adapters.merged_sql import MergedSql  # noqa: PLC0415  only workers pay for it
    from hoichan.adapters.orders_sql import OrdersSql  # noqa: PLC0415
    from hoichan.adapters.sources_sql import SourcesSql  # noqa: PLC0415
    from hoichan.adapters.workitems_sql import WorkitemsSql  # noqa: PLC0415
    from service.asking import Asking, Task  # noqa: PLC0415
    from service.catch_up import CatchUp  # noqa: PLC0415
    from service.claims import Claims  # noqa: PLC0415
    from service.counting import Counting  # noqa: PLC0415
    from service.priors import Priors, PriorSource  # noqa: PLC0415
    from service.worklists import Poll  # noqa: PLC0415

    record = SourcesSql(house.engine)
    spool, studies, clock = house.spool, house.studies, house.clock
    asked = [
        PriorSource(source=source, archive=archive_of(house.settings, spool, source))
        for source in house.settings.sources
    ]
    tasks = []
    made = committer(house, sinks_by_name, pacs_by_name)
    tasks.append(Task(name="commitments", step=made.step))
    tasks.append(Task(name="commitment-reports", step=made.hear, everywhere=True))
    for one in asked:
        name = one.source.name
        if one.source.catch_up:
            catch_up = CatchUp(one.source, one.archive, record, spool, studies, clock)
            tasks.append(Task(name=f"source {name}", step=catch_up.step))
        counting = Counting(one.source, one.archive, spool, studies, clock)
        tasks.append(Task(name=f"counts {name}", step=counting.step))
    tasks.append(Task(name="claims", step=Claims(WorkitemsSql(house.engine, clock), clock).step))
    for worklist in house.settings.orders.worklists:
        zone = house.settings.site.zone
        orders = OrdersSql(house.engine, clock)
        poll = Poll(worklist, worklist_scu(house.settings, worklist), orders, clock, zone)
        tasks.append(Task(name=f"worklist {worklist.name}", step=poll.step))
    return Asking(
        tasks=tuple(tasks),
        committer=made,
        priors=Priors(
            asked, record, spool, studies, clock, house.settings.site.zone, MergedSql(house.engine).of
        ),
    )


def worklist_scu(settings: Settings, worklist: Worklist) -> WorklistScu:
    """What asks one RIS for its worklist."""
    from hoichan.adapters.worklist_dimse import WorklistScu  # noqa: PLC0415  only workers pay for it

    return WorklistScu(worklist, our_title=settings.listener.ae_title, zone=settings.site.zone)


def notices(house: House) -> Notices:
    """What tells people of critical findings."""
    from hoichan.adapters.notices_sql import NoticesSql  # noqa: PLC0415  only workers pay for it
    from service.notices import Notices  # noqa: PLC0415

    return Notices(NoticesSql(house.engine, house.clock), house.audit, house.clock, house.settings)


def reminders(house: House) -> Reminders:
    """What tells people of next steps on their day and of opinions they are asked for."""
    from hoichan.adapters.leases_sql import LeasesSql  # noqa: PLC0415  only workers pay for it
    from hoichan.adapters.reminders_sql import RemindersSql  # noqa: PLC0415
    from service.reminders import Reminders  # noqa: PLC0415

    rows = RemindersSql(house.engine, house.clock)
    leases = LeasesSql(house.engine, house.clock)
    return Reminders(rows, leases, house.audit, house.clock, house.settings)


def forwarding(house: House, couriers: Mapping[str, Courier], awaited: Callable[[str], bool]) -> Forwarding:
    """What sends received images on, as the rules say."""
    from hoichan.adapters.forwards_sql import ForwardsSql  # noqa: PLC0415  only workers pay for it
    from service.cli_deidentify import DEFAULT_KEY, load_key  # noqa: PLC0415
    from service.forwarding import Forwarding  # noqa: PLC0415

    settings = house.settings
    return Forwarding(
        settings.forward,
        destinations={one.name: one for one in settings.effective_destinations},
        couriers=couriers,
        forwards=ForwardsSql(house.engine, house.clock),
        studies=house.studies,
        spool=house.spool,
        work=settings.work,
        key=lambda: load_key(settings.storage.data_dir / DEFAULT_KEY),
        folder=settings.storage.data_dir / "forwarding",
        awaited=awaited,
    )
