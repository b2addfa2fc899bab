"""`/metrics`: what the house counts and how it is, in the text format of Prometheus. No person in it.

The page's process shows what every process counted: the listener and other doors through the spool, workers
through the database. While the database is away the rest is shown, and `hoichan_database_up` is 0.
"""

from __future__ import annotations

import itertools
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response

from hoichan import __version__
from hoichan.adapters.audit_feed_sql import SOURCES
from hoichan.adapters.engine_queued import ANALYSE, DELIVER, queued
from hoichan.adapters.figures_sql import Waiting
from hoichan.adapters.vitals_disk import Told, told
from hoichan.adapters.vitals_sql import WorkerView
from hoichan.analysis.drift import State
from hoichan.errors import RecordsUnavailable
from hoichan.intake.changes import Difference
from hoichan.meters import (
    DELIVERY_ATTEMPTS,
    INSTANCES_FILED,
    INSTANCES_RECEIVED,
    METERS,
    SUM,
    Counts,
    Key,
    Meter,
)
from hoichan.types import DeliveryState, StudyState
from service.api.desk import AtDesk
from service.api.stow_access import SENDER
from service.certificates import certificate_files, ends_at, list_ends_at, revocation_files
from service.readiness import DEAD_SECONDS, Premises

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "hoichan_"

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=PlainTextResponse)
def show_metrics(desk: AtDesk) -> Response:
    """Counts and states in Prometheus text format 0.0.4."""
    return Response(exposition(desk.premises), media_type=METRICS_TYPE)


