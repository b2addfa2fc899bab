"""Models, receivers, the record of studies, and reviews."""

from __future__ import annotations

from hoichan.errors.base import HoichanError


class ModelError(HoichanError):
    """A model gave no answer."""

    code = "model"


class ManifestInvalid(ModelError):
    """The model package is not valid."""

    code = "model.manifest_invalid"


class InputOutOfDomain(ModelError):
    """The input is not what the model was made for.

    `reason` is one of the stable codes of `hoichan.types.RefusalCode`.
    """

    code = "model.input_out_of_domain"

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or f"Not analysed: {reason}")
        self.reason = reason


class RunnerFailed(ModelError):
    """The inference runtime failed."""

    code = "model.runner_failed"
    retryable = True


class KilledItsWorkers(ModelError):
    """An analysis that killed two workers, and then a process of its own."""

    code = "work.killed_its_workers"


class KilledItsRecorders(HoichanError):
    """An object that killed two workers while it was recorded, and then a process of its own."""

    code = "work.killed_its_recorders"


class NotRecorded(HoichanError):
    """An object, or a study, at which the program met an error of its own each time it recorded it."""

    code = "work.not_recorded"


class DeliveryError(HoichanError):
    """A report did not reach its receiver."""

    code = "delivery"


class Unreachable(DeliveryError):
    """The receiver did not answer, or answered "later" (`answered`); the delivery is tried again.

    `not_taken`: the answer says that nothing was taken, and that nothing of this try can still come about.
    """

    code = "delivery.unreachable"
    retryable = True

    def __init__(self, target: str, detail: str, *, answered: bool = False, not_taken: bool = False) -> None:
        super().__init__(f"{target} cannot be reached: {detail}")
        self.target = target
        self.detail = detail
        self.answered = answered
        self.not_taken = answered or not_taken


class Refused(DeliveryError):
    """The receiver answered, and the answer was no."""

    code = "delivery.refused"

    def __init__(self, target: str, status: str) -> None:
        super().__init__(f"{target} refused the report: {status}")
        self.target = target
        self.status = status


class RecordsError(HoichanError):
    """The record of studies could not be used."""

    code = "records"


class StudyUnknown(RecordsError):
    """No study has this UID."""

    code = "records.study_unknown"


class RecordsUnavailable(RecordsError):
    """The database cannot be reached; tried again."""

    code = "records.unavailable"
    retryable = True


class ValueNotKept(RecordsError):
    """The database cannot hold one of the values, however often it is tried."""

    code = "records.value_not_kept"


class ObjectUnknown(RecordsUnavailable):
    """The object store has no bytes of this digest."""

    code = "records.object_unknown"
    retryable = False


class PatientCorrected(RecordsError):
    """The study has another patient than when the work on it began."""

    code = "records.patient_corrected"
    retryable = True


class ReviewError(HoichanError):
    """The review cannot be kept or signed as it is."""

    code = "review"


class ReviewRefused(ReviewError):
    """A judgement or a text breaks a rule.

    `reason`: unknown_finding, judged_twice, unjudged, reason_needed, negative_rejected, unknown_key,
    unknown_site, wrong_size, wrong_box, wrong_verdict, conclusion_needed, taken_back or
    too_long.
    """

    code = "review.refused"

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or f"The review is not taken: {reason}.")
        self.reason = reason
        self.code = f"review.{reason}"


class DraftChanged(ReviewError):
    """Somebody saved the draft meanwhile. Nothing was overwritten."""

    code = "draft_changed"


class ReportChanged(ReviewError):
    """There is a newer report than the one that was read."""

    code = "review.report_changed"


class PatientChanged(ReviewError):
    """The study has another patient than the one that the signer saw."""

    code = "review.patient_corrected"


class StepRefused(ReviewError):
    """The report does not stand where this step begins."""

    code = "review.step_refused"


class NotSignable(ReviewError):
    """The signature was not given.

    `reason`: wrong_password, no_licence, or whose_study (nobody has decided yet who the patient is).
    """

    code = "review.not_signable"

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or f"Not signed: {reason}.")
        self.reason = reason
        self.code = f"review.{reason}"
