"""The documents of a kept report once more, without asking a model: what is kept stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.routing_sql import RoutingSql
from hoichan.reporting.begun import is_begun
from hoichan.reporting.deliveries import plan
from hoichan.types import StudyInstanceUID, StudyState
from service.analyst import load
from service.wiring import encoder

if TYPE_CHECKING:
    from service.wiring import House


def compose_again(house: House, uid: StudyInstanceUID) -> int | None:
    """Make what the newest report lacks, such as for a receiver that was configured since; deliveries added.

    None where that is not to be had without the models: the newest revision has no answer of a machine yet,
    or its outlines are kept as documents only; and where a person has signed. A document that is there is
    never replaced. Raises StudyUnknown, RecordsUnavailable.
    """
    current = house.studies.current(uid)
    reviews = ReviewsSql(house.engine, house.objects, house.clock)
    if current is None or current.revision < 1 or reviews.stands(uid):
        return None
    study = load(house, uid, current.revision)
    report = reviews.machine_report(study, maps=True)
    if (
        report is None
        or study.state is not StudyState.REPORTED
        or report.revision != study.revision
        or report.measurements
        or is_begun(report.report_uid, uid, report.revision)
    ):
        return None
    route = RoutingSql(house.engine, house.clock).route(study)
    receivers = route.destinations(house.settings.effective_destinations)
    documents = encoder(house).encode(study, report)
    deliveries = plan(report, study, receivers, documents, house.clock.now())
    before = len(house.studies.deliveries(uid))
    house.studies.save(study, report=report, documents=documents, deliveries=deliveries)
    return len(house.studies.deliveries(uid)) - before
