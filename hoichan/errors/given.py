"""What cannot be given out."""

from __future__ import annotations

from hoichan.errors.base import HoichanError


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
