"""What one analysis needs, in whichever process it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hoichan.adapters.retention_sql import RetentionSql
from hoichan.adapters.routing_sql import RoutingSql
from hoichan.intake.rejections import mark_rejected, withdrawn
from hoichan.ports import Encoder, Outliner, Runner
from hoichan.types import Report, Study, StudyInstanceUID
from service import retention
from service.corrections import Corrections
from service.pipeline import analyse
from service.roster import Roster, Thawed, ThawedVolumes

if TYPE_CHECKING:
    from datetime import date

    from service.wiring import House


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyst:
    """Loads a revision as it is known now, and has it analysed."""

    house: House
    roster: Roster
    runner: Runner
    outliner: Outliner
    encoder: Encoder
    corrections: Corrections
    priors: Callable[[Study], tuple[date, ...]]  # dates of earlier studies; may fetch them

    def analyse(self, uid: StudyInstanceUID, revision: int) -> tuple[Study, Report | None]:
        """Scores and files one revision; no report where the former answer stands. Raises as the pipeline."""
        with self.house.films.of_one_study():
            return self._analyse(uid, revision)

    def _analyse(self, uid: StudyInstanceUID, revision: int) -> tuple[Study, Report | None]:
        self.corrections.retract(uid)
        study = load(self.house, uid, revision)
        study = replace(study, earlier_study_dates=self.priors(study))
        route = RoutingSql(self.house.engine, self.house.clock).route(study, tell=True)
        report = analyse(
            study,
            manifests=route.models(self.roster.manifests(study)),
            runner=Thawed(self.runner, self.roster),
            encoder=self.encoder,
            studies=self.house.studies,
            destinations=route.destinations(self.house.settings.effective_destinations),
            clock=self.house.clock,
            networks=self.roster.networks(),
            outliner=ThawedVolumes(self.outliner, self.roster),
        )
        return study, report


def load(house: House, uid: StudyInstanceUID, revision: int) -> Study:
    """A revision without what was rejected, also by a note that came after it was closed: its work may wait.

    And those images are marked that went by the retention rules before the study came to life again.
    """
    study = house.studies.load(uid, revision)
    known = house.studies.current(uid)
    rejected = withdrawn(house.spool, known or study) | house.studies.rejected(uid)
    judged = mark_rejected(study, rejected)
    return retention.mark_removed(judged, RetentionSql(house.engine), house.spool)
