"""The structured report, read back as a viewer would."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from io import BytesIO

import highdicom as hd
import pytest
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset, dcmread

from hoichan import codes
from hoichan.encoding.images import picture_uid
from hoichan.encoding.source import document_context
from hoichan.encoding.sr import (
    COMPREHENSIVE_3D_SR,
    COMPREHENSIVE_SR,
    ENHANCED_SR,
    encode_sr,
    series_uid,
    sr_uid,
)
from hoichan.settings import Site
from hoichan.testing import a_film, a_finding, a_manifest, a_refused_report, a_report, a_study
from hoichan.types import Evidence, GraphicType, Outcome, Presence, Refusal, RefusalCode
from hoichan.uids import device_uid

SITE = Site(name="BV Đa khoa Kiểm Thử", facility_code="79001")


def written(report, study, source=None) -> Dataset:
    """Encoded, written and read again."""
    context = document_context(study, report, source=source, site=SITE, software_version="9.9")
    stream = BytesIO()
    encode_sr(context).save_as(stream, enforce_file_format=True)
    return dcmread(BytesIO(stream.getvalue()))


@pytest.fixture
def film():
    return a_film()


@pytest.fixture
def study(film):
    return a_study(film)


def walk(item: Dataset):
    yield item
    for child in item.get("ContentSequence", ()):
        yield from walk(child)


def named(document: Dataset, code_value: str) -> list[Dataset]:
    return [
        item
        for item in walk(document)
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == code_value
    ]


def test_nobody_has_read_it(film, study):
    sr = written(a_report(study), study, film)
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert "VerifyingObserverSequence" not in sr
    assert (sr.SOPClassUID, sr.Modality, sr.SeriesNumber) == (COMPREHENSIVE_3D_SR, "SR", 9001)
    assert sr.SpecificCharacterSet == "ISO_IR 192"


def test_it_belongs_to_the_study_and_the_patient(film, study):
    sr = written(a_report(study), study, film)
    for keyword in (
        "StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber",
        "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName", "TimezoneOffsetFromUTC",
        "StudyDescription",
    ):  # fmt: skip
        assert sr[keyword].value == film[keyword].value, keyword
    assert sr.InstitutionName == SITE.name
    assert sr.ReferencedRequestSequence[0].AccessionNumber == film.AccessionNumber


def test_vietnamese_reads_back_unchanged(film, study):
    report = a_report(study)
    sr = written(report, study, film)
    comments = [str(item.TextValue) for item in named(sr, "121106")]
    assert comments == [codes.BANNER["vi"], report.conclusion["vi"], report.disclaimer["vi"]]
    assert str(sr.PatientName) == "Nguyễn^Thị Hồng^Ổn"


def test_same_report_same_bytes(film, study):
    def content():
        context = document_context(study, a_report(study), source=film, site=SITE, software_version="9.9")
        stream = BytesIO()
        encode_sr(context).save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    assert content() == content()


def test_times_are_in_the_zone_of_the_source(film, study):
    film.TimezoneOffsetFromUTC = "-0400"
    sr = written(a_report(study), study, film)
    assert (sr.ContentDate, sr.ContentTime) == ("20261119", "211509.250000")
    assert sr.TimezoneOffsetFromUTC == "-0400"
    del film.TimezoneOffsetFromUTC
    sr = written(a_report(study), study, film)
    assert (sr.ContentDate, sr.ContentTime, sr.TimezoneOffsetFromUTC) == (
        "20261120",
        "081509.250000",
        "+0700",
    )


def test_positives_are_groups_with_code_site_score_and_algorithm(film, study):
    report = a_report(study)
    groups = hd.sr.srread(_stream(report, study, film)).content.get_planar_roi_measurement_groups()
    assert [group.finding_type.value for group in groups] == ["60046008", "8186001"]
    effusion = groups[0]
    assert effusion.finding_sites[0].topographical_modifier is None
    assert effusion.tracking_identifier == "F-pleural_effusion-1"
    (measurement,) = effusion.get_measurements(CodedConcept("111012", "DCM", "Certainty of Finding"))
    assert (measurement.value, measurement.unit.value) == (91.0, "%")
    (priority,) = effusion.get_qualitative_evaluations(CodedConcept("260870009", "SCT", "Priority"))
    assert priority.value.value == "RID49481"


def _stream(report, study, source):
    context = document_context(study, report, source=source, site=SITE, software_version="9.9")
    stream = BytesIO()
    encode_sr(context).save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return stream


def test_the_box_stands_on_the_stored_pixels_and_is_closed(film, study):
    groups = hd.sr.srread(_stream(a_report(study), study, film)).content.get_planar_roi_measurement_groups()
    points = groups[0].roi.value
    assert points.shape == (5, 2)
    assert points[0].tolist() == points[-1].tolist()
    expected = [0.08 * film.Columns, 0.62 * film.Rows]
    assert points[0] == pytest.approx(expected, abs=0.01)


def test_a_box_over_the_edge_is_clipped_and_an_open_one_closed(film, study):
    evidence = Evidence(
        referenced_sop_instance_uid=study.instances[0].sop_instance_uid,
        graphic_type=GraphicType.POLYLINE,
        graphic_data=(-5.0, 10.0, 9999.0, 10.0, 9999.0, 50.0, -5.0, 50.0),
        method="detector",
    )
    finding = a_finding(study, "edema", 0.9)
    finding = type(finding)(**{**_fields(finding), "evidence": (evidence,)})
    groups = hd.sr.srread(
        _stream(a_report(study, findings=[finding]), study, film)
    ).content.get_planar_roi_measurement_groups()
    points = groups[0].roi.value
    assert points.shape == (5, 2)
    assert points[:, 0].min() == 0
    assert points[:, 0].max() == film.Columns


@pytest.mark.parametrize(
    ("graphic_type", "data", "purpose"),
    [
        (GraphicType.POINT, (10.0, 20.0), "111010"),
        (GraphicType.ELLIPSE, (10.0, 20.0, 30.0, 20.0, 20.0, 15.0, 20.0, 25.0), "75958009"),
    ],
)
def test_points_and_ellipses_are_regions_too(film, study, graphic_type, data, purpose):
    evidence = Evidence(
        referenced_sop_instance_uid=study.instances[0].sop_instance_uid,
        graphic_type=graphic_type,
        graphic_data=data,
        method="detector",
    )
    finding = a_finding(study, "nodule", 0.9)
    finding = type(finding)(**{**_fields(finding), "evidence": (evidence,)})
    sr = written(a_report(study, findings=[finding]), study, film)
    (region,) = named(sr, "111030")
    assert region.GraphicType == graphic_type.value
    assert named(sr, "130400")[0].ConceptCodeSequence[0].CodeValue == purpose


def _fields(finding):
    return {name: getattr(finding, name) for name in finding.__slots__}


def test_without_geometry_the_group_points_to_the_image(film, study):
    content = hd.sr.srread(_stream(a_report(study), study, film)).content
    (group,) = content.get_image_measurement_groups()
    assert group.finding_type.value == "95436008"
    assert group.source_images[0].referenced_sop_instance_uid == film.SOPInstanceUID


def test_negatives_are_never_in_a_group(film, study):
    report = a_report(study)
    sr = written(report, study, film)
    measured = {item.ConceptCodeSequence[0].CodeValue for item in named(sr, "121071")}
    for finding in report.findings:
        code = codes.FINDINGS[finding.key].code.code_value
        present = finding.presence is Presence.PRESENT
        assert (code in measured) is present
        if not present:
            (item,) = named(sr, code)
            assert item.ConceptCodeSequence[0].CodeValue == "272519000"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_outcome_is_coded_and_flagged(film, study, outcome):
    failed = Refusal(code=RefusalCode.MODEL_FAILED, algorithm_name="m", series_instance_uid=None)
    refusals = [failed] if outcome.value.startswith("partial") else []
    score = 0.1 if outcome.value.endswith("without_findings") else 0.9
    report = (
        a_refused_report(study)
        if outcome is Outcome.NOT_ANALYSED
        else a_report(study, findings=[a_finding(study, "edema", score)], refusals=refusals)
    )
    sr = written(report, study, film)
    (item,) = named(sr, "111017")
    assert item.ConceptCodeSequence[0].CodeValue == codes.OUTCOMES[outcome].code_value
    assert sr.CompletionFlag == ("PARTIAL" if refusals else "COMPLETE")


def test_a_report_without_positives_has_no_measurements(film, study):
    for report in (a_refused_report(study), a_report(study, findings=[a_finding(study, "edema", 0.1)])):
        sr = written(report, study, film)
        assert not named(sr, "126010")
        assert not named(sr, "125007")
        assert len(named(sr, "C0034375")) == 1


def test_not_analysed_says_why_in_vietnamese(film, study):
    report = a_refused_report(study, RefusalCode.NOT_FRONTAL_CHEST)
    sr = written(report, study, film)
    texts = [str(item.TextValue) for item in named(sr, "121106")]
    assert f"KHÔNG PHÂN TÍCH: {codes.REFUSALS[RefusalCode.NOT_FRONTAL_CHEST]['vi']}" in texts


def test_the_device_is_the_model_version(film, study):
    manifest = a_manifest()
    sr = written(a_report(study, manifest=manifest), study, film)
    assert device_uid(manifest.digest) == named(sr, "121012")[0].UID
    assert sr.ContributingEquipmentSequence[0].DeviceUID == device_uid(manifest.digest)
    assert sr.ManufacturerModelName == manifest.algorithm_name
    assert "hoichan 9.9" in sr.SoftwareVersions
    newer = a_manifest(weights_sha256="0" * 64)
    other = written(a_report(study, manifest=newer), study, film)
    assert device_uid(manifest.digest) != named(other, "121012")[0].UID


def test_the_algorithm_carries_what_judges_its_number(film, study):
    manifest = a_manifest()
    sr = written(a_report(study, manifest=manifest), study, film)
    parameters = {str(item.TextValue) for item in named(sr, "111002")}
    assert {
        "threshold=0.52",
        "calibration=none",
        f"model_sha256={manifest.weights_sha256}",
        "status=research",
        "disclaimer=Demonstration, not validated for clinical use",
    } <= parameters


def test_groups_point_to_the_picture_and_evidence_lists_it(film, study):
    report = a_report(study)
    sr = written(report, study, film)
    explanations = named(sr, "130401")
    assert len(explanations) == len(report.positives)
    uids = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in explanations}
    assert uids == {picture_uid(report)}
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study_item in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study_item.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == {film.SOPInstanceUID, picture_uid(report)}


def test_a_later_revision_points_to_the_report_it_replaces(film, study):
    old = a_report(study)
    later = a_study(film, revision=2)
    sr = written(a_report(later, predecessor=old.report_uid), later, film)
    series = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert (
        series.SeriesInstanceUID == series_uid(old.report_uid) == written(old, study, film).SeriesInstanceUID
    )
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old.report_uid
    assert "PredecessorDocumentsSequence" not in written(old, study, film)


def test_an_english_site_reads_english(film, study):
    report = a_report(study)
    site = Site(language="en")
    context = document_context(study, report, source=film, site=site, software_version="9.9")
    sr = encode_sr(context)
    assert named(sr, "121106")[1].TextValue == report.conclusion["en"]
    assert named(sr, "121049")[0].ConceptCodeSequence[0].CodeValue == "en"


def test_without_any_source_header_there_is_still_a_report(study):
    sr = written(a_report(study), study, None)
    assert sr.StudyDate == "20261120"
    assert sr.StudyTime == "081500"
    assert sr.TimezoneOffsetFromUTC == "+0700"


def test_zone_is_the_sites_at_the_time_of_the_study(film, study):
    context = document_context(study, a_report(study), source=None, site=SITE, software_version="1")
    assert context.zone == timezone(timedelta(hours=7))


@pytest.mark.parametrize("sop_class_uid", [COMPREHENSIVE_SR, ENHANCED_SR])
def test_receivers_without_the_newest_class_get_the_same_tree_in_an_older_one(film, study, sop_class_uid):
    report = replace(a_report(study), predecessor="2.25.9")
    context = document_context(study, report, source=film, site=SITE, software_version="9.9")
    newest, older = encode_sr(context), encode_sr(context, sop_class_uid)
    assert older.SOPClassUID == sop_class_uid
    assert older.SOPInstanceUID == sr_uid(report.report_uid, sop_class_uid) != newest.SOPInstanceUID
    assert older.ContentSequence == newest.ContentSequence
    former = older.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert former.ReferencedSOPInstanceUID == sr_uid("2.25.9", sop_class_uid)
    assert (older.VerificationFlag, older.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_an_image_of_a_private_class_is_answered_too(study):
    (series,) = study.series
    private = replace(series.instances[0], sop_class_uid="1.3.12.2.1107.5.9.1")
    odd = replace(study, series=(replace(series, modality="OT", instances=(private,)),))
    document = written(a_refused_report(odd), odd)
    referenced = {
        item.ReferencedSOPClassUID
        for evidence in document.CurrentRequestedProcedureEvidenceSequence
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert "1.3.12.2.1107.5.9.1" in referenced
    assert document.PatientID == study.patient.patient_id.reveal()


def test_a_code_of_our_own_says_who_answers_for_its_scheme():
    film = a_film()
    study = a_study(film)
    plain, own = (
        encode_sr(
            document_context(
                study,
                a_report(study, findings=(a_finding(study, key, 0.9),)),
                source=film,
                site=Site(),
                software_version="1",
            )
        )
        for key in ("pneumothorax", "lung_cyst")
    )
    schemes = [
        {one.CodingSchemeDesignator for one in document.CodingSchemeIdentificationSequence}
        for document in (plain, own)
    ]
    assert schemes == [{"99IHE"}, {"99IHE", "99HOICHAN"}]
