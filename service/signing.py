"""A radiologist's signature, from the draft to what leaves for every receiver; and its withdrawal.

Everything is made before the one transaction that keeps it: a review without its documents, or documents
without their review, cannot be. What was not kept may be asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from hoichan.adapters.page_seal import digest, is_sealed_page
from hoichan.adapters.person_rows import person_stamp
from hoichan.adapters.reviews_sql import ReviewsSql
from hoichan.adapters.routing_sql import RoutingSql
from hoichan.encoding.fhir_superseded import with_former_ended
from hoichan.encoding.signed_page_of import signed_page_of
from hoichan.errors import (
    DraftChanged,
    HoichanError,
    ObjectUnknown,
    PatientChanged,
    ReportChanged,
    StepRefused,
    StudyUnknown,
)
from hoichan.ports import Clock, Encoder, Studies
from hoichan.reporting.begun import begun_report
from hoichan.reporting.deliveries import plan
from hoichan.reporting.reviews import Signer, sign, withdraw
from hoichan.reporting.signed import signed_report
from hoichan.reporting.taken_back import without_answer
from hoichan.settings import Settings
from hoichan.types import (
    Document,
    DocumentKind,
    Report,
    Review,
    ReviewDraft,
    ReviewKind,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
)

log = structlog.get_logger()

# A review that is about to be kept (or that was not, after all), and the hash of its page where a certificate
# signed it.
Witness = Callable[[Review, bool, str], None]
TIME_FORMAT = "%H:%M %d/%m/%Y"


class Signing:
    """Signs and withdraws. Every method may raise RecordsUnavailable (try again)."""

    def __init__(
        self,
        reviews: ReviewsSql,
        studies: Studies,
        encoder: Callable[[], Encoder],
        settings: Settings,
        clock: Clock,
        routing: RoutingSql,
    ) -> None:
        """`encoder` is asked for at the first signature: it takes a second to load."""
        self._reviews = reviews
        self._studies = studies
        self._encoder = encoder
        self._settings = settings
        self._clock = clock
        self._routing = routing

    def read(self, uid: StudyInstanceUID) -> tuple[Study, Report | None]:
        """A study and the machine's newest report, empty where it was taken back. Raises StudyUnknown."""
        study = self._studies.current(uid)
        if study is None:
            raise StudyUnknown(f"No study {uid}.")
        report = self._reviews.machine_report(study)
        return study, without_answer(report) if report is not None else None

    def begin(self, uid: StudyInstanceUID, *, who: str) -> Report:
        """The report that a study without a machine's gets from a person; that which is there, where one is.

        Raises StudyUnknown, or StepRefused while images still come in.
        """
        study, report = self.read(uid)
        if report is not None:
            return report
        if study.revision < 1:
            raise StepRefused("The study is not complete yet.")
        begun = begun_report(study, self._clock.now())
        self._reviews.begin(begun, who=who)
        return begun

    def sign(
        self,
        uid: StudyInstanceUID,
        *,
        version: int,
        last_signed: str | None,
        shown: str | None,
        signer: Signer,
        kind: ReviewKind,
        reason: str,
        may_train: bool,
        language: str,
        witness: Witness,
    ) -> Review:
        """Sign the draft of this version. Raises one of ReviewError where it cannot be.

        `last_signed`: see `seen`. `shown`: `whose` of the study that was on the screen; None: not said.
        """
        now = self._clock.now()
        study, report = self.read(uid)
        before = self.seen(uid, last_signed)
        if shown is not None and shown != whose(study):
            raise PatientChanged
        draft = self._draft(uid, version)
        if report is None:
            raise ReportChanged("There is no report yet.")
        review = sign(
            report,
            draft,
            study,
            before,
            signer=signer,
            kind=kind,
            reason=reason,
            language=language,
            may_train=may_train,
            now=now,
            stands=self._reviews.stands(uid),
        )
        read = self._studies.load(uid, report.revision)
        signed = signed_report(
            report, review, read, time=now.astimezone(self._settings.site.zone).strftime(TIME_FORMAT)
        )
        made = with_former_ended(
            self._encoder().encode(read, signed),
            self._former(review),
            kind,
        )
        receivers = self._routing.route(read).destinations(self._settings.effective_destinations)
        planned = plan(signed, read, receivers, made, now)
        with _witnessed(witness, review, _page_sha256(made)):
            self._reviews.sign(review, signed, study=read, draft_version=version, made=made, planned=planned)
        return review

    def _former(self, review: Review) -> Document | None:
        """The bundle of the signature before; None at the first one, or where it is lost."""
        if review.kind is ReviewKind.FINAL:
            return None
        try:
            return self._reviews.document(review.predecessor, DocumentKind.FHIR)
        except ObjectUnknown:
            log.error("former_bundle_lost", report=review.predecessor)
            return None

    def _draft(self, uid: StudyInstanceUID, version: int) -> ReviewDraft:
        draft = self._reviews.draft(uid)
        if draft is None or draft.version != version:
            raise DraftChanged
        return draft

    def seen(self, uid: StudyInstanceUID, last_signed: str | None) -> Sequence[Review]:
        """Every signature of a study, where whoever asks knew of the last one.

        `last_signed`: its report's UID, "" for none; None: the asker does not say. Raises StepRefused.
        """
        before = self._reviews.reviews(uid)
        if last_signed is not None and last_signed != (before[-1].report_uid if before else ""):
            raise StepRefused("Somebody signed or withdrew this report meanwhile.")
        return before

    def withdraw(
        self,
        uid: StudyInstanceUID,
        *,
        last_signed: str | None,
        signer: Signer,
        reason: str,
        witness: Witness,
    ) -> Review:
        """Take the signature that stands back, everywhere. Raises one of ReviewError where it cannot be."""
        from hoichan.encoding.retraction import retraction_uid  # noqa: PLC0415  highdicom takes a second

        self.read(uid)
        before = self.seen(uid, last_signed)
        if not before or not self._reviews.stands(uid):
            raise StepRefused("No signature stands.")
        review = withdraw(
            before,
            uid=SOPInstanceUID(retraction_uid(before[-1].report_uid)),
            signer=signer,
            reason=reason,
            now=self._clock.now(),
        )
        with _witnessed(witness, review):
            self._reviews.withdraw(review)
        return review


def whose(study: Study) -> str:
    """Says which person a study has, without a name: see `person_stamp`."""
    return person_stamp(study.study_instance_uid, study.patient)


@contextmanager
def _witnessed(witness: Witness, review: Review, page_sha256: str = "") -> Iterator[None]:
    """What cannot be recorded is not kept; what was recorded and not kept is recorded as such."""
    witness(review, True, page_sha256)
    try:
        yield
    except HoichanError:
        witness(review, False, page_sha256)
        raise


def _page_sha256(made: Sequence[Document]) -> str:
    """The hash of the page, where a certificate signed it; else ""."""
    page = signed_page_of(made)
    return digest(page) if is_sealed_page(page) else ""
