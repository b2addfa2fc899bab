"""A real PACS asks us whether its images are safe, and understands the answer."""

import json
import urllib.request

import pytest

from dicom_listener import Door
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.settings import Listener, Sender
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, film
from hoichan.testing.house import free_ports, wait_until
from tests.peers.orthanc import Orthanc, is_available

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not is_available(), reason="Orthanc with DICOMweb is not installed"),
]


@pytest.fixture
def pacs(tmp_path):
    """Orthanc that pushes what it gets to a door of ours, and hears our reports."""
    (port,) = free_ports(1)
    (tmp_path / "orthanc").mkdir()
    orthanc = Orthanc(tmp_path / "orthanc", push_to=port)
    senders = (Sender(ae_title="PACS", host="127.0.0.1", commitment_port=orthanc.port),)
    door = Door(DiskSpool(tmp_path / "spool"), Listener(port=port, senders=senders))
    door.open()
    with orthanc:
        yield orthanc
    door.close()


def post(pacs, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{pacs.http_port}/{path}", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def committed(pacs, *instances):
    """Orthanc's own account of what we said about instances."""
    wanted = {"DicomInstances": [[COMPUTED_RADIOGRAPHY, uid] for uid in instances], "Timeout": 30}
    asked = post(pacs, "modalities/HOICHAN/storage-commitment", json.dumps(wanted).encode())
    path = f"storage-commitment/{asked['ID']}"
    wait_until(lambda: json.loads(pacs.get(path))["Status"] != "Pending", seconds=30, what="a report")
    return json.loads(pacs.get(path))


def test_orthanc_hears_what_is_safe_and_what_is_not(pacs, tmp_path):
    data_set = film(study="committed")
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data_set.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    pacs.upload(tmp_path / "film.dcm")
    sop_instance_uid = str(data_set.SOPInstanceUID)
    spool = DiskSpool(tmp_path / "spool")
    wait_until(lambda: spool.locate([sop_instance_uid]), seconds=30, what="the film")

    whole = committed(pacs, sop_instance_uid)
    assert whole["Status"] == "Success"
    assert [item["SOPInstanceUID"] for item in whole["Success"]] == [sop_instance_uid]

    part = committed(pacs, sop_instance_uid, "1.2.3.4")
    assert part["Status"] == "Failure"
    assert [item["SOPInstanceUID"] for item in part["Success"]] == [sop_instance_uid]
    (missing,) = part["Failures"]
    assert missing["SOPInstanceUID"] == "1.2.3.4"
    assert missing["FailureReason"] == 0x0112