def exposition(site: Premises) -> bytes:
    """The metrics as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(site))
    return generate_latest(registry)


class _Collector(Collector):
    """Asks once, for one scrape."""

    def __init__(self, site: Premises) -> None:
        self._house = site

    def collect(self) -> Iterator[Metric]:
        doors = told(self._house.spool_root)
        up = _gauge("database_up", "Whether the database answers.")
        totals: dict[Key, float] = {}
        families: list[Metric] = []
        try:
            families = [*_record(self._house), *_workers(self._house.vitals.workers())]
            totals = self._house.vitals.totals()
            up.add_metric([], 1)
        except RecordsUnavailable:
            up.add_metric([], 0)
        build = InfoMetricFamily(PREFIX + "build", "The program and the Python it runs on.")
        build.add_metric([], {"version": __version__, "python": platform.python_version()})
        yield build
        yield up
        yield from families
        yield from _listener(doors)
        yield from _disk(self._house)
        yield from _certificates(self._house)
        yield from _meters(_sum([*(one.totals for one in doors), totals, _zeros(self._house)]))


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _record(site: Premises) -> Iterator[Metric]:
    totals = site.figures.totals()
    studies = _gauge("studies", "Studies on record, by state.", ["state"])
    for state in StudyState:
        studies.add_metric([str(state)], totals.studies.get(state, 0))
    yield studies
    instances = _gauge("instances", "Instances on record.")
    instances.add_metric([], totals.instances)
    yield instances
    waiting = site.figures.waiting()
    yield from _waiting(site, waiting)
    now = site.now().timestamp()
    unanswered = _gauge(
        "oldest_unanswered_seconds", "Since when the oldest complete study waits for its report; 0: none."
    )
    oldest = site.figures.oldest_unanswered_at()
    unanswered.add_metric([], max(0.0, now - oldest.timestamp()) if oldest else 0.0)
    yield unanswered
    queues = _gauge("queue_depth", "Pieces of work that wait or run, by queue.", ["queue"])
    depth = queued(site.settings.storage.engine_url)
    kept = {  # the engine has the short queue, the record the long one (ADR-0010)
        ANALYSE: totals.studies.get(StudyState.ASSEMBLED, 0),
        DELIVER: sum(one.count for one in waiting if one.state is DeliveryState.PENDING),
    }
    for name, count in kept.items():
        queues.add_metric([name], max(count, depth.get(name, 0)))
    yield queues
    yield from _told(site)
    yield from _notices(site)
    yield from _drift(site)
    yield from _audit_feed(site)


def _audit_feed(site: Premises) -> Iterator[Metric]:
    behind = _gauge("audit_feed_behind", "Records that a repository has not taken.", ["repository", "source"])
    age = _gauge("audit_feed_age_seconds", "Since when the oldest of them waits.", ["repository", "source"])
    for one in site.settings.audit_repositories:
        for source in SOURCES[: 1 + one.machine]:
            waits = site.feed.behind(one.name, source)
            behind.add_metric([one.name, source], waits.records)
            since = (site.now() - waits.oldest).total_seconds() if waits.oldest else 0.0
            age.add_metric([one.name, source], max(0.0, since))
    yield behind
    yield age


def _notices(site: Premises) -> Iterator[Metric]:
    count = _gauge("notices_open", "Critical findings that nobody has acknowledged.")
    count.add_metric([], site.notices.waiting())
    yield count
    age = _gauge("oldest_open_notice_seconds", "Since when the oldest of them waits; 0: none.")
    oldest = site.notices.oldest_open_at()
    age.add_metric([], max(0.0, (site.now() - oldest).total_seconds()) if oldest else 0.0)
    yield age


def _drift(site: Premises) -> Iterator[Metric]:
    """The newest week of each model. By sender it stands in `hoichan model drift`: titles are no labels."""
    states = _gauge(
        "model_drift_measures",
        "Measures of the newest week of a model, over all senders, by what they say.",
        ["model", "state"],
    )
    index = _gauge(
        "model_drift_psi",
        "Population stability index of the newest week against the first weeks, all senders together.",
        ["model", "measure"],
    )
    for model, (_, rows) in sorted(site.drift.latest().items()):
        for state in State:
            count = sum(row.drift.state is state for row in rows)
            states.add_metric([model, str(state)], count)
        for row in rows:
            if not row.sender and row.drift.psi is not None:
                index.add_metric([model, row.measure], row.drift.psi)
    yield states
    yield index


def _told(site: Premises) -> Iterator[Metric]:
    """What was told besides images, and what a person has to decide."""
    figures = site.told.figures()
    asked = _gauge("questions", "Decisions about a study's patient that wait for a person.", ["holds"])
    asked.add_metric(["no"], figures.questions - figures.held)
    asked.add_metric(["yes"], figures.held)
    yield asked
    changed = _gauge(
        "changed_contents",
        "Known instances that came again with other content, in quarantine, by what differs.",
        ["difference"],
    )
    for kind in Difference:
        changed.add_metric([kind.value], figures.changed.get(kind.value, 0))
    yield changed
    messages = _gauge("order_messages", "Messages of the order door on record, by answer.", ["answer"])
    for answer in ("AA", "AE", "AR"):
        messages.add_metric([answer], figures.messages.get(answer, 0))
    yield messages
    owed = _gauge("retractions_owed", "Reports to be taken back whose retraction is not written yet.")
    owed.add_metric([], figures.retractions)
    yield owed


def _waiting(site: Premises, waiting: Sequence[Waiting]) -> Iterator[Metric]:
    now = site.now().timestamp()
    states = (DeliveryState.PENDING, DeliveryState.DEAD)
    in_all = _gauge("deliveries", "Deliveries that are not acknowledged, by state.", ["state"])
    for state in states:
        in_all.add_metric([str(state)], sum(one.count for one in waiting if one.state is state))
    yield in_all
    each = _gauge("destination_deliveries", "Deliveries that are not acknowledged.", ["destination", "state"])
    ages = _gauge(
        "destination_oldest_undelivered_seconds",
        "Since when the oldest pending delivery of a destination waits; 0: none.",
        ["destination"],
    )
    by_place = {(one.destination, one.state): one for one in waiting}
    configured = {destination.name for destination in site.settings.effective_destinations}
    for name in sorted(configured | {one.destination for one in waiting}):
        for state in states:
            found = by_place.get((name, state))
            each.add_metric([name, str(state)], found.count if found else 0)
        pending = by_place.get((name, DeliveryState.PENDING))
        ages.add_metric([name], max(0.0, now - pending.oldest_at.timestamp()) if pending else 0.0)
    yield each
    yield ages
    oldest = min((one.oldest_at for one in waiting if one.state is DeliveryState.PENDING), default=None)
    age = _gauge("oldest_undelivered_seconds", "Since when the oldest pending delivery waits; 0: none.")
    age.add_metric([], max(0.0, now - oldest.timestamp()) if oldest else 0.0)
    yield age


def _workers(workers: Sequence[WorkerView]) -> Iterator[Metric]:
    living = [one for one in workers if one.age_seconds < DEAD_SECONDS]
    alive = _gauge("workers", "Workers that live.")
    alive.add_metric([], len(living))
    yield alive
    age = _gauge("worker_heartbeat_age_seconds", "Since when no worker told that it lives.")
    if workers:
        age.add_metric([], min(one.age_seconds for one in workers))
    yield age
    skew = _gauge(
        "worker_clock_skew_seconds",
        "How far the clock of the worker that is furthest off is ahead of the database.",
    )
    skews = [float(one.facts["clock_skew_seconds"]) for one in living if "clock_skew_seconds" in one.facts]
    if skews:
        skew.add_metric([], max(skews, key=abs))
    yield skew
    yield from _models(living)


def _models(living: Sequence[WorkerView]) -> Iterator[Metric]:
    models = [model for one in living for model in one.facts.get("models", ())]
    loaded = _gauge(
        "model_loaded", "1 when every living worker has the model open.", ["model", "version", "status"]
    )
    everywhere: dict[tuple[str, str, str], bool] = {}
    for one in models:
        key = (one["name"], one["version"], one["status"])
        everywhere[key] = everywhere.get(key, True) and bool(one["loaded"])
    for labels, is_loaded in sorted(everywhere.items()):
        loaded.add_metric(labels, float(is_loaded))
    yield loaded
    provider = InfoMetricFamily(
        PREFIX + "model_provider", "The execution provider in use.", labels=["model", "provider", "wanted"]
    )
    for labels in sorted({(one["name"], one["provider"], one["wanted"]) for one in models if one["loaded"]}):
        provider.add_metric(labels, {})
    yield provider


def _listener(doors: Sequence[Told]) -> Iterator[Metric]:
    listeners = [one for one in doors if one.role == "listener"]
    up = _gauge("listener_up", "Whether a DICOM listener lives on this spool.")
    up.add_metric([], float(any(one.lives for one in listeners)))
    yield up


def _disk(site: Premises) -> Iterator[Metric]:
    free = _gauge("disk_free_bytes", "Free space where a part of the data lies.", ["place"])
    size = _gauge("disk_size_bytes", "Size of the file system where a part of the data lies.", ["place"])
    for place, folder in (("spool", site.spool_root), ("data", site.settings.storage.data_dir)):
        if folder.is_dir():
            usage = shutil.disk_usage(folder)
            free.add_metric([place], usage.free)
            size.add_metric([place], usage.total)
    yield free
    yield size
    reserve = _gauge("disk_reserve_bytes", "Below this much free space senders are told to come back later.")
    reserve.add_metric([], site.settings.storage.reserve_bytes)
    yield reserve
    yield from _spool(site)


def _spool(site: Premises) -> Iterator[Metric]:
    root = site.spool_root
    fresh = _gauge("spool_fresh_studies", "Studies with arrivals that no worker has looked at yet.")
    quarantined = _gauge("spool_quarantined_objects", "Objects in quarantine.")
    for gauge, folder, ending in ((fresh, "fresh", ""), (quarantined, "quarantine", ".json")):
        if (root / folder).is_dir():
            gauge.add_metric([], sum(1 for name in (root / folder).iterdir() if name.name.endswith(ending)))
    yield fresh
    yield quarantined
    objects, size = site.survey()
    count = _gauge("spool_objects", "Files of received objects, as of the last walk through the spool.")
    volume = _gauge("spool_size_bytes", "Their size, as of the last walk through the spool.")
    if objects is not None:
        count.add_metric([], objects)
        volume.add_metric([], size)
    yield count
    yield volume


def _certificates(site: Premises) -> Iterator[Metric]:
    ends = _gauge(
        "certificate_expiry_timestamp_seconds",
        "When a certificate ends, in seconds since 1970; 0: it cannot be read.",
        ["certificate"],
    )
    for name, file in certificate_files(site.settings).items():
        ends.add_metric([name], ends_at(file) or 0.0)
    yield ends
    lists = _gauge(
        "revocation_list_expiry_timestamp_seconds",
        "When a revocation list is too old, in seconds since 1970; 0: it cannot be read.",
        ["list"],
    )
    for name, file in revocation_files(site.settings).items():
        lists.add_metric([name], list_ends_at(file) or 0.0)
    yield lists


def _sum(counts: Iterable[Counts]) -> dict[Key, float]:
    total: dict[Key, float] = {}
    for key, amount in itertools.chain.from_iterable(one.items() for one in counts):
        total[key] = total.get(key, 0.0) + amount
    return total


def _zeros(site: Premises) -> Counts:
    """What is configured is shown from the first scrape, so that its first count is seen as a step."""
    senders = {sender.ae_title for sender in site.settings.listener.allowed}
    zeros = {
        Key(INSTANCES_RECEIVED.name, (sender, outcome)): 0.0
        for sender in senders
        for outcome in ("stored", "quarantined", "refused_a700", "refused_a900", "refused_c000")
    }
    doors = [("folder", folder.sender) for folder in site.settings.folders]
    doors += [("stow", SENDER)] if site.settings.web.stow else []
    for door, sender in doors:
        for outcome in ("stored", "quarantined", "refused_no_room", "refused_object"):
            zeros[Key(INSTANCES_FILED.name, (door, sender, outcome))] = 0.0
    for destination in site.settings.effective_destinations:
        for outcome in ("acknowledged", "unreachable", "refused"):
            zeros[Key(DELIVERY_ATTEMPTS.name, (destination.name, outcome))] = 0.0
    return zeros


def _meters(totals: Counts) -> Iterator[Metric]:
    for meter in METERS:
        mine: dict[tuple[str, ...], dict[str, float]] = {}
        for key, amount in totals.items():
            if key.name == meter.name and len(key.labels) == len(meter.labels):
                mine.setdefault(key.labels, {})[key.part] = amount
        yield _histogram(meter, mine) if meter.buckets else _counter(meter, mine)


def _counter(meter: Meter, mine: dict[tuple[str, ...], dict[str, float]]) -> Metric:
    family = CounterMetricFamily(PREFIX + meter.name, meter.help, labels=meter.labels)
    for labels, parts in sorted(mine.items()):
        family.add_metric(labels, parts.get("", 0.0))
    return family


def _histogram(meter: Meter, mine: dict[tuple[str, ...], dict[str, float]]) -> Metric:
    family = HistogramMetricFamily(PREFIX + meter.name, meter.help, labels=meter.labels)
    bounds = [*map(str, meter.buckets), "+Inf"]
    for labels, parts in sorted(mine.items()):
        counts = itertools.accumulate(parts.get(str(index), 0.0) for index in range(len(bounds)))
        family.add_metric(labels, list(zip(bounds, counts, strict=True)), sum_value=parts.get(SUM, 0.0))
    return family
