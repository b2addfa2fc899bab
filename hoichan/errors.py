"""Every error this product raises on purpose.

* HoichanError
  x ConfigurationError           the settings cannot be used; exit code 2
    + PortInUse                  somebody else listens there
    + StorageUnusable            data_dir cannot be written
  x IntakeError                  what came through the door is not usable
    + NotDicom                   unreadable data set (0xC000)
    + DamagedObject              a filed object is not what it was when it was received
    + IncompleteObject           a UID that the store needs is missing (0xA900)
    + WrongSopClass              data set and presentation context disagree (0xA900)
    + WrongStudy                 the object is not of the study that the request names
    + ArchiveRefused             a ZIP archive that is not unpacked; `reason` says why
    + PictureRefused             a PNG or JPEG file that cannot become a film
    + UnknownSender              calling AE title or network is not on the list (rejected)
    + SpoolFull                  no room or no writable disk; the modality must retry (0xA700)
      + Overloaded               too much waits, or memory is short; the modality must retry (0xA700)
    + TooFast                    more instances a minute than agreed; the modality must retry (0xA700)
    + MessageUnreadable          an HL7 v2 message without what it needs (AE)
    + MessageUnsupported         an HL7 v2 message of a kind that we do not take (AR)
    + MessageTooLarge            an HL7 v2 message over the limit of the door (AE)
  x ModelError
    + ManifestInvalid            a package breaks its schema, its checksum or its golden cases
    + InputOutOfDomain           what the manifest does not accept (view, age, pixels): a result, not a fault
    + RunnerFailed               the runtime raised; `__cause__` has the original
    + KilledItsWorkers           an analysis that killed two workers, and then a process of its own
  x DeliveryError
    + Unreachable                no answer, or "later"; tried again
    + Refused                    the other side said no (DIMSE status, HTTP 4xx); never tried again by itself
  x RecordsError
    + StudyUnknown               no study with this UID
    + RecordsUnavailable         the database cannot be reached; tried again
    + PatientCorrected           the study has another patient than when the work on it began; begun anew
      + ObjectUnknown            the object store has no bytes of this digest: a person must look
  x ReviewError                  a review that cannot be kept or signed as it is
    + ReviewRefused              a judgement or a text breaks a rule; `reason` says which
    + DraftChanged               somebody saved the draft meanwhile; nothing was overwritten
    + ReportChanged              there is a newer report than the one that was read
    + StepRefused                the report does not stand where this step begins, e.g. signed already
    + NotSignable                the account has no licence number, or the password was wrong
  x PeopleError
    + UserUnknown                no account with this name
    + UserExists                 the name is taken, or was
    + AccountRefused             a name or password that cannot be taken; `reason` says why
    + TokenUnknown               no token of a program with this name
    + TokenExists                the name of the token is taken, or was
  x AccessError                  the page or the API was asked by somebody who may not
    + SignInRequired             nobody is signed in
    + Forbidden                  the role does not allow it
    + CrossOrigin                asked from another site
    + TokenMissing               a form without the token of its reader
    + TokenRefused               a program's token that is unknown, expired or revoked
    + TooManyTries               wrong tokens from one address; later
    + TlsRequired                a token that came over the network in clear
  x AuditRecordInvalid           an audit record that does not say who did what and when
  x NotHeld                      no object with these UIDs is given out
  x NotAcceptable                none of the forms that a client takes can be given
  x NotConvertible               an object or a frame that cannot be given in the form that is asked for
  x NotDeidentifiable            an object that no profile can clean: a document, a report, speech

`code` is stable and may be relied upon; `retryable` says whether the same call can succeed later.
Messages carry UIDs and codes, never names, birth dates, identifiers or free text of a data set.
They become DIMSE and HTTP statuses at the door only.
"""

from __future__ import annotations


class HoichanError(Exception):
    """Unexpected error."""

    code = "hoichan"
    retryable = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigurationError(HoichanError):
    """The configuration cannot be used."""

    code = "configuration"


class PortInUse(ConfigurationError):
    """The port is taken by another program."""

    code = "configuration.port_in_use"

    def __init__(self, role: str, host: str, port: int) -> None:
        super().__init__(
            f"Port {port} on {host} ({role}) is already in use: stop the other program or set another port."
        )


class StorageUnusable(ConfigurationError):
    """The data folder cannot be written."""

    code = "configuration.storage_unusable"


class IntakeError(HoichanError):
    """What came through the door is not usable."""

    code = "intake"


class NotDicom(IntakeError):
    """The data set cannot be read."""

    code = "intake.not_dicom"


class DamagedObject(IntakeError):
    """The file of an object was changed on the disk after it was received."""

    code = "intake.damaged_object"


class IncompleteObject(IntakeError):
    """A UID that filing needs is missing or malformed."""

    code = "intake.incomplete_object"


