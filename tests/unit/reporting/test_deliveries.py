"""Which documents go where, under which key, and when again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.reporting import next_attempt, plan
from hoichan.reporting.deliveries import SR_FORMS
from hoichan.settings import DicomDestination, FhirDestination, FolderDestination, Hl7Destination
from hoichan.testing import a_report, a_study
from hoichan.testing.reports import REPORTED_AT
from hoichan.types import DeliveryState, Document, DocumentKind

PACS = DicomDestination(name="pacs", kind="dicom", host="127.0.0.1", port=104, ae_title="PACS")
EMR = FhirDestination(name="emr", kind="fhir", url="http://127.0.0.1/fhir")
RIS = Hl7Destination(name="ris", kind="hl7v2", host="127.0.0.1", port=2575)
SHARE = FolderDestination(name="share", kind="folder", path=Path("/x"))
STUDY = a_study()
REPORT = a_report(STUDY)


def document(kind: DocumentKind) -> Document:
    return Document(kind=kind, uid="1", sop_class_uid=None, media_type="x", content=b"")


DOCUMENTS = [document(kind) for kind in reversed(DocumentKind)]


@pytest.mark.parametrize(
    ("destination", "kinds"),
    [
        (PACS, (DocumentKind.SC, *SR_FORMS)),
        (PACS.model_copy(update={"send": ("sr",)}), SR_FORMS),
        (PACS.model_copy(update={"send": ("sr",), "sr_class": "enhanced"}), (DocumentKind.SR_ENHANCED,)),
        (
            PACS.model_copy(update={"send": ("pdf", "sr", "gsps", "kos", "sc"), "sr_class": "comprehensive"}),
            (
                DocumentKind.KOS,
                DocumentKind.SC,
                DocumentKind.GSPS,
                DocumentKind.SR_COMPREHENSIVE,
                DocumentKind.PDF,
            ),
        ),
        (EMR, (DocumentKind.FHIR,)),
        (RIS, (DocumentKind.HL7,)),
        (SHARE, (DocumentKind.SC, DocumentKind.SR, DocumentKind.FHIR)),
    ],
)
def test_each_kind_of_destination_gets_its_documents_in_sending_order(destination, kinds):
    (delivery,) = plan(REPORT, STUDY, [destination], DOCUMENTS, REPORTED_AT)
    assert delivery.documents == kinds
    assert delivery.kind == destination.kind


def test_a_new_delivery_is_due_at_once_and_names_no_address():
    (delivery,) = plan(REPORT, STUDY, [PACS], DOCUMENTS, REPORTED_AT)
    assert (delivery.state, delivery.attempts, delivery.next_attempt_at) == (
        DeliveryState.PENDING,
        0,
        REPORTED_AT,
    )
    assert delivery.idempotency_key == f"{REPORT.report_uid}:pacs"
    assert "127.0.0.1" not in repr(delivery)


def test_keys_are_stable_and_differ_by_receiver_and_report():
    def keys(report):
        return [d.idempotency_key for d in plan(report, STUDY, [PACS, EMR, SHARE], DOCUMENTS, REPORTED_AT)]

    assert keys(REPORT) == keys(a_report(STUDY))
    other = replace(REPORT, report_uid="2.25.1")
    assert len({*keys(REPORT), *keys(other)}) == 6


def test_a_receiver_without_a_fitting_document_gets_no_delivery():
    assert plan(REPORT, STUDY, [EMR], [document(DocumentKind.SR)], REPORTED_AT) == ()


def test_pauses_double_up_to_the_longest():
    assert [next_attempt(n, 5, 60) for n in (1, 2, 3, 4, 5, 6)] == [5, 10, 20, 40, 60, 60]


@given(st.integers(0, 10**6), st.floats(0.1, 100), st.floats(0.1, 10**5))
def test_a_pause_is_never_beyond_its_bounds(attempts, first, longest):
    pause = next_attempt(attempts, first, longest)
    assert 0 < pause <= longest
    assert next_attempt(attempts + 1, first, longest) >= pause
