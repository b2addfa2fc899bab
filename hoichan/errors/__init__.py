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
  x KilledItsRecorders           the same of an object while it was recorded
  x NotRecorded                  what the program stumbled over each time that it recorded it
  x DeliveryError
    + Unreachable                no answer, or "later"; tried again
    + Refused                    the other side said no (DIMSE status, HTTP 4xx); never tried again by itself
  x RecordsError
    + StudyUnknown               no study with this UID
    + RecordsUnavailable         the database cannot be reached; tried again
      + ObjectUnknown            the object store has no bytes of this digest: a person must look
    + ValueNotKept               the database cannot hold one of the values, however often it is tried
    + PatientCorrected           the study has another patient than when the work on it began; begun anew
  x ReviewError                  a review that cannot be kept or signed as it is
    + ReviewRefused              a judgement or a text breaks a rule; `reason` says which
    + DraftChanged               somebody saved the draft meanwhile; nothing was overwritten
    + ReportChanged              there is a newer report than the one that was read
    + PatientChanged             the study has another patient than the one that was seen
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

from hoichan.errors.base import (
    AuditRecordInvalid,
    ConfigurationError,
    HoichanError,
    PortInUse,
    StorageUnusable,
)
from hoichan.errors.given import NotAcceptable, NotConvertible, NotDeidentifiable, NotHeld
from hoichan.errors.intake import (
    ArchiveRefused,
    DamagedObject,
    IncompleteObject,
    IntakeError,
    MessageTooLarge,
    MessageUnreadable,
    MessageUnsupported,
    NotDicom,
    Overloaded,
    PictureRefused,
    SpoolFull,
    TooFast,
    UnknownSender,
    WrongSopClass,
    WrongStudy,
)
from hoichan.errors.people import (
    AccessError,
    AccountRefused,
    CrossOrigin,
    Forbidden,
    IssuerFailed,
    OutOfScope,
    PeopleError,
    SecondFactorRequired,
    SignInRequired,
    TlsRequired,
    TokenExists,
    TokenMissing,
    TokenRefused,
    TokenUnknown,
    TooManyTries,
    UserExists,
    UserUnknown,
)
from hoichan.errors.work import (
    DeliveryError,
    DraftChanged,
    InputOutOfDomain,
    KilledItsRecorders,
    KilledItsWorkers,
    ManifestInvalid,
    ModelError,
    NotRecorded,
    NotSignable,
    ObjectUnknown,
    PatientChanged,
    PatientCorrected,
    RecordsError,
    RecordsUnavailable,
    Refused,
    ReportChanged,
    ReviewError,
    ReviewRefused,
    RunnerFailed,
    StepRefused,
    StudyUnknown,
    Unreachable,
    ValueNotKept,
)

__all__ = [
    "AccessError",
    "AccountRefused",
    "ArchiveRefused",
    "AuditRecordInvalid",
    "ConfigurationError",
    "CrossOrigin",
    "DamagedObject",
    "DeliveryError",
    "DraftChanged",
    "Forbidden",
    "HoichanError",
    "IncompleteObject",
    "InputOutOfDomain",
    "IntakeError",
    "IssuerFailed",
    "KilledItsRecorders",
    "KilledItsWorkers",
    "ManifestInvalid",
    "MessageTooLarge",
    "MessageUnreadable",
    "MessageUnsupported",
    "ModelError",
    "NotAcceptable",
    "NotConvertible",
    "NotDeidentifiable",
    "NotDicom",
    "NotHeld",
    "NotRecorded",
    "NotSignable",
    "ObjectUnknown",
    "OutOfScope",
    "Overloaded",
    "PatientChanged",
    "PatientCorrected",
    "PeopleError",
    "PictureRefused",
    "PortInUse",
    "RecordsError",
    "RecordsUnavailable",
    "Refused",
    "ReportChanged",
    "ReviewError",
    "ReviewRefused",
    "RunnerFailed",
    "SecondFactorRequired",
    "SignInRequired",
    "SpoolFull",
    "StepRefused",
    "StorageUnusable",
    "StudyUnknown",
    "TlsRequired",
    "TokenExists",
    "TokenMissing",
    "TokenRefused",
    "TokenUnknown",
    "TooFast",
    "TooManyTries",
    "UnknownSender",
    "Unreachable",
    "UserExists",
    "UserUnknown",
    "ValueNotKept",
    "WrongSopClass",
    "WrongStudy",
]
