"""Deterministic UIDs for whatever we create.

The same inputs give the same UID on every machine and after every restart, so a repeated step
never makes a second object (PS3.5 B.2: UUID-derived UIDs under 2.25).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

# ISO OID namespace of RFC 4122, Appendix C
_NAMESPACE = uuid.NAMESPACE_OID


def derived_uuid(*parts: object) -> uuid.UUID:
    """A name-based UUID (version 5) over the parts, joined with `|`."""
    return uuid.uuid5(_NAMESPACE, "|".join(str(part) for part in parts))


def derived_uid(*parts: object) -> str:
    """A DICOM UID under 2.25 over the parts; at most 44 characters."""
    return f"2.25.{derived_uuid(*parts).int}"


def device_uid(algorithm_digest: str) -> str:
    """The Device UID of one model version: new weights, new UID (IHE AIR)."""
    return derived_uid("device", algorithm_digest)


def segmentation_uid(
    algorithm_digest: str, sop_instance_uids: Iterable[str], values_sha256: str, revision: int = 0
) -> str:
    """SOP Instance UID of what one model version outlined on these slices, for one revision of the study.

    Another revision is another object: its patient may have been corrected. 0: made by hand.
    """
    return derived_uid(algorithm_digest, *sop_instance_uids, values_sha256, *([revision] if revision else []))
