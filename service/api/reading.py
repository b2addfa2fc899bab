"""`/api/v1/studies/{uid}/reading` and its verbs: what the reading room needs, keeps and signs.

Only a radiologist judges and signs. A signature asks for the password again, under the same limits as at
sign-in; what it makes leaves in one transaction, and the audit log has it before the answer goes out.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from hoichan.adapters.earlier_sql import EarlierSql
from hoichan.adapters.heatmaps import png, unpacked
from hoichan.adapters.report_objects import report_objects
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.routing_sql import RoutingSql
from hoichan.errors import NotSignable, ReviewError, TooManyTries
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.roles import Action
from hoichan.reporting.reviews import Signer, finding_id, rebased, status_after
from hoichan.types import Report, ReportStatus, Review, ReviewDraft, SOPInstanceUID, Study, StudyInstanceUID
from service.api import problems
from service.api.caller import Caller, caller_of
from service.api.desk import AtDesk, Desk
from service.api.questions import told_of
from service.api.reading_choices import choices, reasons, templates
from service.api.reading_machine import ReadFindingOut, ReadReportOut
from service.api.reading_record import LOCK_SECONDS, record_look
from service.api.reading_schemas import (
    DraftOut,
    ImagesOut,
    LockOut,
    MayOut,
    PriorOut,
    ReaderStudyOut,
    ReadingOut,
    RoomSettingsOut,
    SignatureOut,
    SignedOut,
    TakenLockOut,
    WithdrawnOut,
)
from service.api.reading_told import SignIn, WithdrawIn
from service.api.signing_in import is_password, succeeded, wait_of
from service.api.studies import StudyUid
from service.signing import Signing, Witness, whose

if TYPE_CHECKING:
    from hoichan.adapters.encoder import DocumentEncoder

FindingId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "It changed meanwhile", "content": {problems.MEDIA_TYPE: {}}}
}

router = APIRouter(prefix="/api/v1/studies/{study_uid}", tags=["reading"], responses=problems.RESPONSES)


@router.get("/reading")
def show_reading(request: Request, desk: AtDesk, study_uid: StudyUid) -> ReadingOut:
    """Everything that the reading of one study needs: findings, images, priors, draft and signatures."""
    uid = StudyInstanceUID(study_uid)
    study, report = signing_of(desk).read(uid)
    desk.witness.record(request, Audited.VIEWED, uid, detail="reading")
    reviews = reviews_of(desk)
    signed, stands = reviews.reviews(uid), reviews.stands(uid)
    reader = reader_of(request)
    lock = reviews.locked(uid)
    lent = desk.access.is_lent(reader.sight, uid)  # a colleague asks: to be looked at, not to be signed
    return ReadingOut(
        study=ReaderStudyOut.of(study),
        report=ReadReportOut.of(report, status_after(signed, stands=stands)) if report else None,
        findings=_findings(reviews, uid, report) if report else [],
        images=ImagesOut.of(study, _scored(report)),
        priors=_priors(desk, study),
        lock=LockOut.of(lock, reader.user_name) if lock else None,
        mine=lock is not None and lock.reader == reader.user_name,
        draft=told_draft(reviews, study, report),
        history=[
            SignedOut.of(review, status_after(signed[: at + 1], stands=stands or at + 1 < len(signed)))
            for at, review in enumerate(signed)
        ],
        templates=templates(desk.settings.site.language),
        finding_choices=choices(),
        rejection_reasons=reasons(),
        settings=RoomSettingsOut(
            read_first=desk.settings.web.read_first,
            sign_needs="issuer"
            if desk.issuer and desk.external.is_external(reader.user_name)
            else "password",
        ),
        may=MayOut(
            review=reader.may(Action.STUDY_REVIEW) and not lent,
            sign=reader.may(Action.STUDY_SIGN) and not lent and bool(_licence(desk, reader)),
            acknowledge=reader.may(Action.NOTICE_ACKNOWLEDGE),
            follow_up=reader.may(Action.FOLLOW_UP_KEEP),
        ),
    )


@router.put("/lock")
def take_lock(request: Request, desk: AtDesk, study_uid: StudyUid) -> TakenLockOut:
    """Say that I read this study; who does, for the next 90 seconds, and what stands. It stops nobody."""
    uid = StudyInstanceUID(study_uid)
    study, report = signing_of(desk).read(uid)
    reader = reader_of(request).user_name
    reviews = reviews_of(desk)
    before = reviews.locked(uid)
    lock = reviews.lock(uid, reader, LOCK_SECONDS)
    record_look(request, desk, uid, before, lock)
    signed = reviews.reviews(uid)
    return TakenLockOut(
        **LockOut.of(lock, reader).model_dump(),
        whose=whose(study),
        last_signed=signed[-1].report_uid if signed else "",
        report_uid=report.report_uid if report else None,
        taken_back=report is not None and report.taken_back,
    )


@router.delete("/lock", status_code=HTTPStatus.NO_CONTENT)
def release_lock(request: Request, desk: AtDesk, study_uid: StudyUid) -> Response:
    """Say that I do not read it any more."""
    reviews_of(desk).release(StudyInstanceUID(study_uid), reader_of(request).user_name)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/sign", responses=CONFLICT)
def sign(request: Request, desk: AtDesk, study_uid: StudyUid, told: SignIn) -> SignatureOut:
    """Sign the draft; the final report leaves for every receiver. Needs the password again."""
    uid = StudyInstanceUID(study_uid)
    signer = _signer(request, desk, uid, told.password)
    if told_of(desk, uid).questions:  # a signature would name a patient whom somebody doubts
        error = NotSignable("whose_study")
        refused(request, desk, uid, error)
        raise error
    try:
        review = signing_of(desk).sign(
            uid,
            version=told.version,
            last_signed=told.last_signed,
            shown=told.whose,
            signer=signer,
            kind=told.kind,
            reason=told.reason,
            may_train=told.may_train,
            language=told.language or desk.settings.site.language,
            witness=witness_of(request, desk, Audited.RESULT_SIGNED),
        )
    except ReviewError as error:
        refused(request, desk, uid, error)
        raise
    return SignatureOut(
        report_uid=review.report_uid,
        status=_status(desk, uid),
        signed_at=review.signed_at,
        content_sha256=review.content_sha256,
    )


@router.post("/withdraw", responses=CONFLICT)
def withdraw(request: Request, desk: AtDesk, study_uid: StudyUid, told: WithdrawIn) -> WithdrawnOut:
    """Take the signed report back from every receiver that has it. Needs the password again."""
    uid = StudyInstanceUID(study_uid)
    signer = _signer(request, desk, uid, told.password)
    try:
        witness = witness_of(request, desk, Audited.RESULT_WITHDRAWN)
        review = signing_of(desk).withdraw(
            uid, last_signed=told.last_signed, signer=signer, reason=told.reason, witness=witness
        )
    except ReviewError as error:
        refused(request, desk, uid, error)
        raise
    return WithdrawnOut(report_uid=review.report_uid, status=_status(desk, uid))


@router.get(
    "/findings/{finding_identity}/heatmap.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def show_heatmap(
    request: Request, desk: AtDesk, study_uid: StudyUid, finding_identity: FindingId
) -> Response:
    """Where the model looked: a transparent picture of the stored image's own proportions."""
    study, report = signing_of(desk).read(StudyInstanceUID(study_uid))
    reviews = reviews_of(desk)
    for place, finding in enumerate(report.findings if report else ()):
        if report is None or finding_id(report.report_uid, finding) != finding_identity:
            continue
        kept = reviews.heatmaps(report.report_uid).get(place)
        image = next(
            (one for one in study.instances if one.sop_instance_uid == finding.sop_instance_uid), None
        )
        if kept is not None and image is not None and image.rows and image.columns:
            desk.witness.record(request, Audited.VIEWED, study_uid, detail="heatmap")
            picture = png(unpacked(kept), rows=image.rows, columns=image.columns)
            return Response(picture, media_type="image/png")
    return problems.answer(request, HTTPStatus.NOT_FOUND, "heatmap.unknown", "No heat map was kept.")


