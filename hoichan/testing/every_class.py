"""A small object of every storage SOP class (PS3.4 table B.5-1), retired ones too.

Nobody in them is real. They are made for a receiver to keep, not to be exemplary: not every type 1 attribute
of every module stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydicom.dataset import Dataset

from hoichan.testing.datasets import film
from hoichan.testing.kinds import (
    assessment,
    contours,
    deformation,
    display,
    document,
    dose,
    eye,
    fiducials,
    floats,
    key_objects,
    picture,
    plan,
    presentation,
    protocol,
    radiation,
    raw,
    real_world,
    registration,
    report,
    segments,
    slide,
    slide_marks,
    spectra,
    stereo,
    surface,
    tracks,
    treatment,
    video,
    waveform,
)

ROOT = "1.2.840.10008.5.1.4.1.1."


def object_of(sop_class_uid: str) -> Dataset:
    """One object, in a study of its own; one of an unknown class has its header only."""
    made = film(study=sop_class_uid, pixels=None)
    made.SOPClassUID = sop_class_uid
    del made.ViewPosition
    modality, make = _MAKERS.get(sop_class_uid.removeprefix(ROOT), ("OT", lambda _: None))
    made.Modality = modality
    make(made)
    return made


_Maker = tuple[str, Callable[[Dataset], None]]  # Modality, and what makes the kind


def _all(modality: str, make: Callable[[Dataset], None], suffixes: str) -> Mapping[str, _Maker]:
    return dict.fromkeys(suffixes.split(), (modality, make))


_FRAMES = picture(frames=2, groups=True)  # an enhanced image
_MAKERS: Mapping[str, _Maker] = {  # SOP class without its root
    **_all("CR", picture(), "1"),
    **_all("DX", picture(PresentationIntentType="FOR PRESENTATION"), "1.1"),
    **_all("DX", picture(PresentationIntentType="FOR PROCESSING"), "1.1.1"),
    **_all("MG", picture(PresentationIntentType="FOR PRESENTATION"), "1.2 13.1.4"),
    **_all("MG", picture(PresentationIntentType="FOR PROCESSING"), "1.2.1 13.1.5"),
    **_all("IO", picture(), "1.3 1.3.1"),
    **_all("CT", picture(), "2"),
    **_all("CT", _FRAMES, "2.1 2.2 13.1.2"),
    **_all("MR", picture(), "4"),
    **_all("MR", _FRAMES, "4.1 4.4"),
    **_all("MR", picture(frames=2, bits=8, colour=True, groups=True), "4.3"),
    **_all("MR", spectra, "4.2"),
    **_all("MR", floats, "30"),
    **_all("US", picture(bits=8, colour=True), "6 6.1"),
    **_all("US", picture(bits=8, colour=True, frames=3), "3 3.1 6.3"),
    **_all("US", _FRAMES, "6.2"),
    **_all("OT", picture(bits=8), "7 77.1"),
    **_all("OT", picture(bits=1, frames=2), "7.1"),
    **_all("OT", picture(bits=8, frames=2), "7.2 77.2"),
    **_all("OT", picture(frames=2), "7.3"),
    **_all("OT", picture(bits=8, frames=2, colour=True), "7.4"),
    **_all("XA", picture(bits=8, frames=2), "12.1 12.3"),
    **_all("XA", _FRAMES, "12.1.1 13.1.1"),
    **_all("RF", picture(bits=8, frames=2), "12.2"),
    **_all("RF", _FRAMES, "12.2.1"),
    **_all("MG", _FRAMES, "13.1.3"),
    **_all("IVOCT", _FRAMES, "14.1 14.2"),
    **_all("NM", picture(frames=2), "5 20"),
    **_all("PT", picture(), "128"),
    **_all("PT", _FRAMES, "128.1 130"),
    **_all("ES", picture(bits=8, colour=True), "77.1.1"),
    **_all("GM", picture(bits=8, colour=True), "77.1.2"),
    **_all("SM", picture(bits=8, colour=True), "77.1.3"),
    **_all("XC", picture(bits=8, colour=True), "77.1.4"),
    **_all("ES", video, "77.1.1.1"),
    **_all("GM", video, "77.1.2.1"),
    **_all("XC", video, "77.1.4.1"),
    **_all("OP", picture(bits=8, colour=True), "77.1.5.1 77.1.5.5 77.1.5.6"),
    **_all("OP", picture(), "77.1.5.2"),
    **_all("OPT", _FRAMES, "77.1.5.4"),
    **_all("OPTENF", picture(bits=8), "77.1.5.7"),
    **_all("OPTBSV", _FRAMES, "77.1.5.8"),
    **_all("OPM", picture(bits=8), "81.1 82.1"),
    **_all("SM", slide, "77.1.6"),
    **_all("DMS", picture(bits=8, colour=True), "77.1.7"),
    **_all("CFM", slide, "77.1.8 77.1.9"),
    **_all("RTIMAGE", picture(RTImageLabel="PORTAL"), "481.1"),
    **_all("RTIMAGE", _FRAMES, "481.23 481.24"),
    **_all("RTDOSE", dose, "481.2"),
    **_all("SEG", segments, "66.4 66.7 66.8"),
    **_all("ECG", waveform, "9.1.1 9.1.2 9.1.3 9.1.4 9.1"),
    **_all("HD", waveform, "9.2.1 9.5.1"),
    **_all("EPS", waveform, "9.3.1"),
    **_all("AU", waveform, "9.4.1 9.4.2"),
    **_all("RESP", waveform, "9.6.1 9.6.2"),
    **_all("EEG", waveform, "9.7.1 9.7.4"),
    **_all("EMG", waveform, "9.7.2"),
    **_all("EOG", waveform, "9.7.3"),
    **_all("POS", waveform, "9.8.1"),
    **_all(
        "PR",
        presentation,
        "9.100.1 9.100.2 11.1 11.2 11.3 11.4 11.5 11.6 11.7 11.8 11.9 11.10 11.11 11.12",
    ),
    **_all("PR", display, "131"),
    **_all(
        "SR",
        report,
        "79.1 78.6 88.1 88.2 88.3 88.4 88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.65 88.67 88.68 88.69"
        " 88.70 88.71 88.72 88.73 88.74 88.75 88.76 88.77",
    ),
    **_all("KO", key_objects, "88.59"),
    **_all("DOC", document("application/pdf"), "104.1"),
    **_all("DOC", document("text/XML"), "104.2"),
    **_all("M3D", document("model/stl"), "104.3"),
    **_all("M3D", document("model/obj"), "104.4"),
    **_all("M3D", document("model/mtl"), "104.5"),
    **_all("RTPLAN", plan, "481.5 481.8"),
    **_all("RTSTRUCT", contours, "481.3"),
    **_all("RTRECORD", treatment, "481.4 481.6 481.7 481.9"),
    **_all(
        "RTRAD",
        radiation,
        "481.10 481.11 481.12 481.13 481.14 481.15 481.16 481.17 481.18 481.19 481.20 481.21 481.22 481.25",
    ),
    "1.2.840.10008.5.1.4.34.1": ("PLAN", plan),
    "1.2.840.10008.5.1.4.34.7": ("PLAN", plan),
    "1.2.840.10008.5.1.4.34.10": ("PLAN", plan),
    "1.2.840.10008.5.1.1.29": ("HC", picture(bits=8)),
    "1.2.840.10008.5.1.1.30": ("HC", picture(bits=8, colour=True)),
    **_all("REG", registration, "66.1"),
    **_all("REG", deformation, "66.3"),
    **_all("FID", fiducials, "66.2"),
    **_all("SEG", surface, "66.5"),
    **_all("MR", tracks, "66.6"),
    **_all("OSS", surface, "68.1 68.2"),
    **_all("RWV", real_world, "67"),
    **_all("CR", raw, "66"),  # what a plate reader keeps beside its films
    **_all("LEN", eye, "78.1"),
    **_all("AR", eye, "78.2"),
    **_all("KER", eye, "78.3"),
    **_all("SRF", eye, "78.4"),
    **_all("VA", eye, "78.5"),
    **_all("OAM", eye, "78.7"),
    **_all("IOL", eye, "78.8"),
    **_all("OPV", eye, "80.1"),
    **_all("OP", stereo, "77.1.5.3"),
    **_all("ASMT", assessment, "90.1"),
    **_all("ANN", slide_marks, "91.1"),
    **_all("CTPROTOCOL", protocol, "200.2"),
    **_all("XAPROTOCOL", protocol, "200.8"),
    **_all("OT", raw, "8 9 10 11 129"),  # stand-alone overlays, curves and tables, long retired
}
KNOWN = frozenset(uid if uid.startswith("1.2.840.") else ROOT + uid for uid in _MAKERS)
