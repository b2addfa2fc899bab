"""The identity of a report's pictures, so that the SR and the bundle can point to them without building them.

There is one of each film that a network for films has read, in the order of the study; of anything else (a
volume, what was not analysed) one of the key image.
"""

from __future__ import annotations

from collections.abc import Mapping

from hoichan.encoding.source import DocumentContext, KeyImage, key_image
from hoichan.reporting.signed import is_added
from hoichan.types import Report, Study
from hoichan.uids import derived_uid

SC_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
MOST_PICTURES = 64  # of one report, 3 MB each while they are drawn; no examination has so many films


def picture_uid(report: Report, film: str = "") -> str:
    """SOP Instance UID of the first picture, or of another film's.

    A signed report points to the pictures of the machine's report that it judges.
    """
    return derived_uid(_drawn_for(report), "sc", *([film] if film else []))


def picture_series_uid(report: Report) -> str:
    """The series of the pictures."""
    return derived_uid(_drawn_for(report), "sc-series")


def drawn_films(study: Study, report: Report) -> tuple[KeyImage, ...]:
    """The films of which there is a picture, in the order of the study; () where nothing can be shown."""
    wanted = {result.sop_instance_uid for result in report.results}
    wanted |= {finding.sop_instance_uid for finding in report.findings if not is_added(finding)}
    films = [
        KeyImage(series=series, instance=instance)
        for series in study.series
        for instance in series.instances
        if instance.sop_instance_uid in wanted
    ]
    key = key_image(study, report)
    drawn = films[:MOST_PICTURES]
    if key is not None and key not in drawn and (key in films or not films):
        drawn = [*drawn[: MOST_PICTURES - 1], key]
    return tuple(drawn)


def pictures(study: Study, report: Report) -> Mapping[str, str]:
    """SOP Instance UID of each film's picture, by the film's; {"": uid} where nothing can be shown."""
    films = drawn_films(study, report)
    if not films:
        return {"": picture_uid(report)}
    first, *others = (film.instance.sop_instance_uid for film in films)
    return {first: picture_uid(report), **{film: picture_uid(report, film) for film in others}}


def key_picture_uid(context: DocumentContext) -> str:
    """Of the picture that stands for the report: that of its key image."""
    key = context.key.instance.sop_instance_uid if context.key is not None else ""
    return pictures(context.study, context.report).get(key, picture_uid(context.report))


def _drawn_for(report: Report) -> str:
    return report.review.judged if report.review is not None else report.report_uid


def segmentation_series_uid(segmentation_uid: str) -> str:
    """The series of a segmentation; each has one of its own."""
    return derived_uid(segmentation_uid, "series")


def segment_tracking_uid(segmentation_uid: str, segment_number: int) -> str:
    """Tracking UID (0062,0021) of a segment, the same in the SR that measures it."""
    return derived_uid(segmentation_uid, "segment", segment_number)
