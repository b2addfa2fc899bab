"""A house without processes for the tests of retention: studies received, answered and delivered."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from hoichan.adapters.audit_sql import KEY_FILE, AuditSql
from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.originals import Originals
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.retention_sql import RetentionSql
from hoichan.adapters.spool_shared import SharedSpool
from hoichan.intake.dataset import read_spooled
from hoichan.reporting.deliveries import plan
from hoichan.reporting.reports import compose
from hoichan.settings import FolderDestination, Retention, RetentionRule, Settings
from hoichan.testing.database import migrated
from hoichan.testing.datasets import film
from hoichan.testing.objects import FakeObjects
from hoichan.testing.ports import FakeClock, FakeEncoder
from hoichan.testing.spool import bring
from service.retention import Keeper

NIGHT = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)  # 23:00 in Vietnam
RULES = (RetentionRule(name="old", days=30),)
OUTBOX = FolderDestination(name="outbox", kind="folder", path="outbox")


class Site:
    """A house without processes: record, spool, objects, and the keeper of one night."""

    def __init__(self, folder, **settings):
        self.folder = folder
        self.engine = open_database(f"sqlite:///{folder / 'records.sqlite'}")
        migrated(self.engine)
        self.clock = FakeClock(NIGHT)
        self.objects = FakeObjects()
        self.documents = ObjectsDisk(folder / "objects")
        self.studies = StudiesSql(self.engine, self.documents, self.clock)
        self.retention = RetentionSql(self.engine)
        self.audit = AuditSql(self.engine, folder / KEY_FILE)
        self.spool = self.machine("spool")
        self.settings = Settings(
            retention=Retention(
                **{"enabled": True, "originals": "elsewhere", "rules": RULES, "pressure_days": 1} | settings
            )
        )
        self.trimmed = []
        self.keeper = self.restarted()

    def machine(self, name):
        originals = Originals(
            self.folder / name,
            engine=self.engine,
            objects=self.objects,
            cache_dir=self.folder / f"{name}-cache",
            cache_bytes=1 << 20,
        )
        return SharedSpool(self.folder / name, originals)

    def restarted(self, spool=None):
        return Keeper(
            self.retention,
            spool or self.spool,
            self.clock,
            self.settings,
            audit=self.audit,
            trim=self.trimmed.append,
            elsewhere=QuarantineSql(self.engine, self.clock).changed,
        )

    def receive(self, data_set, *, days_ago, spool=None):
        spool = spool or self.spool
        stored = bring(spool, data_set)
        came = (self.clock.now() - timedelta(days=days_ago)).timestamp()
        os.utime(spool.file(stored.path), (came, came))
        return stored

    def record(self, stored, spool=None):
        spool = spool or self.spool
        (one,) = [s for s in spool.listing(stored.study_instance_uid) if s.path == stored.path]
        part = read_spooled(spool, one, UTC)
        spool.originals.share(part.instances[0])
        self.studies.add_arrivals(part, part.instances)

    def answer(self, uid, *, delivered=True):
        study = self.studies.assemble(self.studies.current(uid))
        report = compose(
            study, results=[], findings=[], refusals=(), manifests=[], predecessor=None, now=self.clock.now()
        )
        documents = FakeEncoder().encode(study, report)
        deliveries = plan(report, study, (OUTBOX,), documents, self.clock.now())
        self.studies.save(study, report=report, documents=documents, deliveries=deliveries)
        for delivery in deliveries if delivered else ():
            self.studies.acknowledged(delivery.idempotency_key, "ok")
        return report

    def study(self, name="study", *, days_ago=40, delivered=True):
        """A study that was received, answered and delivered; its place on the disk."""
        stored = self.receive(film(study=name), days_ago=days_ago)
        self.record(stored)
        self.answer(stored.study_instance_uid, delivered=delivered)
        return stored

    def is_here(self, stored):
        return (self.folder / "spool" / stored.path).exists()

    def events(self, stored):
        return [line.event for line in self.studies.trail(stored.study_instance_uid)]
