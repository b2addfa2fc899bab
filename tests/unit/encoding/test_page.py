"""The page on paper, and the DICOM object that carries it."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from reportlab.platypus import Paragraph

from hoichan.encoding.captions import caption
from hoichan.encoding.images import picture_uid
from hoichan.encoding.overlay import jpeg
from hoichan.encoding.page import WORDS, encode_page, patient_table
from hoichan.encoding.page_signed import signature_lines
from hoichan.encoding.pdf import ENCAPSULATED_PDF, encode_pdf
from hoichan.encoding.source import document_context
from hoichan.privacy import Phi
from hoichan.reporting.signed import signed_report
from hoichan.settings import Site
from hoichan.testing import a_film, a_refused_report, a_report, a_study
from hoichan.testing.reviews import a_review

PICTURE = jpeg(np.zeros((120, 160, 3), dtype=np.uint8))


def page(make=a_report, language="vi", name=None):
    film = a_film()
    study = a_study(film)
    if name is not None:
        study = replace(study, patient=replace(study.patient, patient_name=Phi(name)))
    report = make(study)
    site = Site(name="BV <Thử> & Nghiệm", language=language)
    context = document_context(study, report, source=film, site=site, software_version="1")
    words = caption(report, sop_instance_uid=None, rows=1, columns=1, language=language)
    return context, encode_page(context, words, PICTURE)


@pytest.mark.parametrize("make", [a_report, a_refused_report])
@pytest.mark.parametrize("language", ["vi", "en"])
def test_the_same_report_gives_the_same_pdf(make, language):
    first, second = page(make, language)[1], page(make, language)[1]
    assert first == second
    assert first.startswith(b"%PDF-") and first.rstrip().endswith(b"%%EOF")


def test_its_letters_come_with_it():
    _, content = page()
    assert content.count(b"/FontFile2") == 2
    assert b"/Helvetica" not in content.replace(b"/BaseFont /Helvetica /Encoding /WinAnsiEncoding", b"")


@pytest.mark.parametrize("name", ["<b>A</b>&^<img src=x>", "X" * 400, "", "\u0000^\ufffe", "=Kanji=kana"])
def test_no_name_breaks_the_page(name):
    assert page(name=name)[1].startswith(b"%PDF-")


def test_it_travels_as_a_dicom_object_of_the_study():
    context, content = page()
    stream = BytesIO()
    encode_pdf(context, content).save_as(stream, enforce_file_format=True)
    document = dcmread(BytesIO(stream.getvalue()))
    assert document.SOPClassUID == ENCAPSULATED_PDF
    assert document.SOPInstanceUID == context.uid("pdf")
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == content
    assert len(document.EncapsulatedDocument) % 2 == 0
    assert (document.Modality, document.SeriesNumber) == ("DOC", 9007)
    assert document.SeriesDescription == "AI report (unverified)"
    assert str(document.PatientName) == "Nguyễn^Thị Hồng^Ổn"
    assert document.DocumentTitle == "Kết quả AI (chưa xác nhận)"
    assert document.SourceInstanceSequence[0].ReferencedSOPInstanceUID == picture_uid(context.report)


def test_times_on_paper_are_the_sites_own():
    film = a_film()
    film.TimezoneOffsetFromUTC = "-0400"  # of the modality: DICOM objects have it, people do not
    study = a_study(film)
    review = a_review(a_report(study), study)
    report = signed_report(a_report(study), review, study, time="08:32")
    context = document_context(study, report, source=film, site=Site(name="BV"), software_version="1")
    (*_, made) = [cell.text for row in patient_table(context, WORDS["vi"])._cellvalues for cell in row]
    assert made == f"{report.created_at.astimezone(Site(name='BV').zone):%d/%m/%Y %H:%M}"
    local = review.signed_at.astimezone(Site(name="BV").zone)
    told = [one.text for one in signature_lines(context, review) if isinstance(one, Paragraph)]
    assert any(f"{local:%H:%M:%S %d/%m/%Y}" in text for text in told)
