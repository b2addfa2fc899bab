"""What versions in shadow said, and what the films were like. Every method may raise RecordsUnavailable."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from hoichan.adapters.schema import reports, results, revisions
from hoichan.adapters.schema_governance import input_statistics, shadow_results
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.transactions import transaction
from hoichan.analysis.versions import Version
from hoichan.types import InferenceResult, SOPInstanceUID, StudyInstanceUID, StudyState, VolumeResult

BEGUN, ANSWERED, FAILED = "begun", "answered", "failed"
_LATE = timedelta(hours=1)  # a report is on record this much after its time at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A report of live models that a shadow has still to see."""

    report_uid: SOPInstanceUID
    study_instance_uid: StudyInstanceUID
    revision: int
    created_at: datetime


class ShadowSql:
    """Reads and writes of `shadow_results` and `input_statistics`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # ------------------------------------------------------------------ whether anybody waits
    def is_idle(self) -> bool:
        """Whether no study waits for its answer: a shadow never runs before a live model."""
        waiting = sa.select(revisions.c.revision).where(revisions.c.state == StudyState.ASSEMBLED).limit(1)
        with transaction(self._engine) as connection:
            return connection.execute(waiting).first() is None

    # ------------------------------------------------------------------ shadows
    def due(self, digest: str, since: datetime, *, limit: int) -> list[Due]:
        """Reports since then that this version has not seen, the oldest first."""
        seen = sa.select(shadow_results.c.report_uid).where(
            shadow_results.c.report_uid == reports.c.report_uid, shadow_results.c.digest == digest
        )
        last = (
            sa.select(sa.func.max(reports.c.created_at))
            .join(shadow_results, shadow_results.c.report_uid == reports.c.report_uid)
            .where(shadow_results.c.digest == digest)
        )
        with transaction(self._engine) as connection:
            newest: datetime | None = connection.execute(last).scalar()
            start = since if newest is None else max(since, newest - _LATE)
            rows = connection.execute(
                sa.select(
                    reports.c.report_uid,
                    reports.c.study_instance_uid,
                    reports.c.revision,
                    reports.c.created_at,
                )
                .where(reports.c.created_at >= start, ~_signed().exists(), ~seen.exists())
                .order_by(reports.c.created_at, reports.c.report_uid)
                .limit(limit)
            )
            return [Due(**row._mapping) for row in rows]

    def begin(self, due: Due, version: Version, *, at: datetime) -> None:
        """Write down that it is asked now: whoever is killed by it is not killed twice."""
        with transaction(self._engine) as connection:
            connection.execute(
                shadow_results.insert().values(
                    report_uid=due.report_uid,
                    sop_instance_uid="",
                    digest=version.digest,
                    model=version.name,
                    version=version.version,
                    outcome=BEGUN,
                    logits={},
                    started_at=at,
                )
            )

    def end(
        self,
        due: Due,
        version: Version,
        *,
        answers: Collection[InferenceResult | VolumeResult],
        outcome: str,
        at: datetime,
    ) -> None:
        """What it said; `outcome` is why where it said nothing."""
        mine = (shadow_results.c.report_uid == due.report_uid) & (shadow_results.c.digest == version.digest)
        with transaction(self._engine) as connection:
            if not answers:
                connection.execute(
                    shadow_results.update()
                    .where(mine, shadow_results.c.sop_instance_uid == "")
                    .values(outcome=outcome, ended_at=at)
                )
                return
            connection.execute(shadow_results.delete().where(mine, shadow_results.c.outcome == BEGUN))
            for answer in answers:
                connection.execute(
                    shadow_results.insert().values(
                        report_uid=due.report_uid,
                        digest=version.digest,
                        model=version.name,
                        version=version.version,
                        outcome=ANSWERED,
                        **_numbers(answer),
                        started_at=answer.started_at,
                        ended_at=answer.ended_at,
                    )
                )

    def hangs(self, since: datetime, until: datetime) -> bool:
        """Whether a version was begun with a study between these times and has not ended."""
        asked = sa.select(shadow_results.c.digest).where(
            shadow_results.c.outcome == BEGUN,
            shadow_results.c.started_at >= since,
            shadow_results.c.started_at < until,
        )
        with transaction(self._engine) as connection:
            return connection.execute(asked.limit(1)).first() is not None

    def killed(self, digest: str) -> int:
        """How many studies this version was begun with and never ended: it killed its process, or hung."""
        asked = (
            sa.select(sa.func.count())
            .select_from(shadow_results)
            .where(shadow_results.c.digest == digest, shadow_results.c.outcome == BEGUN)
        )
        with transaction(self._engine) as connection:
            return int(connection.execute(asked).scalar_one())

    def outcomes(self, digest: str) -> dict[str, int]:
        """How often what came of asking this version."""
        asked = (
            sa.select(shadow_results.c.outcome, sa.func.count())
            .where(shadow_results.c.digest == digest)
            .group_by(shadow_results.c.outcome)
        )
        with transaction(self._engine) as connection:
            return {row[0]: int(row[1]) for row in connection.execute(asked)}

    # ------------------------------------------------------------------ films
    def unmeasured(self, since: datetime, *, limit: int) -> list[tuple[Due, SOPInstanceUID]]:
        """Images that a live model read since then and that were not measured yet."""
        seen = sa.select(input_statistics.c.report_uid).where(
            input_statistics.c.report_uid == results.c.report_uid,
            input_statistics.c.sop_instance_uid == results.c.sop_instance_uid,
        )
        asked = (
            sa.select(
                reports.c.report_uid,
                reports.c.study_instance_uid,
                reports.c.revision,
                reports.c.created_at,
                results.c.sop_instance_uid,
            )
            .join(results, results.c.report_uid == reports.c.report_uid)
            .where(reports.c.created_at >= since, ~seen.exists())
            .distinct()
            .order_by(reports.c.created_at)
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            return [
                (
                    Due(
                        report_uid=row.report_uid,
                        study_instance_uid=row.study_instance_uid,
                        revision=row.revision,
                        created_at=row.created_at,
                    ),
                    SOPInstanceUID(row.sop_instance_uid),
                )
                for row in connection.execute(asked)
            ]

    def begin_figures(self, due: Due, sop_instance_uid: SOPInstanceUID) -> None:
        """Write down that the film is read now; it is not tried twice."""
        with transaction(self._engine) as connection:
            connection.execute(
                input_statistics.insert().values(
                    report_uid=due.report_uid,
                    sop_instance_uid=sop_instance_uid,
                    at=due.created_at,
                    figures={},
                )
            )

    def keep_figures(self, due: Due, sop_instance_uid: SOPInstanceUID, figures: Mapping[str, float]) -> None:
        """What the film was like."""
        with transaction(self._engine) as connection:
            connection.execute(
                input_statistics.update()
                .where(
                    input_statistics.c.report_uid == due.report_uid,
                    input_statistics.c.sop_instance_uid == sop_instance_uid,
                )
                .values(figures=dict(figures))
            )


def _numbers(answer: InferenceResult | VolumeResult) -> dict[str, object]:
    """Logits of an image, or millilitres of a series by the code of the part, under its first slice."""
    if isinstance(answer, VolumeResult):
        said = {one.code.code_value: one.value for one in answer.measurements}
        return {"sop_instance_uid": answer.sop_instance_uids[0], "logits": said}
    return {
        "sop_instance_uid": answer.sop_instance_uid,
        "logits": dict(answer.logits),
        "gate": answer.gate,
    }


def _signed() -> sa.Select[tuple[str]]:
    """The review that made a report: a doctor's report is no machine's."""
    return sa.select(reviews.c.report_uid).where(reviews.c.report_uid == reports.c.report_uid)
