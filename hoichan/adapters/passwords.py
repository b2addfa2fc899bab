"""Passwords as argon2id hashes (RFC 9106, 64 MiB, 3 passes).

A name that nobody has costs the same time as a wrong password, so that the time of an answer does not tell
who has an account. Two are computed at once at most: each takes 64 MiB.
"""

from __future__ import annotations

import os
from base64 import b64encode
from threading import BoundedSemaphore

from argon2 import DEFAULT_HASH_LENGTH, DEFAULT_PARALLELISM
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from hoichan.guard.passwords import LONGEST, normalised

_AT_ONCE = BoundedSemaphore(2)


class Passwords:
    """Hashes and checks passwords. Smaller costs are for tests only."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 65536) -> None:
        self._hasher = PasswordHash((Argon2Hasher(time_cost=time_cost, memory_cost=memory_kib),))
        self._nobody = _of_nobody(time_cost, memory_kib)

    def hashed(self, password: str) -> str:
        """The hash to keep, with its salt and costs in it."""
        with _AT_ONCE:
            return self._hasher.hash(normalised(password))

    def matches(self, password: str, kept: str | None) -> tuple[bool, str | None]:
        """Whether it is the password, and a newer hash where the kept one is of lower cost.

        None stands for an account that is not there: the answer is no, after the same time.
        """
        text = normalised(password[: LONGEST + 1])
        with _AT_ONCE:
            try:
                right, newer = self._hasher.verify_and_update(text, kept or self._nobody)
            except UnknownHashError:  # a row that something else wrote
                return False, None
        return right and kept is not None, newer if kept is not None else None


def _of_nobody(time_cost: int, memory_kib: int) -> str:
    """A hash of the same costs that no password is known for: random bytes, made without hashing."""
    salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, DEFAULT_HASH_LENGTH))
    return f"$argon2id$v=19$m={memory_kib},t={time_cost},p={DEFAULT_PARALLELISM}${salt}${digest}"
