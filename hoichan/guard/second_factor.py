"""The second factor: codes of an authenticator (RFC 6238) and codes for the day it is lost. Pure.

SHA-1, six digits, thirty seconds: what every authenticator speaks. A code counts once: its step and every
step before it are used up. One step of a slow or fast clock is borne either way.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

SECRET_BYTES = 20  # RFC 4226 4, R6
STEP_SECONDS = 30
DIGITS = 6
RECOVERY_CODES = 10
_DRIFT = 1  # steps
_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_RECOVERY_BYTES = 10  # 80 random bits, sixteen letters


def new_secret() -> bytes:
    """What is shared with an authenticator."""
    return secrets.token_bytes(SECRET_BYTES)


def step_of(now: datetime) -> int:
    """The time step (RFC 6238 4.2)."""
    return int(now.timestamp()) // STEP_SECONDS


def code_at(secret: bytes, step: int) -> str:
    """The code of a step (RFC 4226 5.3)."""
    return HOTP(secret, DIGITS, SHA1()).generate(step).decode("ascii")


def matching_step(secret: bytes, text: str, now: datetime, used: int) -> int | None:
    """The step whose code this is, later than the last one that was `used`; None where it is none.

    Every step is looked at, so that the time of the answer says nothing.
    """
    code = re.sub(r"\s", "", text)
    here, found = step_of(now), None
    for step in range(here - _DRIFT, here + _DRIFT + 1):
        same = hmac.compare_digest(code_at(secret, step).encode(), code.encode("utf-8", "replace"))
        if same and step > used:
            found = step
    return found if _CODE.fullmatch(code) else None


def provisioning_uri(secret: bytes, user_name: str, issuer: str) -> str:
    """What the QR code says (the key URI format that authenticators read)."""
    name = quote(f"{issuer}:{user_name}", safe="")
    return f"otpauth://totp/{name}?" + urlencode(
        {"secret": spelt(secret), "issuer": issuer, "digits": DIGITS, "period": STEP_SECONDS}, quote_via=quote
    )


def spelt(secret: bytes) -> str:
    """The secret for who types it: base32 without padding."""
    return base64.b32encode(secret).decode("ascii").rstrip("=")


def new_recovery_codes() -> tuple[str, ...]:
    """Codes to be kept on paper; each opens once."""
    texts = [
        base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode("ascii").lower() for _ in range(10)
    ]
    return tuple("-".join(text[at : at + 4] for at in range(0, 16, 4)) for text in texts[:RECOVERY_CODES])


def recovery_digest(text: str) -> str | None:
    """What is kept of a recovery code; None for a text that cannot be one. 80 random bits need no salt."""
    code = re.sub(r"[\s-]", "", text).lower()
    if not re.fullmatch(r"[a-z2-7]{16}", code, re.ASCII):
        return None
    return hashlib.sha256(b"hoichan recovery " + code.encode("ascii")).hexdigest()
