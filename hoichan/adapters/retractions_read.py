"""Where the taking back of a study's reports has arrived, and where not yet. Read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema import deliveries, reports
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.transactions import transaction
from hoichan.types import DeliveryState, ReportStatus, SOPInstanceUID, StudyInstanceUID

OWED = "owed"  # what takes it back is not written yet
FORMS = {"dicom": "note", "dicomweb": "note", "fhir": "bundle", "hl7v2": "message", "folder": "files"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetractionView:
    """One report that is taken back, at one receiver that has it."""

    report_uid: SOPInstanceUID  # that is taken back
    destination: str
    form: str  # note | bundle | message | files; "" while it is owed
    state: str  # of DeliveryState, or OWED
    asked_at: datetime
    acknowledged_at: datetime | None
    detail: str  # what the receiver said last
    idempotency_key: str  # "" while it is owed

    @property
    def is_done(self) -> bool:
        """Whether the receiver has confirmed it."""
        return self.state == DeliveryState.SENT


class RetractionsRead:
    """May raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def of(self, study: StudyInstanceUID) -> Sequence[RetractionView]:
        """Every report of a study that is taken back, by receiver; the oldest first."""
        taking = reports.alias("taking")
        with transaction(self._engine) as connection:
            asked = list(
                connection.execute(
                    sa.select(retractions)
                    .where(retractions.c.study_instance_uid == study)
                    .order_by(retractions.c.asked_at, retractions.c.report_uid)
                ).mappings()
            )
            found = list(
                connection.execute(
                    sa.select(deliveries, taking.c.predecessor)
                    .join(taking, taking.c.report_uid == deliveries.c.report_uid)
                    .where(taking.c.study_instance_uid == study, taking.c.status == ReportStatus.WITHDRAWN)
                ).mappings()
            )
        sent = {(row["predecessor"], row["destination"]): row for row in found}
        views = []
        for one in asked:
            for name in one["destinations"]:
                row = sent.get((one["report_uid"], name))
                views.append(
                    RetractionView(
                        report_uid=SOPInstanceUID(one["report_uid"]),
                        destination=name,
                        form=FORMS.get(row["kind"], "") if row else "",
                        state=row["state"] if row else OWED if one["done_at"] is None else "none",
                        asked_at=one["asked_at"],
                        acknowledged_at=row["delivered_at"] if row else None,
                        detail=(row["acknowledgement"] or "") if row else "",
                        idempotency_key=row["idempotency_key"] if row else "",
                    )
                )
        return views
