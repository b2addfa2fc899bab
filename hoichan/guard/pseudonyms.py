"""What replaces an identity, derived from a secret key: the same input always gives the same output.

Without the key nothing can be turned back, nor can a guessed number be checked (HMAC, RFC 2104). With it a
site can find a patient again by computing the pseudonyms of those it knows; that is meant.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
import uuid
from datetime import timedelta

from pydicom import config
from pydicom.uid import UID

from hoichan.errors import ConfigurationError

KEY_BYTES = 32  # least length of a key
_SHIFT_DAYS = (
    3_650  # dates move back by 1 to this many days: ten years, so that neither year nor season stays
)
_MINUTES_OF_DAY = 1_440
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


def is_valid_uid(text: str) -> bool:
    """PS3.5 9.1."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def is_well_known(uid: str) -> bool:
    """Registered in PS3.6: a class, a syntax, a coding scheme or a frame of reference, nobody's object."""
    return UID(uid, validation_mode=config.IGNORE).name != uid


class Pseudonyms:
    """Every replacement that one key gives. Raises ConfigurationError where the key is too short."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ConfigurationError(f"The key of de-identification has less than {KEY_BYTES} bytes.")
        self._key = key

    def uid(self, original: str) -> str:
        """A UID under 2.25 for another one; at most 44 characters (PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def patient_id(self, patient: str) -> str:
        """16 characters, 80 bits: two patients of a country meet with a chance below one in a billion."""
        return base64.b32encode(self._digest("patient", patient)[:10]).decode("ascii")

    def shift(self, patient: str) -> timedelta:
        """How far the dates of a patient move: whole days back, never none."""
        number = int.from_bytes(self._digest("shift", patient)[:8], "big")
        return -timedelta(days=1 + number % _SHIFT_DAYS)

    def shift_of_time(self, patient: str) -> timedelta:
        """How far the clock of a patient moves on top: whole minutes of one day, never none."""
        number = int.from_bytes(self._digest("time", patient)[:8], "big")
        return -timedelta(minutes=1 + number % (_MINUTES_OF_DAY - 1))

    def _digest(self, purpose: str, text: str) -> bytes:
        meant = unicodedata.normalize("NFC", text)
        return hmac.digest(
            self._key, f"{purpose}\0{meant}".encode("utf-8", "surrogateescape"), hashlib.sha256
        )
