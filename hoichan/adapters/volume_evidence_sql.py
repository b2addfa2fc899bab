"""What versions of a network for volumes measured, and what readers said of it. Raises RecordsUnavailable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from hoichan.adapters.review_standing import standing
from hoichan.adapters.rows import Row, measurements
from hoichan.adapters.schema import reports
from hoichan.adapters.schema_governance import shadow_results
from hoichan.adapters.schema_reviews import reviews
from hoichan.adapters.schema_volumes import volume_results
from hoichan.adapters.shadow_sql import ANSWERED
from hoichan.adapters.transactions import transaction
from hoichan.analysis.versions import Version, base_version
from hoichan.analysis.volume_truth import ReadVolume
from hoichan.reporting.sealing import volumes_of
from hoichan.reporting.volume_verdicts import measurement_id
from hoichan.types import StudyInstanceUID

_AT_ONCE = 500  # studies asked for at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSeries:
    """One version's millilitres of one series."""

    study_instance_uid: str
    report_uid: str
    first_slice: str  # SOP Instance UID: names the series in both tables
    ml: Mapping[str, float]  # code of the part -> millilitres


class VolumeEvidenceSql:
    """Reads only."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def measured(self, version: Version) -> dict[tuple[str, str], MeasuredSeries]:
        """(study, first slice) -> what this version measured there; the latest counts."""
        found: dict[tuple[str, str], MeasuredSeries] = {}
        shadow = (
            sa.select(
                reports.c.study_instance_uid,
                shadow_results.c.report_uid,
                shadow_results.c.sop_instance_uid,
                shadow_results.c.logits,
            )
            .join(shadow_results, shadow_results.c.report_uid == reports.c.report_uid)
            .where(shadow_results.c.digest == version.digest, shadow_results.c.outcome == ANSWERED)
            .order_by(reports.c.created_at)
        )
        live = (
            sa.select(
                reports.c.study_instance_uid,
                volume_results.c.report_uid,
                volume_results.c.sop_instance_uids,
                volume_results.c.measurements,
                volume_results.c.algorithm_version,
            )
            .join(volume_results, volume_results.c.report_uid == reports.c.report_uid)
            .where(
                volume_results.c.algorithm_name == version.manifest.algorithm_name,
                volume_results.c.weights_sha256 == version.manifest.weights_sha256,
            )
            .order_by(reports.c.created_at)
        )
        with transaction(self._engine) as connection:
            for row in connection.execute(shadow):
                found[row.study_instance_uid, row.sop_instance_uid] = MeasuredSeries(
                    study_instance_uid=row.study_instance_uid,
                    report_uid=row.report_uid,
                    first_slice=row.sop_instance_uid,
                    ml=row.logits,
                )
            for said in connection.execute(live):
                if base_version(said.algorithm_version) != version.version or not said.sop_instance_uids:
                    continue
                first = said.sop_instance_uids[0]
                found[said.study_instance_uid, first] = MeasuredSeries(
                    study_instance_uid=said.study_instance_uid,
                    report_uid=said.report_uid,
                    first_slice=first,
                    ml={one["code"]["code_value"]: float(one["value"]) for one in said.measurements},
                )
        return found

    def read(self, algorithm_name: str) -> dict[tuple[str, str, str], ReadVolume]:
        """(study, first slice, code of the part) -> what the review that stands says; no verdict: absent."""
        found: dict[tuple[str, str, str], ReadVolume] = {}
        with transaction(self._engine) as connection:
            asked = sa.select(reviews.c.study_instance_uid).where(reviews.c.volumes.is_not(None)).distinct()
            uids = [StudyInstanceUID(uid) for uid in sorted(connection.execute(asked).scalars())]
            for start in range(0, len(uids), _AT_ONCE):
                chosen = standing(connection, uids[start : start + _AT_ONCE]).values()
                rows = connection.execute(
                    sa.select(
                        reviews.c.study_instance_uid,
                        reviews.c.judged,
                        reviews.c.volumes,
                        volume_results.c.algorithm_version,
                        volume_results.c.measurements,
                        volume_results.c.sop_instance_uids,
                    )
                    .join(volume_results, volume_results.c.report_uid == reviews.c.judged)
                    .where(
                        reviews.c.report_uid.in_([row["report_uid"] for row in chosen]),
                        reviews.c.volumes.is_not(None),
                        volume_results.c.algorithm_name == algorithm_name,
                    )
                ).mappings()
                for row in rows:
                    found.update(_read(row))
        return found


def _read(row: Row) -> dict[tuple[str, str, str], ReadVolume]:
    """One series of one review."""
    said = {one.measurement_id: one for one in volumes_of(row["volumes"])}
    found = {}
    for one in measurements(row["measurements"]):
        verdict = said.get(measurement_id(row["judged"], one))
        if verdict is not None and row["sop_instance_uids"]:
            found[row["study_instance_uid"], row["sop_instance_uids"][0], one.code.code_value] = ReadVolume(
                study_instance_uid=row["study_instance_uid"],
                version=base_version(row["algorithm_version"]),
                verdict=verdict.verdict,
                shown=one.value,
                stands=verdict.value_ml,
            )
    return found
