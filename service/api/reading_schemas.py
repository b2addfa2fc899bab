"""What the reading room asks and gets: the study to be read, the draft, the signatures.

Both languages travel. Boxes are pixels of the stored image, (0, 0) at the outer corner of its first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hoichan.adapters.reviews_sql import SoftLock
from hoichan.reporting.sealing import judgements_json, volumes_json
from hoichan.types import (
    ReportStatus,
    Review,
    ReviewDraft,
    ReviewKind,
    Study,
)
from service.api.reading_choices import ChoiceOut, NamedOut, TemplateOut
from service.api.reading_machine import ReadFindingOut, ReadReportOut
from service.api.reading_told import JudgementModel, SectionsModel, VolumeJudgementModel
from service.signing import whose
from service.web import people

Texts = Mapping[str, str]  # language -> text
LONGEST_PASSWORD = 1024
Seconds = Annotated[int, Field(ge=0, le=7 * 86_400)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


# ---------------------------------------------------------------------- what a client gets
class ReaderPatientOut(_Model):
    """The person, as the reader of the film needs it."""

    name: str
    patient_id: str
    birth_date: date | None
    sex: str | None
    age_years: int | None


class ReaderStudyOut(_Model):
    """What is read."""

    study_uid: str
    revision: int
    patient: ReaderPatientOut
    whose: str  # changes with the person: a signature says which one was on the screen
    accession_number: str | None
    study_datetime: datetime | None
    study_description: str | None
    sender: str
    urgency: str | None
    state: str

    @classmethod
    def of(cls, study: Study) -> ReaderStudyOut:
        """From the record."""
        patient = study.patient
        born = patient.patient_birth_date
        return cls(
            study_uid=study.study_instance_uid,
            revision=study.revision,
            patient=ReaderPatientOut(
                name=people.spoken_name(patient.patient_name.reveal()),
                patient_id=patient.patient_id.reveal(),
                birth_date=born.reveal() if born else None,
                sex=patient.patient_sex,
                age_years=patient.patient_age_years,
            ),
            whose=whose(study),
            accession_number=study.accession_number,
            study_datetime=study.study_datetime,
            study_description=study.study_description,
            sender=study.calling_ae_title,
            urgency=study.urgency.value if study.urgency else None,
            state=study.state.value,
        )


class ImageOut(_Model):
    """One image."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    frames: int
    rows: int | None
    columns: int | None
    scorable: bool  # a model has taken it up


class ImagesOut(_Model):
    """The images of one series."""

    series_uid: str
    modality: str
    series_number: int | None
    series_description: str | None
    body_part: str | None
    view_position: str | None
    laterality: str | None
    instances: list[ImageOut]

    @classmethod
    def of(cls, study: Study, scored: frozenset[str]) -> list[ImagesOut]:
        """Every series with pictures. `scored`: the images that a model has taken up."""
        made = []
        for series in study.series:
            shown = [one for one in series.instances if one.rows and not (one.rejected or one.removed)]
            if shown:
                made.append(
                    cls(
                        series_uid=series.series_instance_uid,
                        modality=series.modality,
                        series_number=series.series_number,
                        series_description=series.series_description,
                        body_part=series.body_part_examined,
                        view_position=series.view_position,
                        laterality=series.laterality,
                        instances=[
                            ImageOut(
                                sop_instance_uid=one.sop_instance_uid,
                                sop_class_uid=one.sop_class_uid,
                                transfer_syntax_uid=one.transfer_syntax_uid,
                                instance_number=one.instance_number,
                                frames=one.number_of_frames,
                                rows=one.rows,
                                columns=one.columns,
                                scorable=one.sop_instance_uid in scored,
                            )
                            for one in shown
                        ],
                    )
                )
        return made


class PriorOut(_Model):
    """An earlier study of the same person."""

    study_uid: str
    study_datetime: datetime | None
    description: str | None
    modalities: list[str]
    series: list[ImagesOut]


