"""Fakes of the small ports: a clock that is set by hand, a runner, an encoder, an engine and a sink."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from hoichan.errors import InputOutOfDomain, RunnerFailed
from hoichan.types import (
    Delivery,
    Document,
    DocumentKind,
    InferenceResult,
    Instance,
    ModelManifest,
    RefusalCode,
    Report,
    Study,
    StudyInstanceUID,
)
from hoichan.uids import derived_uid


class FakeClock:
    """A clock that only moves when it is told to."""

    def __init__(self, now: datetime = datetime(2026, 11, 20, 1, 15, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        """The moment it was set to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)


class FakeRunner:
    """Gives every output the same logit; refuses or fails on demand."""

    def __init__(self, clock: FakeClock, *, logit: float = 0.0) -> None:
        self._clock = clock
        self.logit = logit
        self.refuses: RefusalCode | None = None
        self.failures = 0  # so many calls fail before one succeeds
        self.calls = 0

    def run(self, manifest: ModelManifest, study: Study, instance: Instance) -> InferenceResult:
        """The numbers it was told to give."""
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise RunnerFailed
        if self.refuses is not None:
            raise InputOutOfDomain(self.refuses)
        (series,) = (s for s in study.series if instance in s.instances)
        names = [output.name for output in manifest.outputs]
        return InferenceResult(
            study_instance_uid=study.study_instance_uid,
            revision=study.revision,
            series_instance_uid=series.series_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            algorithm_name=manifest.algorithm_name,
            algorithm_version=manifest.algorithm_version,
            weights_sha256=manifest.weights_sha256,
            logits=dict.fromkeys(names, self.logit),
            gate=1.0,
            rows=instance.rows or 1,
            columns=instance.columns or 1,
            started_at=self._clock.now(),
            ended_at=self._clock.now(),
            provider="FakeExecutionProvider",
            class_activation_maps={name: np.full((7, 7), self.logit, dtype=np.float32) for name in names},
        )


class FakeEncoder:
    """Documents that only hold the report's outcome."""

    def encode(self, study: Study, report: Report) -> Sequence[Document]:
        """A picture, an SR and a bundle, in sending order."""
        return [
            Document(
                kind=kind,
                uid=derived_uid(report.report_uid, kind),
                sop_class_uid=None if kind is DocumentKind.FHIR else "1.2.840.10008.5.1.4.1.1.7",
                media_type="application/dicom",
                content=f"{kind} {report.outcome}".encode(),
            )
            for kind in (DocumentKind.SC, DocumentKind.SR, DocumentKind.FHIR)
        ]


class FakeEngine:
    """Remembers what was enqueued; runs nothing."""

    def __init__(self) -> None:
        self.studies: dict[tuple[StudyInstanceUID, int, int], None] = {}
        self.tries: dict[tuple[str, int], None] = {}
        self.given_up: set[tuple[StudyInstanceUID, int, int]] = set()
        self.closed = False

    def enqueue_study(self, study: StudyInstanceUID, revision: int, run: int = 0, *, band: int = 2) -> None:
        """Once, however often it is called."""
        self.studies[study, revision, run] = None

    def gave_up(self, study: StudyInstanceUID, revision: int, run: int = 0) -> bool:
        """What the test decided."""
        return (study, revision, run) in self.given_up

    def enqueue_delivery(self, delivery: Delivery) -> None:
        """Once for each number of attempts."""
        self.tries[delivery.idempotency_key, delivery.attempts] = None

    def queued(self) -> Mapping[str, int]:
        """What was enqueued."""
        return {"analyse": len(self.studies), "deliver": len(self.tries)}

    def trim(self, before: datetime) -> int:
        """Nothing ends here."""
        return 0

    def reap(self, alive: Collection[str]) -> int:
        """Nothing runs here."""
        return 0

    def close(self) -> None:
        """Remember it."""
        self.closed = True
