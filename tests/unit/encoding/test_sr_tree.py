"""An SR that highdicom got as a trunk is the SR that it makes of the whole tree."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread

from hoichan.encoding import sr
from hoichan.encoding.source import document_context
from hoichan.encoding.sr_tree import give_tree, trunk
from hoichan.reporting.signed import signed_report
from hoichan.settings import Site
from hoichan.testing import a_film, a_refused_report, a_report, a_study
from hoichan.testing.reviews import a_review


@pytest.fixture(params=["findings", "refused", "signed"])
def context(request):
    film = a_film()
    study = a_study(film)
    report = a_report(study)
    if request.param == "refused":
        report = a_refused_report(study)
    elif request.param == "signed":
        report = signed_report(report, a_review(report, study), study, time="08:32 20/11/2026")
    return document_context(study, report, source=film, site=Site(), software_version="9.9")


def as_written(document: Dataset, *keywords: str) -> bytes:
    """These elements of a document as they stand in its file."""
    part = Dataset()
    part.SpecificCharacterSet = document.SpecificCharacterSet
    for keyword in keywords:
        if keyword in document:
            part[keyword] = document[keyword]
    stream = BytesIO()
    part.save_as(stream, implicit_vr=False, little_endian=True)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:The string .Reader.")  # highdicom's; `signature.verify` sets the name
@pytest.mark.parametrize("sop_class_uid", sr.FORMS)
def test_the_tree_is_the_one_that_highdicom_writes_and_accepts(context, sop_class_uid):
    found = sr.encode_sr(context, sop_class_uid)
    whole = sr.FORMS[sop_class_uid](
        evidence=sr._evidence(context),
        content=sr._content(context),
        series_instance_uid=found.SeriesInstanceUID,
        series_number=1,
        sop_instance_uid=found.SOPInstanceUID,
        instance_number=1,
        manufacturer="none",
        specific_character_set="ISO_IR 192",
    )
    kept = (
        *(element.keyword for element in sr._content(context)),
        "CurrentRequestedProcedureEvidenceSequence",
        "PertinentOtherEvidenceSequence",
    )
    assert as_written(found, *kept) == as_written(whole, *kept)
    stream = BytesIO()
    found.save_as(stream, enforce_file_format=True)
    read = type(whole).from_dataset(dcmread(BytesIO(stream.getvalue())))
    assert len(read.content[0].ContentSequence) == len(whole.ContentSequence)


def test_what_the_tree_refers_to_must_be_among_the_evidence(context):
    document, evidence = Dataset(), sr._evidence(context)
    unseen = [one for one in evidence if one.Modality != "CR"]  # the film is in every tree
    with pytest.raises(ValueError, match="not among the evidence"):
        give_tree(document, sr._content(context), unseen)
    assert "ContentSequence" not in document


def test_a_trunk_leaves_the_tree_as_it_was(context):
    content = sr._content(context)
    before = as_written(readable(content), "ContentSequence")
    short = trunk(content)
    assert len(short.ContentSequence) == 1
    assert short.ContentSequence[0] is not content.ContentSequence[0]
    assert as_written(readable(content), "ContentSequence") == before


def readable(content: Dataset) -> Dataset:
    content.SpecificCharacterSet = "ISO_IR 192"
    return content
