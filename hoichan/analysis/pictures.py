"""Which objects of a study hold a picture that a model may judge: by their SOP class, then by their modality.

A modality names the machine, not the content: what a plate reader keeps beside its films is of modality CR
too, and so is the page that it prints. The classes are those of PS3.4 table B.5-1, retired ones too.
"""

from __future__ import annotations

from dataclasses import replace

from hoichan.types import Instance, Series, Study

# SR, SEG, KO, PR, ... carry no image to analyse; they are passed over without a word (PS3.3 C.7.3.1.1.1).
NOT_IMAGES = frozenset(
    {"SR", "KO", "PR", "SEG", "DOC", "RTSTRUCT", "RTPLAN", "RWV", "REG", "FID", "PLAN", "AU", "ECG"}
)
_STANDARD = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_DELIVERY = "1.2.840.10008.5.1.4.34."  # instructions for radiotherapy
# The component behind the root: stand-alone tables and curves, waveforms, presentation states, raw data and
# what is drawn over images (registrations, segmentations, surfaces), measurements, reports, documents,
# protocols, radiotherapy.
_WITHOUT = frozenset(map(str, (8, 9, 10, 11, 66, 67, 68, 78, 79, 80, 88, 90, 91, 104, 129, 131, 200, 481)))
_BUT_WITH = frozenset({"481.1", "481.2", "481.23", "481.24"})  # radiotherapy images and doses
_BUT_WITHOUT = frozenset({"4.2", "77.1.5.3"})  # spectra; stereometric relationships


def holds_picture(sop_class_uid: str) -> bool:
    """Whether objects of this class are pictures. Those of a private class may be anything: they are none."""
    if sop_class_uid.startswith(_DELIVERY) or not sop_class_uid.startswith(_STANDARD):
        return False
    if not sop_class_uid.startswith(_STORAGE):
        return True
    end = sop_class_uid.removeprefix(_STORAGE)
    return end in _BUT_WITH or (end.partition(".")[0] not in _WITHOUT and end not in _BUT_WITHOUT)


def pictures_of(series: Series) -> tuple[Instance, ...]:
    """The images of a series, in its order."""
    if series.modality.upper() in NOT_IMAGES:
        return ()
    return tuple(one for one in series.instances if holds_picture(one.sop_class_uid))


def with_pictures(study: Study) -> list[Series]:
    """The series of a study that hold images, without what is none."""
    held = ((series, pictures_of(series)) for series in study.series)
    return [replace(series, instances=found) for series, found in held if found]
