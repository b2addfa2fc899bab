"""The worker process: takes arrivals up, runs the pipeline, delivers; survives kill -9.

One loop looks at the spool and at what is due; the engine's threads do the work. The loop is the
outermost one: an error of one round is logged by its code and the next round tries again.

With PostgreSQL any number of workers share the work. Each tells that it lives; the first of those
alive leads: it enqueues what is due and gives the work of the dead to others.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from hoichan.adapters.engine_dbos import EngineDbos
from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.images_awaited import ImagesAwaited
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.adapters.recorded_sql import RecordedSql
from hoichan.adapters.retention_sql import RetentionSql
from hoichan.adapters.vitals_sql import VitalsSql
from hoichan.analysis.selection import select
from hoichan.analysis.volume_selection import may_read
from hoichan.errors import HoichanError, KilledItsWorkers, RecordsUnavailable
from hoichan.settings import Settings
from hoichan.settings.overlay import Overlaid
from hoichan.types import Study, StudyInstanceUID
from service import (
    aside,
    audit_feed,
    audit_heads,
    background,
    backup,
    drifting,
    images,
    notices,
    observer,
    reminders,
    retention,
    wiring,
)
from service.alone import POISON_STARTS, analyse_alone, deliver_alone, forward_alone, record_alone
from service.analyst import Analyst
from service.arrivals import Arrivals
from service.dispatch import Dispatcher
from service.folders import watch
from service.hands import hands_of, of_the_page, renewed
from service.left_behind import LeftBehind
from service.metering import Metering
from service.observer import ObserverProcess
from service.order_of_work import Line
from service.outbox import Outbox
from service.probing import Prober
from service.processes import announce, only_one
from service.receivers import InForce, Live, tell, tell_left_out
from service.valve import Valve

log = structlog.get_logger()

BEAT_SECONDS = 2.0  # how often a worker tells that it lives
DEAD_SECONDS = 12.0  # not seen for so long: dead, and others have its work
# The first of those seen within so many seconds leads. Shorter than dead: two that lead for a moment, because
# one was slow to tell, do nothing twice, and without one nobody is given new work.
LEADS_SECONDS = 6.0
LOOK_SECONDS = 1.0  # how often each worker looks who leads
CARE_SECONDS = 5.0  # how often the leader looks after the dead and after revisions without an answer
LONGEST_PAUSE_SECONDS = 5.0  # between rounds while rounds fail

_Chore = tuple[str, Callable[[], object], float]  # its name, one round, seconds between rounds


class Worker:
    """Everything one worker process holds."""

    def __init__(self, settings: Settings) -> None:
        self._house = wiring.open_house(settings)
        self._settings = settings = self._house.settings
        tell(self._house.receivers)
        self._hands = hands_of(self._house, may_lack=of_the_page(self._house.receivers))
        tell_left_out({}, self._hands.left_out)
        rows = ReceiversSql(self._house.engine, self._house.clock)
        self._in_force = InForce(
            self._house.receivers,
            rows,
            self._put,
            left_out=lambda: self._hands.left_out,
            again_seconds=2 * settings.work.longest_probe_seconds,
        )
        self._studies = self._house.studies
        self._name = executor_id(settings)
        self._roster = wiring.roster(self._house, lambda now: self._metering.changed(now.manifests()))
        manifests = self._roster.standing().manifests()
        self._metering = Metering(
            VitalsSql(self._house.engine), self._name, manifests, wiring.runner(self._house)
        )
        self._metering.receivers = self._house.receivers.version
        self._metering.receivers_left_out = self._hands.left_out
        self._heartbeats = HeartbeatsSql(self._house.engine)
        self._leads = False
        self._slots = settings.work.concurrency
        self._make_doers()
        self._engine = EngineDbos(  # takes up what was left at once: whatever `_analyse` needs stands above
            settings.storage.engine_url,
            executor_id=self._name,
            analyse=self._analyse,
            deliver=self._outbox.deliver,
            concurrency=settings.work.concurrency,
            poll_seconds=settings.work.poll_seconds,
            at_a_time=Live(lambda: self._hands.at_a_time),
        )
        self._make_givers()
        self._make_keepers()

    def _make_doers(self) -> None:
        """What the engine calls: who analyses, who delivers, who forwards."""
        self._outbox = Outbox(
            self._studies,
            Live(lambda: self._metering.sinks(self._hands.sinks)),
            self._house.clock,
            self._settings.work,
            self._house.work,
            self._in_force.awaits,
            lambda one: deliver_alone(self._hands.house.settings, one, self._metering.tally),
        )
        self._asking = wiring.asking(self._house, self._hands.sinks, self._hands.pacs)
        rule_awaited = partial(self._in_force.awaits, part="forward")
        self._forwarding = wiring.forwarding(
            self._house,
            self._hands.couriers,
            rule_awaited,
            lambda errand: forward_alone(self._hands.house.settings, errand),
        )
        self._corrections = wiring.corrections(self._house)
        self._analyst = Analyst(
            house=self._house,
            roster=self._roster,
            runner=self._metering.runner,
            outliner=self._metering.outliner(self._hands.outliner),
            encoder=self._hands.encoder,
            corrections=self._corrections,
            priors=self._asking.priors.gather,
        )

    def _make_givers(self) -> None:
        """What gives the engine its work: arrivals, what is due, receivers that answer again."""
        settings, clock = self._settings, self._house.clock
        self._line = Line(self._house.work, self._studies, self._engine, clock, settings, self._models_for)
        self._arrivals = Arrivals(
            self._house.spool,
            self._studies,
            self._line,
            clock,
            settings,
            originals=self._house.spool.originals,
            corrections=self._corrections,
            aside=aside.set_aside(self._house),
            alone=partial(record_alone, settings),
        )
        probes = Live(lambda: self._hands.probes)
        self._dispatcher = Dispatcher(self._studies, self._house.work, self._engine, clock, probes=probes)
        self._prober = Prober(self._house.work, probes, clock, settings.work)
        self._valve = Valve(self._house.work, self._house.spool.notes, clock, settings.work)

    def _make_keepers(self) -> None:
        """What looks after the house beside the work."""
        settings, clock = self._settings, self._house.clock
        self._observing = ObserverProcess(settings, wiring.observer(self._house, self._roster))
        self._audit_feed = audit_feed.AuditFeed.of_house(self._house) if settings.audit_repositories else None
        self._keeper = retention.Keeper(
            RetentionSql(self._house.engine),
            self._house.spool,
            clock,
            settings,
            audit=self._house.audit,
            trim=self._engine.trim,
            busy=lambda: backup.runs(settings.storage.data_dir),
            elsewhere=QuarantineSql(self._house.engine, clock).changed,
        )

    def run(self, stop: threading.Event, ready_file: Path | None = None) -> None:
        """Work until `stop` is set."""
        self._heartbeats.beat(self._name)
        threading.Thread(target=self._beat, args=(stop,), name="heartbeat", daemon=True).start()
        self._metering.start()
        try:
            self._arrivals.recover()
            models = [m.name for m in self._roster.standing().manifests()]
            log.info("worker_ready", worker=self._name, models=models)
            announce(ready_file, {"models": len(models)})
            LeftBehind(self._house.spool, RecordedSql(self._house.engine).paths).start(stop)
            watch(self._settings.folders, self._house.spool, stop, self._metering.tally)
            self._asking.start(leads=lambda: self._leads, stop=stop)
            self._forwarding.start(leads=lambda: self._leads, stop=stop)
            self._keep_house(stop)
            self._loop(stop)
        finally:
            self._outbox.stop()
            self._forwarding.stop()
            self._engine.close()
            self._observing.close()
            self._asking.priors.close()
            self._metering.close()
            with suppress(RecordsUnavailable):  # others see by the silence that it ended
                self._heartbeats.forget(self._name)

    def _loop(self, stop: threading.Event) -> None:
        pause = self._settings.work.poll_seconds
        look_at = care_at = 0.0
        while not stop.wait(pause):
            try:
                self._arrivals.step()
                if time.monotonic() >= look_at:
                    self._in_force.look()
                    self._metering.receivers_refused = self._in_force.refused
                    led, self._leads = self._leads, self._is_first()
                    if self._leads and not led:
                        care_at = 0.0  # there may be much to look after
                    look_at = time.monotonic() + LOOK_SECONDS
                if time.monotonic() >= care_at:
                    self._arrivals.take_over()
                    if self._leads:
                        self._care()
                    care_at = time.monotonic() + CARE_SECONDS
                if self._leads:
                    self._line.dispatch(self._slots)
                    self._dispatcher.step()
                    self._prober.step()
                pause = self._settings.work.poll_seconds
            except Exception as error:  # noqa: BLE001  the outermost loop: the next round tries again
                log.error("round_failed", code=_code(error))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _put(self, laid: Overlaid) -> None:
        """Work with these receivers from now on. Whatever can fail comes before anything is changed."""
        hands = renewed(self._hands, laid)
        analyst = replace(
            self._analyst,
            house=hands.house,
            outliner=self._metering.outliner(hands.outliner),
            encoder=hands.encoder,
        )
        pacs = hands.pacs
        rules, destinations = laid.settings.forward, hands.destinations
        self._forwarding.use(rules, destinations=destinations, couriers=hands.couriers)
        self._hands, self._analyst = hands, analyst
        self._corrections.use(laid.settings)
        asked = {name: one for name, (_, one) in pacs.items()}
        self._asking.committer.use([one for one, _ in pacs.values()], asked, hands.sinks)
        if self._audit_feed is not None:
            self._audit_feed.use(laid.settings)
        self._metering.receivers = laid.version
        self._metering.receivers_left_out = hands.left_out

    def _keep_house(self, stop: threading.Event) -> None:
        """Chores beside the work: the leader does them for all, and every worker looks after its own disk."""
        house = self._house
        awaited, sinks = ImagesAwaited(house.engine), Live(lambda: self._hands.sinks)
        came = images.ImagesCame(awaited, self._studies, sinks, house.clock)
        own: list[_Chore] = [
            ("sweep", self._keeper.sweep, retention.STEP_SECONDS),
            ("quarantine", aside.Quarantine(house).step, aside.QUARANTINE_SECONDS),
        ]
        led: list[_Chore] = [
            ("retention", self._keeper.step, retention.STEP_SECONDS),
            ("images", came.step, images.STEP_SECONDS),
            ("audit-head", audit_heads.Heads(house).step, audit_heads.STEP_SECONDS),
            ("observer", self._observing.step, observer.STEP_SECONDS),
            ("drift", wiring.drifting(house, self._roster).step, drifting.STEP_SECONDS),
            ("notices", wiring.notices(house).step, notices.STEP_SECONDS),
        ]
        if self._audit_feed is not None:
            led.append(("audit-feed", self._audit_feed.step, audit_feed.STEP_SECONDS))
        if any({"due", "asked", "answered"} & set(one.tells) for one in self._settings.notices):
            led.append(("reminders", wiring.reminders(house).step, reminders.STEP_SECONDS))
        for name, step, pause in own:
            background.start(name, step, leads=lambda: True, stop=stop, pause_seconds=pause)
        for name, step, pause in led:
            background.start(name, step, leads=lambda: self._leads, stop=stop, pause_seconds=pause)

    def _is_first(self) -> bool:
        """Whether this worker leads; on SQLite there is no other."""
        if is_alone(self._settings):
            return True
        alive = self._heartbeats.alive(LEADS_SECONDS)
        return bool(alive) and alive[0] == self._name

    def _care(self) -> None:
        """What the leader does for all: the work of the dead, and what has no answer."""
        alive = {*self._heartbeats.alive(DEAD_SECONDS), self._name}
        taken = self._engine.reap(alive)
        if taken:
            log.warning("work_taken_over", pieces=taken)
        self._slots = self._settings.work.concurrency * len(alive)
        for uid in self._corrections.step():
            self._house.spool.mark_fresh(uid)
        self._arrivals.adopt()
        self._line.resume()
        self._valve.step()

    def _models_for(self, study: Study) -> list[str]:
        """The models that will read a study."""
        films = {one.manifest.name for one in select(self._roster.manifests(study), study) if one.accepted}
        return sorted(films | {one.name for one in self._roster.networks() if may_read(one, study)})

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_SECONDS):
            try:
                self._heartbeats.beat(self._name)
            except Exception as error:  # noqa: BLE001  the outermost loop of this thread
                log.error("heartbeat_failed", code=_code(error))

    def _analyse(self, uid: StudyInstanceUID, revision: int) -> None:
        """One step of the engine. Errors that can pass are raised for the engine to try again."""
        bound = log.bind(study=uid, revision=revision)
        starts = self._studies.begin(uid, revision)
        try:
            if starts > POISON_STARTS:
                bound.warning("study_analysed_alone", starts=starts)
                if not analyse_alone(self._hands.house.settings, uid, revision):
                    raise KilledItsWorkers
                return
            study, report = self._analyst.analyse(uid, revision)
            if report is None:
                bound.warning("former_answer_stands")
                return
            self._metering.reported(study, report)
            bound.info("study_reported", report=report.report_uid, outcome=report.outcome)
        except Exception as error:  # a third party's message may quote the data set: only its kind is kept
            if isinstance(error, HoichanError) and error.retryable:
                raise
            bound.error("study_failed", code=_code(error))
            self._studies.fail(uid, revision, code=_code(error))
            self._metering.failed(_code(error))
        finally:
            self._studies.end(uid, revision)


def executor_id(settings: Settings) -> str:
    """On SQLite the one worker of this folder; on PostgreSQL one of many, new at every start."""
    if is_alone(settings):
        return "station"
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def is_alone(settings: Settings) -> bool:
    """Whether there can be no other worker: SQLite has one."""
    return settings.storage.engine_url.startswith("sqlite")


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, HoichanError) else f"unexpected.{type(error).__name__}"


def main(settings: Settings, *, stop: threading.Event, ready_file: Path | None = None) -> None:
    """Run one worker until `stop` is set. Raises ConfigurationError when it cannot start."""
    with only_one(settings.storage.data_dir) if is_alone(settings) else nullcontext():
        Worker(settings).run(stop, ready_file)
