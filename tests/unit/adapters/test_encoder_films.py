"""A study of two films: a picture and a presentation state of each, and a note that names all of them."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.encoding.images import MOST_PICTURES, picture_uid, pictures
from hoichan.settings import Settings
from hoichan.testing import (
    FolderOfFilms,
    a_film,
    a_finding,
    a_refused_report,
    a_report,
    a_result,
    a_study,
    as_bytes,
)
from hoichan.types import DocumentKind, RefusalCode, ReportObject, SOPInstanceUID
from hoichan.uids import derived_uid

EVERYTHING = Settings.model_validate(
    {
        "destinations": [
            {
                "name": "pacs",
                "kind": "dicom",
                "host": "127.0.0.1",
                "port": 104,
                "ae_title": "PACS",
                "send": ["sc", "sr", "gsps", "kos", "pdf"],
            }
        ]
    }
)


def two_films(folder):
    """A study of two films with a finding on each; the report's key image is the second one."""
    first, second = a_film("first"), a_film("second", rows=400, columns=400)
    second.StudyInstanceUID, second.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
    second.InstanceNumber = 2
    for name, film in (("first.dcm", first), ("second.dcm", second)):
        (folder / name).write_bytes(as_bytes(film))
    study = a_study(first, path="first.dcm")
    more = a_study(second, path="second.dcm")
    series = replace(study.series[0], instances=(*study.instances, *more.instances))
    findings = (
        a_finding(more, "pneumothorax", 0.9, box=(0.1, 0.1, 0.4, 0.4)),
        a_finding(study, "cardiomegaly", 0.8, box=(0.3, 0.4, 0.7, 0.8)),
        a_finding(study, "nodule", 0.1),
    )
    whole = replace(study, series=(series,))
    report = a_report(whole, findings=findings)
    results = (a_result(study, {"cardiomegaly": 1.0}), a_result(more, {"pneumothorax": 1.0}))
    report = replace(report, results=results)
    assert report.positives[0].sop_instance_uid == second.SOPInstanceUID
    return whole, report, first, second


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    study, report, first, second = two_films(folder)
    encoder = DocumentEncoder(FolderOfFilms(folder), EVERYTHING)
    return study, report, first, second, encoder.encode(study, report)


def objects(documents, kind):
    return [dcmread(BytesIO(one.content)) for one in documents if one.kind is kind]


def test_there_is_a_picture_of_each_film_in_one_series(made):
    _, report, first, second, documents = made
    drawn = objects(documents, DocumentKind.SC)
    sources = [one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in drawn]
    assert sources == [second.SOPInstanceUID, first.SOPInstanceUID]  # that of the key image is the first
    assert [one.InstanceNumber for one in drawn] == [2, 1]
    assert [one.SOPInstanceUID for one in drawn] == [
        picture_uid(report, second.SOPInstanceUID),
        picture_uid(report),
    ]
    assert len({one.SeriesInstanceUID for one in drawn}) == 1
    assert [one.part for one in documents if one.kind is DocumentKind.SC] == [1, 2]
    assert drawn[0].PixelData != drawn[1].PixelData
    assert max(max(one.Rows, one.Columns) for one in drawn) <= 1024


