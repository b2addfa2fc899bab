"""The same structured report in the SOP classes of older receivers, made from the newest form's bytes.

The tree is the same in each (`sr.FORMS`), so it is built once: building is a third of all that a film costs.
"""

from __future__ import annotations

from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import UID

from hoichan.encoding.sr import sr_uid


def older_form(newest: bytes, sop_class_uid: str) -> Dataset:
    """The report in another class of `sr.FORMS`: what `encode_sr` gives for it, ready to be written.

    `newest`: the report as a file of Comprehensive 3D SR, whose SOP Instance UID is the report's own.
    """
    document = dcmread(BytesIO(newest))
    document.SOPClassUID = sop_class_uid
    document.SOPInstanceUID = sr_uid(str(document.SOPInstanceUID), sop_class_uid)
    document.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    document.file_meta.MediaStorageSOPInstanceUID = UID(document.SOPInstanceUID)
    for study in document.get("PredecessorDocumentsSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for former in series.ReferencedSOPSequence:
                former.ReferencedSOPClassUID = sop_class_uid
                former.ReferencedSOPInstanceUID = sr_uid(str(former.ReferencedSOPInstanceUID), sop_class_uid)
    return document