# ---------------------------------------------------------------------- what the handlers work with
def reviews_of(desk: Desk) -> ReviewsSql:
    """The reviews of this record."""
    return ReviewsSql(desk.reading.engine, desk.reading.objects, desk.clock)


def signing_of(desk: Desk) -> Signing:
    """What signs, over this record."""

    def encoder() -> DocumentEncoder:
        from hoichan.adapters.encoder import DocumentEncoder  # noqa: PLC0415  at the first signature

        return DocumentEncoder(desk.held.spool, desk.settings, report_objects(desk.reading.engine))

    routing = RoutingSql(desk.reading.engine, desk.clock)
    return Signing(reviews_of(desk), desk.studies, encoder, desk.settings, desk.clock, routing)


def reader_of(request: Request) -> Caller:
    """Who asks."""
    caller = caller_of(request)
    assert caller is not None  # the gate lets nobody else through
    return caller


def _licence(desk: Desk, reader: Caller) -> str:
    if not reader.session_id:
        return ""
    return desk.people.user(reader.user_name).licence_number


def _signer(request: Request, desk: Desk, uid: StudyInstanceUID, password: str) -> Signer:
    """Who signs, after the password was shown again. Raises NotSignable or TooManyTries."""
    reader = reader_of(request)
    if not reader.session_id:  # a program, or nobody: no password, no signature
        raise NotSignable("wrong_password")
    wait = wait_of(request, desk, reader.user_name)
    if wait:
        refused(request, desk, uid, TooManyTries(1))
        raise TooManyTries(max(1, round(wait.total_seconds())))
    if not is_password(desk, reader.user_name, password):
        error = NotSignable("wrong_password")
        refused(request, desk, uid, error)
        raise error
    succeeded(request, desk, reader.user_name)
    return signer_of(desk, reader.user_name)


