"""A real PACS takes responsibility for what we sent, and says so when it lost a part of it."""

import json
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from dicom_listener import Door
from hoichan.intake.commitments import reports
from hoichan.settings import Listener
from hoichan.testing import a_film
from hoichan.testing.house import RunningHouse, free_ports, wait_until, write_film
from tests.acceptance.packages import write_package
from tests.integration import test_images_known as images
from tests.integration.test_commitment_scu import Site
from tests.peers.orthanc import Orthanc, is_available

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not is_available(), reason="Orthanc with DICOMweb is not installed"),
]


@contextmanager
def opened(folder):
    """Orthanc, and a site with a door at which Orthanc's reports arrive."""
    (port,) = free_ports(1)
    (folder / "orthanc").mkdir()
    with Orthanc(folder / "orthanc", push_to=port) as pacs:
        site = Site(folder, SimpleNamespace(port=pacs.port), wait_seconds=0.0)
        door = Door(site.spool, Listener(port=port))
        door.open()
        try:
            yield site, pacs
        finally:
            door.close()
            site.engine.dispose()


def test_orthanc_vouches_for_images_that_it_holds_and_for_no_others(tmp_path):
    (port,) = free_ports(1)
    (tmp_path / "orthanc").mkdir()
    with Orthanc(tmp_path / "orthanc", push_to=port) as pacs:
        site = images.Site(tmp_path, SimpleNamespace(port=pacs.port), wait_seconds=0.0)
        door = Door(site.spool, Listener(port=port))
        door.open()
        try:
            asked = [(str(images.FILM.SOPClassUID), images.UID)]
            for holds in (False, True):
                assert not site.known.vouched(site.delivery, asked)  # the answer comes to our door
                wait_until(lambda: reports(site.spool.notes), seconds=60, what="a report")
                assert site.committer.hear() == 1
                if not holds:
                    pacs.upload(write_film(images.FILM, tmp_path / "films"))
            assert site.known.vouched(site.delivery, asked)
        finally:
            door.close()
            site.engine.dispose()


def forget(pacs, sop_instance_uid):
    lookup = urllib.request.Request(
        f"http://127.0.0.1:{pacs.http_port}/tools/lookup", data=sop_instance_uid.encode(), method="POST"
    )
    with urllib.request.urlopen(lookup, timeout=30) as answer:
        (found,) = json.loads(answer.read())
    gone = urllib.request.Request(
        f"http://127.0.0.1:{pacs.http_port}/instances/{found['ID']}", method="DELETE"
    )
    urllib.request.urlopen(gone, timeout=30).close()


def test_orthanc_is_sent_again_what_it_lost(tmp_path):
    with opened(tmp_path) as (site, pacs):
        study = site.deliver()
        (delivery,) = site.studies.deliveries(study)
        lost = site.studies.documents(delivery)[0].uid
        assert pacs.count() == 2
        forget(pacs, lost)
        site.committer.step()
        site.hear()
        site.committer.step()
        assert pacs.count() == 2
        site.hear()
        site.committer.step()
        assert site.committed(study) is not None
        assert site.events(study) == [
            "commitment_asked",
            "commitment_failed",
            "commitment_resent",
            "commitment_asked",
            "commitment_given",
        ]


def test_orthanc_vouches_for_a_report_of_the_running_service(tmp_path):
    house = RunningHouse(tmp_path / "house")
    write_package(house.data_dir / "models")
    (tmp_path / "orthanc").mkdir()
    with Orthanc(tmp_path / "orthanc", push_to=house.port) as pacs:
        house.config.write_text(pacs.destination(commitment=True), encoding="utf-8")
        film = a_film("vouched")
        with house:
            house.send(write_film(film, tmp_path / "films"))
            house.wait_for_event(film.StudyInstanceUID, "commitment_given", seconds=90)
            assert "commitment_failed" not in house.events(film.StudyInstanceUID)
