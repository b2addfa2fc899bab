"""Data sets as files, valid ones and ones with a false file meta."""

from __future__ import annotations

from pydicom.dataset import Dataset

from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.intake.part10 import Checksum, write_meta
from hoichan.testing.datasets import encode


def as_file(
    data_set: Dataset,
    transfer_syntax_uid: str = EXPLICIT_LITTLE,
    *,
    sop_class_uid: str | None = None,
    sop_instance_uid: str | None = None,
    meta_syntax: str | None = None,
) -> bytes:
    """A Part 10 file; what is given replaces the truth in its file meta."""
    body = encode(data_set, transfer_syntax_uid)
    head = write_meta(
        sop_class_uid=data_set.SOPClassUID if sop_class_uid is None else sop_class_uid,
        sop_instance_uid=data_set.SOPInstanceUID if sop_instance_uid is None else sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid if meta_syntax is None else meta_syntax,
        calling_ae_title="",
        checksum=Checksum(body).digest(),
    )
    return head + body
