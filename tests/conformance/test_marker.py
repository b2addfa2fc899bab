"""Promise 6 at every door: a patient whose every text says MARKER stands in no log, answer, note or name.

DOORS names for every way in the test that would fail. A new way in begins with a line here.
"""

import json
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from dicom_listener import commitment_reports
from dicom_listener.storage_commitment import SOP_CLASS, SOP_INSTANCE, Commitments
from hoichan.guard.scopes import Scope
from hoichan.intake.dataset import read_header
from hoichan.intake.files import Counted
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.settings import Listener
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import MARKER, encode
from hoichan.testing.reading import a_record
from tests.conformance.test_statement import ROOT, functions_of
from tests.unit.intake.test_service_requests import REQUEST
from tests.unit.service.api.asking import an_app

HERE = "tests/conformance/test_marker.py"
DOORS = {
    "C-STORE, through the whole house": (
        "tests/acceptance/test_privacy.py::test_no_text_of_a_patient_leaves_the_documents"
    ),
    "C-STORE, whatever breaks": (
        "tests/integration/test_listener.py::test_nothing_of_a_patient_is_in_a_log_line_or_a_file_name"
    ),
    "MPPS and IAN": "tests/integration/test_steps.py::test_nothing_of_a_patient_is_said_of_a_malformed_step",
    "storage commitment, asked of us": f"{HERE}::test_a_request_for_commitment",
    "storage commitment, told to us": f"{HERE}::test_a_report_on_commitment",
    "STOW-RS and the upload": "tests/unit/service/api/test_stow.py::test_nothing_of_a_patient_leaves",
    "watched folder": "tests/unit/service/test_folders.py::test_no_line_of_the_log_holds_a_name",
    "CD, USB, ZIP": "tests/unit/service/test_cli_import.py::test_the_command",
    "picture of a film": "tests/unit/service/test_cli_film.py::test_what_cannot_be_taken_is_told",
    "HL7 orders": "tests/integration/test_order_door.py::test_nothing_of_a_patient_is_logged",
    "FHIR orders": f"{HERE}::test_an_order_by_fhir",
    "sources": (
        "tests/integration/test_query_web.py::test_a_bad_answer_is_for_later_or_for_good_and_is_not_repeated"
    ),
    "QIDO-RS": (
        "tests/unit/service/api/test_dicomweb_search.py::test_who_asked_is_recorded_and_what_for_is_not"
    ),
}


@pytest.mark.parametrize("door", sorted(DOORS))
def test_every_door_has_its_marker(door):
    path, _, function = DOORS[door].partition("::")
    assert function in functions_of(path), f"{DOORS[door]} is not there"
    assert "MARKER" in (ROOT / path).read_text(encoding="utf-8")


def test_what_is_counted_by_door_is_named_here():
    assert Counted.__annotations__["door"] == "str"
    source = (ROOT / "hoichan/intake/files.py").read_text(encoding="utf-8")
    assert "# stow, upload, folder or import" in source, "a new door: name its marker test in DOORS"


def marked(**more):
    """A data set of which every text says MARKER, UIDs too if they are told to."""
    data_set = Dataset()
    with disable_value_validation():
        data_set.PatientName, data_set.PatientID = f"{MARKER}^{MARKER}", MARKER
        for keyword, value in more.items():
            setattr(data_set, keyword, value)
    return data_set


def as_heard(data_set):
    """What the door reads of it."""
    return read_header(encode(data_set), EXPLICIT_LITTLE)


@pytest.fixture
def spool():
    fake = FakeSpool()
    yield fake
    fake.close()


@pytest.mark.parametrize(
    "broken", ["TransactionUID", "ReferencedSOPClassUID", "ReferencedSOPInstanceUID", ""]
)
def test_a_request_for_commitment(spool, caplog, broken):
    reference = {"ReferencedSOPClassUID": "1.2.3", "ReferencedSOPInstanceUID": "1.2.3.4"}
    transaction = "1.2.9" if broken != "TransactionUID" else MARKER
    if broken in reference:
        reference[broken] = MARKER
    asked = marked(TransactionUID=transaction, ReferencedSOPSequence=[marked(**reference)])
    request = SimpleNamespace(ActionTypeID=1, RequestedSOPInstanceUID=SOP_INSTANCE)
    commitments = Commitments(spool, Listener())
    with capture_logs() as lines:
        answer = commitments.asked(request, as_heard(asked), ae_title="CT", address="127.0.0.1")
    assert answer.status == (0x0115 if broken else 0x0000)
    notes = [spool.notes.read(path) for path in spool.notes.names(PurePosixPath("commitments"))]
    assert bool(notes) is not bool(broken)
    assert MARKER not in json.dumps([lines, notes, answer.comment, caplog.text], default=str)


@pytest.mark.parametrize("transaction", [MARKER, "1.2.9"])
def test_a_report_on_commitment(spool, caplog, transaction):
    told = marked(
        TransactionUID=transaction,
        ReferencedSOPSequence=[marked(ReferencedSOPClassUID=MARKER, ReferencedSOPInstanceUID=MARKER)],
    )
    request = SimpleNamespace(
        AffectedSOPInstanceUID=SOP_INSTANCE, EventTypeID=1, AffectedSOPClassUID=SOP_CLASS
    )
    with capture_logs() as lines:
        answer = commitment_reports.heard(spool, request, as_heard(told), ae_title="PACS")
    assert answer.status == 0x0115
    assert MARKER not in json.dumps([lines, answer.comment, caplog.text], default=str)


def test_an_order_by_fhir(tmp_path, caplog):
    record = a_record(tmp_path)
    client = TestClient(an_app(record), base_url="http://localhost:8080", client=("127.0.0.1", 50000))
    token = record.tokens.add("his", (Scope.ORDER,), lifetime=None)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"system": MARKER, "value": MARKER}],
        "name": [{"family": MARKER, "given": [MARKER]}],
    }
    texts = {"contained": [patient], "reasonCode": [{"text": MARKER}], "code": {"text": MARKER}}
    bodies = [
        json.dumps(REQUEST | texts),
        json.dumps(REQUEST | {"status": MARKER}),
        json.dumps(REQUEST | texts | {"identifier": [{"value": MARKER}]}),
        json.dumps({"resourceType": MARKER}),
        f'{{"{MARKER}": ',
    ]
    with capture_logs() as lines:
        answers = [client.post("/fhir/ServiceRequest", content=one, headers=headers) for one in bodies]
        said = client.get("/metrics")
    assert [answer.status_code // 100 for answer in answers] == [2, 4, 2, 4, 4]
    assert lines
    heads = [f"{answer.headers}" for answer in answers]
    refusals = [answer.text for answer in answers if answer.status_code >= 400]
    assert MARKER not in json.dumps([lines, heads, said.text, caplog.text, *refusals], default=str)
    client.close()
    record.engine.dispose()