class LockOut(_Model):
    """Who has the study open."""

    reader: str
    since: datetime
    mine: bool

    @classmethod
    def of(cls, lock: SoftLock, reader: str) -> LockOut:
        """From the record, as one reader sees it."""
        return cls(reader=lock.reader, since=lock.since, mine=lock.reader == reader)


class TakenLockOut(LockOut):
    """The same, and what stands now: a page that shows something else says so."""

    whose: str
    last_signed: str  # report UID of the last signature; "" for none
    report_uid: str | None  # of the machine's newest result
    taken_back: bool  # that result, by a rejection note


class DraftOut(_Model):
    """The draft as it is kept."""

    version: int
    judgements: list[JudgementModel]
    sections: SectionsModel
    seconds_spent: int
    updated_at: datetime
    author: str
    volumes: list[VolumeJudgementModel] = []
    carried_over: bool = False  # it was written about a former result: keep it anew before signing

    @classmethod
    def of(cls, draft: ReviewDraft, *, kept: ReviewDraft | None = None) -> DraftOut:
        """From the record. `kept`: the draft as it lies there, where `draft` is what holds of it now."""
        return cls(
            version=draft.version,
            judgements=[JudgementModel(**one) for one in judgements_json(draft.judgements)],
            sections=SectionsModel.of(draft.sections),
            seconds_spent=draft.seconds_spent,
            updated_at=draft.updated_at,
            author=draft.author,
            carried_over=kept is not None and kept.report_uid != draft.report_uid,
            volumes=[VolumeJudgementModel(**one) for one in volumes_json(draft.volumes)],
        )


class SignedOut(_Model):
    """One signature."""

    report_uid: str
    status: ReportStatus
    reviewer: str
    reviewer_name: str
    licence_number: str
    signed_at: datetime
    content_sha256: str
    kind: ReviewKind
    reason: str
    judgements: list[JudgementModel]
    sections: SectionsModel
    volumes: list[VolumeJudgementModel] = []

    @classmethod
    def of(cls, review: Review, status: ReportStatus) -> SignedOut:
        """From the record."""
        return cls(
            report_uid=review.report_uid,
            status=status,
            reviewer=review.reviewer,
            reviewer_name=review.reviewer_name,
            licence_number=review.licence_number,
            signed_at=review.signed_at,
            content_sha256=review.content_sha256,
            kind=review.kind,
            reason=review.reason,
            judgements=[JudgementModel(**one) for one in judgements_json(review.judgements)],
            sections=SectionsModel.of(review.sections),
            volumes=[VolumeJudgementModel(**one) for one in volumes_json(review.volumes)],
        )


class RoomSettingsOut(_Model):
    """How this site reads."""

    read_first: bool  # the picture first, what the machine says after it
    sign_needs: Literal["password", "issuer"] = "password"


class MayOut(_Model):
    """What the reader may do here."""

    review: bool
    sign: bool
    acknowledge: bool  # a critical notice
    follow_up: bool  # say what follows a signed finding


class ReadingOut(_Model):
    """Everything that the reading of one study needs."""

    study: ReaderStudyOut
    report: ReadReportOut | None
    findings: list[ReadFindingOut]
    images: list[ImagesOut]
    priors: list[PriorOut]
    lock: LockOut | None
    mine: bool
    draft: DraftOut | None
    history: list[SignedOut]
    templates: list[TemplateOut]
    finding_choices: list[ChoiceOut]
    rejection_reasons: list[NamedOut]
    settings: RoomSettingsOut
    may: MayOut


class SavedOut(_Model):
    """A draft was kept."""

    version: int
    updated_at: datetime


class TextOut(_Model):
    """The words as drafted."""

    sections: SectionsModel


class SignatureOut(_Model):
    """What a signature made."""

    report_uid: str
    status: ReportStatus
    signed_at: datetime
    content_sha256: str


class WithdrawnOut(_Model):
    """What a withdrawal made."""

    report_uid: str
    status: ReportStatus


class RetractionOut(_Model):
    """How far the taking back of one report has come at one receiver."""

    report_uid: str
    destination: str
    form: str  # note | bundle | message | files
    state: str  # pending | sent | dead | cancelled | owed
    acknowledged_at: datetime | None
    detail: str
