"""What versions of a model answered, and what doctors signed: for reports, thresholds, drift, training.

Studies stand by their UID; of a patient only sex and age leave this module. Raises RecordsUnavailable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hoichan.adapters import review_rows
from hoichan.adapters.review_standing import standing
from hoichan.adapters.schema import instances, reports, results, series, studies
from hoichan.adapters.schema_front_door import rejected_reports
from hoichan.adapters.schema_governance import input_statistics, shadow_results
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.shadow_sql import ANSWERED
from hoichan.adapters.transactions import transaction
from hoichan.analysis.truth import overridden, truths
from hoichan.analysis.versions import Version, base_version
from hoichan.types import Presence, Review

_AT_ONCE = 500  # studies asked for at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One version's numbers of one image."""

    study_instance_uid: str
    report_uid: str
    sop_instance_uid: str
    at: datetime  # when the report of the live models was made
    logits: Mapping[str, float]  # Output.name -> raw logit


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What groups are made of."""

    sender: str
    sex: str | None
    age_years: int | None
    device: str
    view: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A review that stands, and what it says."""

    review: Review
    truths: Mapping[str, bool]  # finding key -> there
    overridden: int
    judged: int
    reported_at: datetime  # when the machine's report was made


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One report and whether a model refused the study."""

    study_instance_uid: str
    at: datetime
    refused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """One image that models read."""

    path: str  # inside the spool
    models: tuple[str, ...]  # name and version of each


class EvidenceSql:
    """Reads only."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def first_answer(self, version: Version) -> datetime | None:
        """When a version answered first, live or in shadow; None: never."""
        shadow = (
            sa.select(sa.func.min(reports.c.created_at))
            .join(shadow_results, shadow_results.c.report_uid == reports.c.report_uid)
            .where(shadow_results.c.digest == version.digest, shadow_results.c.outcome == ANSWERED)
        )
        live = (
            sa.select(results.c.algorithm_version, sa.func.min(reports.c.created_at).label("at"))
            .join(reports, reports.c.report_uid == results.c.report_uid)
            .where(
                results.c.algorithm_name == version.manifest.algorithm_name,
                results.c.weights_sha256 == version.manifest.weights_sha256,
                ~_signed().exists(),
            )
            .group_by(results.c.algorithm_version)
        )
        with transaction(self._engine) as connection:
            found = [connection.execute(shadow).scalar()]
            found += [
                row.at
                for row in connection.execute(live)
                if base_version(row.algorithm_version) == version.version
            ]
        return min((at for at in found if at is not None), default=None)

    def answers(
        self, version: Version, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[Answer]:
        """What a version answered, live or in shadow; of each image the latest.

        `since`, `until`: of reports made then, the end not included; None: of all.
        """
        name = version.manifest.algorithm_name
        live = (
            sa.select(
                reports.c.study_instance_uid,
                results.c.report_uid,
                results.c.sop_instance_uid,
                reports.c.created_at.label("at"),
                results.c.logits,
                results.c.algorithm_version,
            )
            .join(results, results.c.report_uid == reports.c.report_uid)
            .where(
                results.c.algorithm_name == name,
                results.c.weights_sha256 == version.manifest.weights_sha256,
                ~_signed().exists(),
            )
        )
        shadow = (
            sa.select(
                reports.c.study_instance_uid,
                shadow_results.c.report_uid,
                shadow_results.c.sop_instance_uid,
                reports.c.created_at.label("at"),
                shadow_results.c.logits,
                shadow_results.c.version.label("algorithm_version"),
            )
            .join(shadow_results, shadow_results.c.report_uid == reports.c.report_uid)
            .where(shadow_results.c.digest == version.digest, shadow_results.c.outcome == ANSWERED)
        )
        found: dict[tuple[str, str], Answer] = {}
        with transaction(self._engine) as connection:
            for asked in (shadow, live):
                chosen = asked.where(*_within(reports.c.created_at, since, until))
                for row in connection.execute(chosen.order_by(reports.c.created_at)):
                    if base_version(row.algorithm_version) != version.version:
                        continue
                    found[row.study_instance_uid, row.sop_instance_uid] = Answer(
                        study_instance_uid=row.study_instance_uid,
                        report_uid=row.report_uid,
                        sop_instance_uid=row.sop_instance_uid,
                        at=row.at,
                        logits=row.logits,
                    )
        return list(found.values())

    def facts(self, wanted: Iterable[str]) -> dict[str, Facts]:
        """What groups are made of, by study."""
        found: dict[str, Facts] = {}
        with transaction(self._engine) as connection:
            for some in _parts(sorted(set(wanted))):
                views: dict[str, Any] = {}
                for row in connection.execute(
                    sa.select(
                        series.c.study_instance_uid,
                        series.c.view_position,
                        series.c.manufacturer,
                        series.c.manufacturer_model_name,
                    )
                    .where(series.c.study_instance_uid.in_(some))
                    .order_by(series.c.series_number)
                ):
                    views.setdefault(row.study_instance_uid, row)
                for row in connection.execute(
                    sa.select(
                        studies.c.study_instance_uid,
                        studies.c.calling_ae_title,
                        studies.c.patient_sex,
                        studies.c.patient_age_years,
                    ).where(studies.c.study_instance_uid.in_(some))
                ):
                    first = views.get(row.study_instance_uid)
                    device = (first.manufacturer_model_name or first.manufacturer) if first else None
                    found[row.study_instance_uid] = Facts(
                        sender=row.calling_ae_title,
                        sex=row.patient_sex,
                        age_years=row.patient_age_years,
                        device=device or "unknown",
                        view=(first.view_position if first else None) or "unknown",
                    )
        return found

    def signed(self, *, since: datetime | None = None, until: datetime | None = None) -> dict[str, Signed]:
        """The reviews that stand, by study; of a result that was taken back nobody judged anything.

        `since`, `until`: of machine's reports made then, the end not included; None: of all.
        """
        found: dict[str, Signed] = {}
        made = _within(reports.c.created_at, since, until)
        with transaction(self._engine) as connection:
            asked = sa.select(reviews.c.study_instance_uid).distinct()
            if made:
                asked = asked.join(reports, reports.c.report_uid == reviews.c.judged).where(*made)
            uids = sorted(connection.execute(asked).scalars())
            for some in _parts(uids):
                chosen = [row["report_uid"] for row in standing(connection, some).values()]  # type: ignore[arg-type]
                rows = connection.execute(
                    sa.select(reviews, reports.c.findings, reports.c.created_at)
                    .join(reports, reports.c.report_uid == reviews.c.judged)
                    .where(
                        reviews.c.report_uid.in_(chosen),
                        reviews.c.judged.not_in(sa.select(rejected_reports.c.report_uid)),
                        *made,
                    )
                ).mappings()
                for row in rows:
                    review = review_rows.review(row)
                    changed, judged = overridden(review.judgements)
                    found[review.study_instance_uid] = Signed(
                        review=review,
                        truths=truths(review.judgements, _stated(row["findings"])),
                        overridden=changed,
                        judged=judged,
                        reported_at=row["created_at"],
                    )
        return found

    def refusals(
        self, algorithm_name: str, *, since: datetime, until: datetime | None = None
    ) -> list[Refused]:
        """Reports since then, and before the end, that this model answered or refused."""
        found = []
        with transaction(self._engine) as connection:
            for row in connection.execute(
                sa.select(
                    reports.c.study_instance_uid,
                    reports.c.created_at,
                    reports.c.refusals,
                    reports.c.algorithms,
                ).where(*_within(reports.c.created_at, since, until), ~_signed().exists())
            ):
                answered = any(one["algorithm_name"] == algorithm_name for one in row.algorithms)
                refused = any(one["algorithm_name"] == algorithm_name for one in row.refusals)
                if answered or refused:
                    found.append(
                        Refused(
                            study_instance_uid=row.study_instance_uid,
                            at=row.created_at,
                            refused=not answered,
                        )
                    )
        return found

    def figures(
        self, *, since: datetime, until: datetime | None = None
    ) -> list[tuple[str, datetime, Mapping[str, float]]]:
        """Study, time and statistics of the films whose reports were made since then, and before the end."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.select(reports.c.study_instance_uid, input_statistics.c.at, input_statistics.c.figures)
                .join(reports, reports.c.report_uid == input_statistics.c.report_uid)
                .where(*_within(input_statistics.c.at, since, until))
            )
            return [(row.study_instance_uid, row.at, row.figures) for row in rows if row.figures]

    def read_images(self, report_uid: str) -> list[ReadImage]:
        """The images that models read for a report."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.select(
                    instances.c.sop_instance_uid,
                    instances.c.path,
                    results.c.algorithm_name,
                    results.c.algorithm_version,
                )
                .join(reports, reports.c.report_uid == results.c.report_uid)
                .join(
                    instances,
                    (instances.c.study_instance_uid == reports.c.study_instance_uid)
                    & (instances.c.sop_instance_uid == results.c.sop_instance_uid),
                )
                .where(results.c.report_uid == report_uid)
                .order_by(instances.c.sop_instance_uid, results.c.algorithm_name)
            ).all()
        found: dict[str, ReadImage] = {}
        for row in rows:
            before = found.get(row.path)
            named = f"{row.algorithm_name} {row.algorithm_version}"
            models = (*(before.models if before else ()), named)
            found[row.path] = ReadImage(path=row.path, models=models)
        return list(found.values())


def _stated(findings: Sequence[Mapping[str, Any]]) -> dict[str, Presence]:
    stated: dict[str, Presence] = {}
    for one in findings:
        presence = Presence(one["presence"])
        if stated.get(one["key"]) is not Presence.PRESENT:
            stated[one["key"]] = presence
    return stated


def _signed() -> sa.Select[tuple[str]]:
    """The review that made a report: a doctor's report is no machine's."""
    return sa.select(reviews.c.report_uid).where(reviews.c.report_uid == reports.c.report_uid)


def _within(
    column: sa.ColumnElement[datetime], since: datetime | None, until: datetime | None
) -> list[sa.ColumnElement[bool]]:
    after = [] if since is None else [column >= since]
    return after if until is None else [*after, column < until]


def _parts(uids: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(uids), _AT_ONCE):
        yield uids[start : start + _AT_ONCE]
