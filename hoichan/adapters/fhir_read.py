"""The reports of the record as a FHIR server looks for them: the newest of each study, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hoichan.adapters.schema import documents, reports, studies
from hoichan.adapters.schema_orders import retractions
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.errors import RecordsUnavailable
from hoichan.ports import Objects
from hoichan.types import DocumentKind, ReportStatus, Sha256

_Row = tuple[str, str, datetime, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One report and where its bundle is."""

    report_uid: str
    study_instance_uid: str
    created_at: datetime
    sha256: str
    withdrawn: bool = False  # taken back: it lay with the wrong patient, or was wrong itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What narrows a search down; None: anything."""

    report_uid: str | None = None
    study_instance_uid: str | None = None
    accession_number: str | None = None
    patient_number: str | None = None  # the facility's number, or the citizen id
    since: datetime | None = None  # inclusive
    before: datetime | None = None  # exclusive
    after: tuple[datetime, str] | None = None  # the last one of the page before


class FhirSql:
    """Read only. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, objects: Objects, sight: Sight = EVERYTHING) -> None:
        self._engine = engine
        self._objects = objects
        self._sight = sight

    def report(self, report_uid: str) -> Kept | None:
        """One report, also one that a newer one has replaced."""
        found = self._rows(_kept().where(reports.c.report_uid == report_uid))
        return found[0] if found else None

    def newest(self, wanted: Wanted, *, limit: int) -> Sequence[Kept]:
        """The newest report of each study that fits, newest first."""
        newer = reports.alias("newer")
        asked = (
            _kept()
            .where(
                ~sa.exists().where(
                    newer.c.study_instance_uid == reports.c.study_instance_uid,
                    newer.c.status != ReportStatus.WITHDRAWN,
                    sa.or_(
                        newer.c.revision > reports.c.revision,
                        sa.and_(
                            newer.c.revision == reports.c.revision,
                            sa.tuple_(newer.c.created_at, newer.c.report_uid)
                            > sa.tuple_(reports.c.created_at, reports.c.report_uid),
                        ),
                    ),
                ),
                reports.c.status != ReportStatus.WITHDRAWN,  # it only takes another back
            )
            .order_by(reports.c.created_at.desc(), reports.c.report_uid.desc())
            .limit(limit)
        )
        for column, value in (
            (reports.c.report_uid, wanted.report_uid),
            (reports.c.study_instance_uid, wanted.study_instance_uid),
        ):
            if value is not None:
                asked = asked.where(column == value)
        asked = _of_study(asked, wanted)
        if wanted.since is not None:
            asked = asked.where(reports.c.created_at >= wanted.since)
        if wanted.before is not None:
            asked = asked.where(reports.c.created_at < wanted.before)
        if wanted.after is not None:
            at, uid = wanted.after
            asked = asked.where(
                sa.or_(
                    reports.c.created_at < at, sa.and_(reports.c.created_at == at, reports.c.report_uid < uid)
                )
            )
        return self._rows(asked)

    def content(self, kept: Kept) -> bytes:
        """The bundle as it was built."""
        return self._objects.get(Sha256(kept.sha256))

    def _rows(self, asked: sa.Select[_Row]) -> list[Kept]:
        asked = asked.where(*self._sight.narrow_by(reports.c.study_instance_uid))
        try:
            with self._engine.connect() as connection:
                return [
                    Kept(
                        report_uid=row.report_uid,
                        study_instance_uid=row.study_instance_uid,
                        created_at=row.created_at,
                        sha256=row.sha256,
                        withdrawn=row.withdrawn,
                    )
                    for row in connection.execute(asked)
                ]
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error


def _kept() -> sa.Select[_Row]:
    later = reports.alias("later")
    taken_back = sa.or_(
        sa.exists().where(retractions.c.report_uid == reports.c.report_uid),
        sa.exists().where(
            later.c.predecessor == reports.c.report_uid, later.c.status == ReportStatus.WITHDRAWN
        ),
    )
    return sa.select(
        reports.c.report_uid,
        reports.c.study_instance_uid,
        reports.c.created_at,
        documents.c.sha256,
        taken_back.label("withdrawn"),
    ).join(
        documents,
        sa.and_(
            documents.c.report_uid == reports.c.report_uid,
            documents.c.kind == DocumentKind.FHIR.value,
            documents.c.destination == "",
        ),
    )


def _of_study(asked: sa.Select[_Row], wanted: Wanted) -> sa.Select[_Row]:
    """Narrowed down by what stands with the study."""
    fits = []
    if wanted.accession_number is not None:
        fits.append(studies.c.accession_number == wanted.accession_number)
    if wanted.patient_number is not None:
        number = wanted.patient_number
        fits.append(sa.or_(studies.c.patient_id == number, studies.c.national_id == number))
    if not fits:
        return asked
    return asked.where(reports.c.study_instance_uid.in_(sa.select(studies.c.study_instance_uid).where(*fits)))
