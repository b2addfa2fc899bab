"""A report in an older SOP class is, byte for byte, what building it anew gives."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest

from hoichan.encoding.source import document_context
from hoichan.encoding.sr import COMPREHENSIVE_SR, ENHANCED_SR, encode_sr
from hoichan.encoding.sr_forms import older_form
from hoichan.reporting.signed import signed_report
from hoichan.settings import Site
from hoichan.testing import a_film, a_refused_report, a_report, a_study
from hoichan.testing.reviews import a_review

SITE = Site(name="BV Đa khoa Kiểm Thử", facility_code="79001")


def as_file(data_set):
    stream = BytesIO()
    data_set.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture(params=["findings", "successor", "not analysed", "signed", "without a header"])
def context(request):
    film = a_film()
    study = a_study(film)
    report = a_refused_report(study) if request.param == "not analysed" else a_report(study)
    if request.param == "signed":
        report = signed_report(report, a_review(report, study), study, time="08:32 20/11/2026")
    if request.param == "successor":
        report = replace(report, predecessor="2.25.9")
    source = None if request.param == "without a header" else film
    return document_context(study, report, source=source, site=SITE, software_version="9.9")


@pytest.mark.filterwarnings(
    "ignore:The string:UserWarning"
)  # as the encoder does: names are kept as they are
@pytest.mark.parametrize("sop_class_uid", [COMPREHENSIVE_SR, ENHANCED_SR])
def test_the_bytes_are_those_of_a_report_that_is_built_anew(context, sop_class_uid):
    made = as_file(older_form(as_file(encode_sr(context)), sop_class_uid))
    assert made == as_file(encode_sr(context, sop_class_uid))
