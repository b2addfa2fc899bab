"""The note that takes a former result back, read by our own reader of such notes."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread

from hoichan.encoding.kos import encode_kos
from hoichan.encoding.source import document_context
from hoichan.encoding.sr import COMPREHENSIVE_3D_SR
from hoichan.intake.dataset import read_header
from hoichan.intake.rejections import KEY_OBJECT_SELECTION, rejection_of
from hoichan.settings import Site
from hoichan.testing import a_film, a_refused_report, a_report, a_study
from hoichan.types import RefusalCode
from hoichan.uids import derived_uid

FORMER = "2.25.99"


def context(report, study, film):
    return document_context(study, report, source=film, site=Site(), software_version="1")


@pytest.fixture
def film():
    return a_film()


@pytest.fixture
def study(film):
    return a_study(film)


def test_the_former_sr_and_picture_are_taken_back(film, study):
    report = replace(a_refused_report(study, RefusalCode.REJECTED_IMAGE), predecessor=FORMER)
    stream = BytesIO()
    encode_kos(context(report, study, film)).save_as(stream, enforce_file_format=True)
    note = dcmread(BytesIO(stream.getvalue()))
    assert note.SOPClassUID == KEY_OBJECT_SELECTION
    kinds = [(item.ValueType, item.RelationshipType) for item in note.ContentSequence]
    assert kinds[0] == ("CODE", "HAS CONCEPT MOD") and kinds[-2:] == [
        ("COMPOSITE", "CONTAINS"),
        ("IMAGE", "CONTAINS"),
    ]
    stream = BytesIO()
    note.save_as(stream, implicit_vr=False, little_endian=True, enforce_file_format=False)
    data_set = stream.getvalue()
    start = data_set.index(b"\x08\x00\x05\x00CS")
    rejection = rejection_of(read_header(data_set[start:], "1.2.840.10008.1.2.1"))
    assert rejection.withdraws
    assert rejection.instances == {study.study_instance_uid: {FORMER, derived_uid(FORMER, "sc")}}
    (listed,) = note.CurrentRequestedProcedureEvidenceSequence
    classes = {
        reference.ReferencedSOPClassUID
        for series in listed.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert COMPREHENSIVE_3D_SR in classes


def test_what_only_continues_takes_nothing_back(film, study):
    assert encode_kos(context(replace(a_report(study), predecessor=FORMER), study, film)) is None
    assert encode_kos(context(a_refused_report(study, RefusalCode.REJECTED_IMAGE), study, film)) is None
