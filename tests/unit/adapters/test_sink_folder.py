"""Files appear whole or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_folder import FolderSink
from hoichan.errors import Unreachable
from hoichan.reporting import plan
from hoichan.settings import FolderDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_ID, REPORTED_AT
from hoichan.types import DocumentKind


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    study = a_study()
    return DocumentEncoder(FolderOfFilms(folder), Settings()).encode(study, a_report(study))


@pytest.fixture
def destination(tmp_path):
    return FolderDestination(name="share", kind="folder", path=tmp_path / "out")


@pytest.fixture
def delivery(destination, documents):
    study = a_study()
    (delivery,) = plan(a_report(study), study, [destination], documents, REPORTED_AT)
    return delivery


def test_a_report_is_a_folder_of_its_documents(destination, delivery, documents):
    told = FolderSink(destination).deliver(delivery, documents)
    folder = destination.path / delivery.study_instance_uid / delivery.report_uid
    assert told == f"{delivery.study_instance_uid}/{delivery.report_uid}"  # no path of the machine
    assert {file.name for file in folder.iterdir()} == {"sc.dcm", "sr.dcm", "report.fhir.json", "picture.png"}
    by_kind = {document.kind: document.content for document in documents}
    assert (folder / "sr.dcm").read_bytes() == by_kind[DocumentKind.SR]
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_twice_is_once(destination, delivery, documents):
    sink = FolderSink(destination)
    folder = destination.path / delivery.study_instance_uid / delivery.report_uid
    assert sink.deliver(delivery, documents) == sink.deliver(delivery, documents)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    sink.deliver(delivery, documents)
    assert before == {file: file.stat().st_mtime_ns for file in folder.iterdir()}


def test_a_half_written_file_is_replaced(destination, delivery, documents):
    folder = destination.path / delivery.study_instance_uid / delivery.report_uid
    folder.mkdir(parents=True)
    (folder / "sr.dcm").write_bytes(b"half")
    FolderSink(destination).deliver(delivery, documents)
    assert (folder / "sr.dcm").read_bytes() != b"half"


def test_only_the_named_documents_are_written(destination, delivery, documents):
    FolderSink(destination).deliver(replace(delivery, documents=(DocumentKind.SR,)), documents)
    folder = destination.path / delivery.study_instance_uid / delivery.report_uid
    assert [file.name for file in folder.iterdir()] == ["sr.dcm"]


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path, delivery, documents):
    (tmp_path / "file").write_text("in the way")
    destination = FolderDestination(name="share", kind="folder", path=tmp_path / "file")
    with pytest.raises(Unreachable) as caught:
        FolderSink(destination).deliver(delivery, documents)
    assert caught.value.retryable
    assert str(tmp_path) not in str(caught.value)


def test_no_name_in_a_path(destination, delivery, documents):
    path = FolderSink(destination).deliver(delivery, documents)
    assert PATIENT_ID not in path
    assert "Nguy" not in path
