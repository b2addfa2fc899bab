"""The patient numbers that became one: under which others a person's earlier films may lie."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters.schema_orders import patient_events
from hoichan.adapters.transactions import transaction
from hoichan.types import Patient

MOST = 16  # numbers of one person; more are a mistake of somebody


class MergedSql:
    """What merges (ADT A40) said of a number. Read only. May raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def of(self, patient: Patient) -> Sequence[tuple[str, str | None]]:
        """Former numbers and their issuers that were merged into the patient's, the number itself left out.

        Down only: into which number a former one went stands on the study itself, once it was followed. A
        number stands for its issuer; where one of two has none, they are the same.
        """
        number = patient.patient_id.reveal().strip()
        if not number:
            return ()
        known: list[tuple[str, str | None]] = [(number, patient.issuer_of_patient_id or None)]
        with transaction(self._engine) as connection:
            for now, issuer in known:  # grows while it is walked: a number may have been merged twice
                for row in connection.execute(_merged_into(now)):
                    into, prior = row.issuer_of_patient_id, row.prior_patient_id
                    same = issuer is None or into is None or issuer == into
                    if same and all(prior != one for one, _ in known) and len(known) < MOST:
                        known.append((prior, row.prior_issuer or None))
        return known[1:]


def _merged_into(number: str) -> sa.Select[tuple[str, str, str]]:
    return (
        sa.select(
            patient_events.c.prior_patient_id,
            patient_events.c.prior_issuer,
            patient_events.c.issuer_of_patient_id,
        )
        .where(
            patient_events.c.kind == "merge",
            patient_events.c.applied_at.is_not(None),
            patient_events.c.patient_id == number,
            patient_events.c.prior_patient_id != "",
        )
        .order_by(patient_events.c.at, patient_events.c.id)
    )
