"""What came through a door is not usable."""

from __future__ import annotations

from hoichan.errors.base import HoichanError


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
