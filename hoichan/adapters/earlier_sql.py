"""Earlier and later studies of one person that are here, for the reader of a study. Read only."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from hoichan.adapters.schema import series, studies
from hoichan.adapters.schema_orders import search_keys
from hoichan.adapters.sight import Sight
from hoichan.adapters.transactions import transaction
from hoichan.intake.names import number_key
from hoichan.intake.priors import body_parts, may_compare
from hoichan.types import Study, StudyInstanceUID

MOST = 8
_LOOKED_AT = 64  # of one person, newest first; who has more has them in the PACS


class EarlierSql:
    """Whose films lie beside a study. May raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def of(self, study: Study, sight: Sight) -> Sequence[StudyInstanceUID]:
        """Other studies of the same person and, where both say it, the same body part, newest first.

        By the number alone, of the same issuer: a name is never enough, and a study without a number has no
        others. Studies follow a merge of numbers by themselves, unless a person has to decide.
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
                .limit(_LOOKED_AT)
            )
            uids = [StudyInstanceUID(uid) for (uid,) in found]
            return _of_one_part(connection, study, uids)[:MOST]


def _of_one_part(
    connection: sa.Connection, study: Study, uids: Sequence[StudyInstanceUID]
) -> Sequence[StudyInstanceUID]:
    wanted = body_parts(one.body_part_examined for one in study.series)
    texts: dict[str, list[str | None]] = {}
    for uid, text in connection.execute(
        sa.select(series.c.study_instance_uid, series.c.body_part_examined).where(
            series.c.study_instance_uid.in_(uids)
        )
    ):
        texts.setdefault(uid, []).append(text)
    return [uid for uid in uids if may_compare(wanted, body_parts(texts.get(uid, ())))]
