"""Earlier and later studies of one person that are here, for the reader of a study. Read only."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters.schema import studies
from hoichan.adapters.schema_orders import search_keys
from hoichan.adapters.sight import Sight
from hoichan.adapters.transactions import transaction
from hoichan.intake.names import number_key
from hoichan.types import Study, StudyInstanceUID

MOST = 8


class EarlierSql:
    """Whose films lie beside a study. May raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def of(self, study: Study, sight: Sight) -> Sequence[StudyInstanceUID]:
        """Other studies under the same patient number of the same issuer, newest first.

        By the number alone: a name is never enough, and a study without a number has no others.
        """
        number = study.patient.patient_id.reveal().strip()
        key = number_key(number)
        if not key:
            return ()
        with transaction(self._engine) as connection:
            found = connection.execute(
                sa.select(studies.c.study_instance_uid)
                .join(search_keys, search_keys.c.study_instance_uid == studies.c.study_instance_uid)
                .where(
                    search_keys.c.kind == "number",
                    search_keys.c.key == key,
                    studies.c.patient_id == number,
                    sa.func.coalesce(studies.c.issuer_of_patient_id, "")
                    == (study.patient.issuer_of_patient_id or ""),
                    studies.c.study_instance_uid != study.study_instance_uid,
                    *sight.narrow(),
                )
                .order_by(
                    sa.func.coalesce(studies.c.study_datetime, studies.c.first_received_at).desc(),
                    studies.c.study_instance_uid,
                )
                .limit(MOST)
            )
            return [StudyInstanceUID(uid) for (uid,) in found]
