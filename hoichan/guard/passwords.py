"""What a password must be, and how long somebody waits after wrong ones. Pure; hashing is an adapter's.

Length counts, not the kinds of letters (NIST SP 800-63B 5.1.1): a sentence in Vietnamese is welcome. Wrong
passwords are counted by account and by address; pauses double up to a bound, so that guessing is slow and a
person who mistyped is not locked out for good.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import timedelta

SHORTEST = 12  # characters
LONGEST = 256  # characters; hashing a book would be an attack
_FEWEST_KINDS = 5  # different characters: "aaaaaaaaaaaa" is none


def normalised(password: str) -> str:
    """The form that is hashed: NFKC, so that two keyboards write the same Vietnamese password."""
    return unicodedata.normalize("NFKC", password)


def weakness(password: str, user_name: str) -> str | None:
    """Why a password cannot be taken, as a stable code; None when it can.

    "too_short", "too_long", "too_simple", "like_the_name".
    """
    text = normalised(password)
    if len(text) < SHORTEST:
        return "too_short"
    if len(text) > LONGEST:
        return "too_long"
    if user_name in text.lower() and len(text) - len(user_name) < SHORTEST:
        return "like_the_name"
    if len(set(text.lower())) < _FEWEST_KINDS:
        return "too_simple"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How many wrong passwords are borne before pauses begin, and how the pauses grow."""

    free: int
    first_seconds: float
    longest_seconds: float
    forgets_one_every_seconds: float = 3600  # so that a ward's slips of a week do not add up

    def remembered(self, failures: int, since: timedelta) -> int:
        """How many of the failures still count, so long after the last of them."""
        return max(0, failures - int(since.total_seconds() / self.forgets_one_every_seconds))

    def pause(self, failures: int) -> timedelta:
        """How long nothing more is tried after so many failures in a row."""
        beyond = failures - self.free
        if beyond < 0:
            return timedelta(0)
        seconds = self.first_seconds * 2.0 ** min(beyond, 32)
        return timedelta(seconds=min(seconds, self.longest_seconds))


ACCOUNT_PATIENCE = Patience(free=5, first_seconds=2, longest_seconds=900)
ADDRESS_PATIENCE = Patience(  # a ward shares one address
    free=20, first_seconds=2, longest_seconds=900, forgets_one_every_seconds=300
)
TOKEN_PATIENCE = Patience(  # a program with an old token asks on and on; it learns nothing new from more
    free=10, first_seconds=2, longest_seconds=300, forgets_one_every_seconds=60
)
FORGOTTEN_AFTER = timedelta(hours=24)  # failures older than this no longer count
