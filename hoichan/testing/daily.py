"""What the service asks of the record for one study, from the first image to the page, and all day long.

The query plans of the tests and the figures of the benches are of these calls, so they must be those of
`service.arrivals`, `service.worker`, `service.dispatch`, `service.outbox` and the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import PurePosixPath

from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.adapters.images_awaited import ImagesAwaited
from hoichan.privacy import Phi
from hoichan.reporting import plan
from hoichan.testing.ports import FakeEncoder
from hoichan.testing.reading import DESTINATIONS, PEOPLE, Record
from hoichan.testing.reports import a_film, a_finding, a_manifest, a_report, a_study
from hoichan.types import (
    DeliveryState,
    Report,
    SeriesInstanceUID,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
)
from hoichan.uids import derived_uid

NOTHING = {"pneumothorax": 0.03, "pleural_effusion": 0.11, "cardiomegaly": 0.31, "consolidation": 0.07}


def one_study(
    record: Record, seed: str, *, person: tuple[str, str, int, str] | None = None
) -> StudyInstanceUID:
    """A film comes, is assembled, reported and delivered to every destination."""
    studies, clock = record.studies, record.clock
    arrived = _arrived(record, seed, person or PEOPLE[0])
    studies.add_arrivals(arrived, arrived.instances)
    uid = arrived.study_instance_uid
    studies.own([one.sop_instance_uid for one in arrived.instances])
    current = studies.current(uid)
    assert current is not None
    assembled = studies.assemble(current)
    assert assembled is not None
    studies.begin(uid, assembled.revision)
    loaded = studies.load(uid, assembled.revision)
    made = _report(loaded)
    studies.told(uid, loaded.revision)
    studies.answer(loaded)
    documents = FakeEncoder().encode(loaded, made)
    deliveries = plan(made, loaded, DESTINATIONS, documents, clock.now())
    studies.save(loaded, report=made, documents=documents, deliveries=deliveries)
    studies.end(uid, loaded.revision)
    clock.advance(1)
    for due in studies.due(clock.now()):
        delivery = studies.delivery(due.idempotency_key)
        assert delivery.state is DeliveryState.PENDING
        studies.documents(delivery)
        studies.acknowledged(delivery.idempotency_key, "0x0000")
    return uid


@cache
def _template() -> Study:
    return a_study(a_film("daily", rows=64, columns=56))


def _arrived(record: Record, seed: str, person: tuple[str, str, int, str]) -> Study:
    """A study of one film as the spool would give it, without the pains of making a film."""
    name, sex, year, patient_id = person
    template = _template()
    (series,) = template.series
    (instance,) = series.instances
    instance = replace(
        instance,
        sop_instance_uid=SOPInstanceUID(derived_uid("daily", "image", seed)),
        path=PurePosixPath("studies", derived_uid("daily", "study", seed), "film.dcm"),
        received_at=record.clock.now(),
    )
    uid = SeriesInstanceUID(derived_uid("daily", "series", seed))
    return replace(
        template,
        study_instance_uid=StudyInstanceUID(derived_uid("daily", "study", seed)),
        revision=0,
        accession_number=f"XR-{seed}",
        patient=replace(
            template.patient,
            patient_name=Phi(name),
            patient_id=Phi(patient_id),
            patient_sex=sex,
            patient_birth_date=Phi(date(year, 3, 15)),
        ),
        series=(replace(series, series_instance_uid=uid, instances=(instance,)),),
    )


def _report(study: Study) -> Report:
    manifest = a_manifest(algorithm_name="CXR demo", algorithm_version="0.1.0")
    findings = [
        a_finding(study, key, score, operating_point=0.5, manifest=manifest) for key, score in NOTHING.items()
    ]
    return a_report(study, findings=findings, manifest=manifest)


def rounds(record: Record) -> dict[str, Callable[[], object]]:
    """What workers ask again and again, however little there is to do."""
    studies = record.studies
    hearts = HeartbeatsSql(record.engine)
    images = ImagesAwaited(record.engine)
    return {
        "due": lambda: studies.due(record.clock.now()),
        "receiving": studies.receiving,
        "unfinished": studies.unfinished,
        "beat": lambda: hearts.beat("station"),
        "alive": lambda: hearts.alive(15.0),
        "given up": lambda: images.given_up(since=record.clock.now()),
    }


def looks(record: Record, study: StudyInstanceUID) -> dict[str, Callable[[], object]]:
    """What a person at the page asks."""
    reading = record.reading
    return {
        "study": lambda: reading.study(study),
        "trail": lambda: reading.trail(study),
        "documents": lambda: reading.documents(study),
    }