class WrongSopClass(IntakeError):
    """The data set is not of the negotiated SOP class or instance."""

    code = "intake.wrong_sop_class"


class WrongStudy(IntakeError):
    """The object is not of the study that the request names."""

    code = "intake.wrong_study"


class ArchiveRefused(IntakeError):
    """The ZIP archive is not unpacked.

    `reason`: damaged, encrypted, too_large, too_many_files, unsafe_path or unsupported_compression.
    """

    code = "intake.archive_refused"

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or f"The archive is not unpacked: {reason}.")
        self.reason = reason


class PictureRefused(IntakeError):
    """The picture cannot become a film."""

    code = "intake.picture_refused"


class UnknownSender(IntakeError):
    """The calling AE title or its network is not on the list of senders."""

    code = "intake.unknown_sender"


class SpoolFull(IntakeError):
    """The spool has no room or cannot be written; send again later."""

    code = "intake.spool_full"
    retryable = True


class Overloaded(SpoolFull):
    """More waits here than agreed, or memory is short; send again later."""

    code = "intake.overloaded"


class TooFast(IntakeError):
    """The sender stores more instances a minute than agreed; send again later."""

    code = "intake.too_fast"
    retryable = True


class MessageUnreadable(IntakeError):
    """The HL7 v2 message cannot be read, or lacks what it needs."""

    code = "intake.message_unreadable"


class MessageUnsupported(IntakeError):
    """The HL7 v2 message is of a kind that is not taken here."""

    code = "intake.message_unsupported"


class MessageTooLarge(IntakeError):
    """The HL7 v2 message is longer than the door takes."""

    code = "intake.message_too_large"


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


class DeliveryError(HoichanError):
    """A report did not reach its receiver."""

    code = "delivery"


class Unreachable(DeliveryError):
    """The receiver did not answer; the delivery is tried again."""

    code = "delivery.unreachable"
    retryable = True

    def __init__(self, target: str, detail: str) -> None:
        super().__init__(f"{target} cannot be reached: {detail}")
        self.target = target
        self.detail = detail


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
    unknown_site, wrong_size, wrong_box, wrong_verdict, conclusion_needed or too_long.
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


class PeopleError(HoichanError):
    """An account could not be used."""

    code = "people"


class UserUnknown(PeopleError):
    """No account has this name."""

    code = "people.user_unknown"


class UserExists(PeopleError):
    """An account with this name is there, or was: names are never used twice."""

    code = "people.user_exists"


class AccountRefused(PeopleError):
    """The name or the password cannot be taken.

    `reason`: "name", or a code of `hoichan.guard.passwords.weakness`.
    """

    code = "people.refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TokenUnknown(PeopleError):
    """No token of a program has this name."""

    code = "people.token_unknown"


class TokenExists(PeopleError):
    """A token with this name is there, or was: names are never used twice."""

    code = "people.token_exists"


class AccessError(HoichanError):
    """This may not be asked for."""

    code = "access"


class SignInRequired(AccessError):
    """Sign in first."""

    code = "access.sign_in_required"


class Forbidden(AccessError):
    """The role of this account does not allow it."""

    code = "access.forbidden"


class OutOfScope(AccessError):
    """The study is of a facility that this account is not bound to."""

    code = "access.out_of_scope"


class SecondFactorRequired(AccessError):
    """This role works with an authenticator only: set one up first."""

    code = "access.second_factor_required"


class IssuerFailed(AccessError):
    """The hospital's own sign-in did not say who it is.

    `reason`: a stable code of what went wrong; nothing of what was said.
    """

    code = "access.issuer_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The issuer did not say who it is ({reason}).")
        self.reason = reason


class CrossOrigin(AccessError):
    """This can be asked for from our own page only."""

    code = "request.cross_origin"


class TokenMissing(AccessError):
    """The form does not carry the token of its reader: load the page again."""

    code = "request.token_missing"


class TokenRefused(AccessError):
    """The token is unknown, expired or revoked."""

    code = "access.token_refused"


class TooManyTries(AccessError):
    """Too many wrong tokens from this address; try again later."""

    code = "access.too_many_tries"
    retryable = True

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds


class TlsRequired(AccessError):
    """A token may cross the network by https only. Take another: this one may have been read."""

    code = "access.tls_required"


class AuditRecordInvalid(HoichanError):
    """The audit record does not say who did what and when."""

    code = "audit_record_invalid"


class NotHeld(HoichanError):
    """No such object is given out here."""

    code = "dicomweb.not_held"


class NotAcceptable(HoichanError):
    """None of the forms that the client takes can be given."""

    code = "dicomweb.not_acceptable"


class NotConvertible(HoichanError):
    """The object cannot be given in this form."""

    code = "not_convertible"


class NotDeidentifiable(HoichanError):
    """No confidentiality profile can take the person out of this object."""

    code = "not_deidentifiable"
