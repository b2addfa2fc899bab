"""The identity of a report's picture, so that the SR and the bundle can point to it without building it."""

from __future__ import annotations

from hoichan.types import Report
from hoichan.uids import derived_uid

SC_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"


def picture_uid(report: Report) -> str:
    """SOP Instance UID of the picture: of the machine's report that a signed one judges."""
    return derived_uid(_drawn_for(report), "sc")


def picture_series_uid(report: Report) -> str:
    """The series of the picture."""
    return derived_uid(_drawn_for(report), "sc-series")


def _drawn_for(report: Report) -> str:
    return report.review.judged if report.review is not None else report.report_uid


def segmentation_series_uid(segmentation_uid: str) -> str:
    """The series of a segmentation; each has one of its own."""
    return derived_uid(segmentation_uid, "series")


def segment_tracking_uid(segmentation_uid: str, segment_number: int) -> str:
    """Tracking UID (0062,0021) of a segment, the same in the SR that measures it."""
    return derived_uid(segmentation_uid, "segment", segment_number)
