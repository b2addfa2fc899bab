"""Accounts, and who may ask for what."""

from __future__ import annotations

from hoichan.errors.base import HoichanError


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