def test_each_finding_of_the_sr_points_to_the_picture_of_its_film(made):
    _, report, first, second, documents = made
    (sr,) = objects(documents, DocumentKind.SR)
    found = {}
    for group in groups(sr):
        items = list(group.ContentSequence)
        picture = next(one for one in items if named(one) == "130401")
        region = next(one for one in items if named(one) == "111030")
        film = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        found[film] = picture.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert found == {
        first.SOPInstanceUID: picture_uid(report),
        second.SOPInstanceUID: picture_uid(report, second.SOPInstanceUID),
    }
    listed = {
        reference.ReferencedSOPInstanceUID
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert set(found) | set(found.values()) == listed


def test_each_film_has_its_marks(made):
    _, _, first, second, documents = made
    marks = objects(documents, DocumentKind.GSPS)
    over = [one.ReferencedSeriesSequence[0].ReferencedImageSequence[0] for one in marks]
    assert [one.ReferencedSOPInstanceUID for one in over] == [first.SOPInstanceUID, second.SOPInstanceUID]
    assert [len(one.GraphicAnnotationSequence[0].GraphicObjectSequence) for one in marks] == [1, 1]
    assert len({one.SOPInstanceUID for one in marks}) == 2


def test_the_bundle_and_the_page_hold_the_picture_of_the_key_image(made):
    _, report, _, second, documents = made
    key = picture_uid(report, second.SOPInstanceUID)
    (bundle,) = [one for one in documents if one.kind is DocumentKind.FHIR]
    assert f"urn:oid:{key}" in bundle.content.decode()
    (page,) = objects(documents, DocumentKind.PDF)
    assert page.SourceInstanceSequence[0].ReferencedSOPInstanceUID == key


def test_of_very_many_films_the_key_image_is_one_of_those_with_a_picture(made):
    study, report, _, _, _ = made
    instance = study.instances[0]
    more = [replace(instance, sop_instance_uid=SOPInstanceUID(f"2.25.{n}")) for n in range(1, 101)]
    series = replace(study.series[0], instances=tuple(more))
    last = replace(report.positives[0], sop_instance_uid=more[-1].sop_instance_uid)
    results = tuple(replace(report.results[0], sop_instance_uid=one.sop_instance_uid) for one in more)
    many = replace(study, series=(series,))
    of_many = pictures(many, replace(report, findings=(last,), results=results))
    assert len(of_many) == MOST_PICTURES == len(set(of_many.values()))
    assert more[-1].sop_instance_uid in of_many and more[0].sop_instance_uid in of_many


def test_the_page_shows_each_film(made):
    (page,) = objects(made[-1], DocumentKind.PDF)
    assert bytes(page.EncapsulatedDocument).count(b"/Subtype /Image") == 2


def test_a_film_that_no_network_read_has_no_picture(tmp_path):
    study, report, first, _ = two_films(tmp_path)
    of_first = tuple(one for one in report.findings if one.sop_instance_uid == first.SOPInstanceUID)
    report = replace(report, findings=of_first, results=report.results[:1])
    documents = DocumentEncoder(FolderOfFilms(tmp_path), EVERYTHING).encode(study, report)
    (picture,) = objects(documents, DocumentKind.SC)
    assert picture.SOPInstanceUID == picture_uid(report)


def test_a_note_names_everything_that_was_written_of_the_former_report(made, tmp_path):
    study, report, _, _, documents = made
    (tmp_path / "first.dcm").write_bytes(as_bytes(a_film("first")))
    outline = SOPInstanceUID(derived_uid("outline"))
    written = [
        ReportObject(kind=one.kind, sop_class_uid=one.sop_class_uid, sop_instance_uid=one.uid)
        for one in documents
        if one.sop_class_uid is not None
    ]
    seg = "1.2.840.10008.5.1.4.1.1.66.4"
    written.append(ReportObject(kind=DocumentKind.SEG, sop_class_uid=seg, sop_instance_uid=outline))
    asked = []

    def former(uid):
        asked.append(uid)
        return written

    successor = replace(
        a_refused_report(study, RefusalCode.REJECTED_IMAGE), predecessor=SOPInstanceUID(report.report_uid)
    )
    encoder = DocumentEncoder(FolderOfFilms(tmp_path), EVERYTHING, former)
    (note,) = objects(encoder.encode(study, successor), DocumentKind.KOS)
    assert asked == [report.report_uid]
    named_by_note = {
        (series.SeriesInstanceUID, reference.ReferencedSOPInstanceUID)
        for listed in note.CurrentRequestedProcedureEvidenceSequence
        for series in listed.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    real = {
        (one.SeriesInstanceUID, one.SOPInstanceUID)
        for one in (dcmread(BytesIO(done.content)) for done in documents if done.sop_class_uid)
    }
    assert real < named_by_note
    assert {uid for _, uid in named_by_note - real} == {outline}


def groups(sr):
    container = next(one for one in sr.ContentSequence if named(one) == "126010")
    return [one for one in container.ContentSequence if named(one) == "125007"]


def named(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