def begins(request: Request, desk: Desk) -> Signer:
    """Who reads; a program has no name to give."""
    reader = reader_of(request)
    if reader.session_id:
        return signer_of(desk, reader.user_name)
    return Signer(user_name=reader.user_name, full_name="", licence_number="")


def signer_of(desk: Desk, user_name: str) -> Signer:
    """An account as it signs; whoever calls has proved that the person is there."""
    user = desk.people.user(user_name)
    return Signer(
        user_name=user.user_name,
        full_name=user.full_name or user.display_name,
        licence_number=user.licence_number,
    )


def witness_of(request: Request, desk: Desk, what: Audited) -> Witness:
    """What records a signature before it is kept; nothing is signed that could not be recorded."""

    def record(review: Review, kept: bool, page_sha256: str) -> None:
        desk.witness.record(
            request,
            what,
            review.study_instance_uid,
            review.report_uid,
            review.predecessor,
            detail=f"{review.kind.value} {review.content_sha256} {page_sha256}".strip(),
            outcome=Outcome.SUCCESS if kept else Outcome.SERIOUS_FAILURE,
        )

    return record


def refused(request: Request, desk: Desk, uid: StudyInstanceUID, error: Exception) -> None:
    """Record that a signature was not given, and why."""
    code = getattr(error, "code", "")
    desk.witness.record(
        request, Audited.RESULT_SIGNED, uid, detail=f"refused {code}", outcome=Outcome.MINOR_FAILURE
    )


def _status(desk: Desk, uid: StudyInstanceUID) -> ReportStatus:
    reviews = reviews_of(desk)
    return status_after(reviews.reviews(uid), stands=reviews.stands(uid))


def told_draft(reviews: ReviewsSql, study: Study, report: Report | None) -> DraftOut | None:
    """The kept draft as a page gets it; None: there is none."""
    kept = reviews.draft(study.study_instance_uid)
    if kept is None:
        return None
    return DraftOut.of(held(kept, reviews, study, report) if report else kept, kept=kept)


def held(draft: ReviewDraft, reviews: ReviewsSql, study: Study, report: Report) -> ReviewDraft:
    """A draft as one about this report: of a former report's verdicts those that hold for this one."""
    if report.taken_back:  # nobody judges it; what the reader says alone is kept
        own = tuple(one for one in draft.judgements if one.finding_id is None)
        draft = replace(draft, judgements=own, volumes=())
    if draft.report_uid == report.report_uid:
        return draft
    return rebased(draft, reviews.report(draft.report_uid, study), report)


def _scored(report: Report | None) -> frozenset[str]:
    return frozenset(one.sop_instance_uid for one in (report.results if report else ()))


def _findings(reviews: ReviewsSql, uid: StudyInstanceUID, report: Report) -> list[ReadFindingOut]:
    drawn = reviews.heatmaps(SOPInstanceUID(report.report_uid))
    made = []
    for place, finding in enumerate(report.findings):
        identity = finding_id(report.report_uid, finding)
        address = f"/api/v1/studies/{uid}/findings/{identity}/heatmap.png" if place in drawn else None
        made.append(ReadFindingOut.of(finding, identity, address))
    return made


def _priors(desk: Desk, study: Study) -> list[PriorOut]:
    made = []
    for uid in EarlierSql(desk.reading.engine).of(study, desk.sight):
        prior = desk.studies.current(uid)
        images = ImagesOut.of(prior, frozenset()) if prior else []
        if prior is not None and images:
            made.append(
                PriorOut(
                    study_uid=uid,
                    study_datetime=prior.study_datetime,
                    description=prior.study_description,
                    modalities=sorted({one.modality for one in images}),
                    series=images,
                )
            )
    return made
