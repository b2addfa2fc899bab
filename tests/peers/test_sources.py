"""What was missed is fetched from a real PACS, in each of the ways in which it can be asked."""

from contextlib import ExitStack

import pytest
from pydicom import dcmread

from dicom_listener import Door
from hoichan.adapters.database import migrate, open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.sources_sql import SourcesSql
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import Unreachable
from hoichan.settings import Settings
from hoichan.testing.datasets import described, film
from hoichan.testing.house import free_ports, write_film
from hoichan.testing.ports import FakeClock
from hoichan.uids import derived_uid
from service import wiring
from service.catch_up import CatchUp
from tests.peers.orthanc import Orthanc, is_available

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not is_available(), reason="Orthanc with DICOMweb is not installed"),
]
WAYS = ["move", "get", "dicomweb", "orthanc"]
STUDY = derived_uid("test", "missed")


def source_of(pacs, way, **changes):
    kinds = {
        "move": {
            "kind": "dimse", "host": "127.0.0.1", "port": pacs.port, "ae_title": "PACS", "fetch": "move"
        },
        "get": {
            "kind": "dimse", "host": "127.0.0.1", "port": pacs.port, "ae_title": "PACS", "fetch": "get"
        },
        "dicomweb": {"kind": "dicomweb", "url": f"http://127.0.0.1:{pacs.http_port}/dicom-web"},
        "orthanc": {"kind": "orthanc", "url": f"http://127.0.0.1:{pacs.http_port}"},
    }  # fmt: skip
    return {"name": "pacs", "timeout_seconds": 5, "fetch_timeout_seconds": 20, **kinds[way], **changes}


@pytest.fixture
def pacs(tmp_path):
    (port,) = free_ports(1)
    (tmp_path / "orthanc").mkdir()
    orthanc = Orthanc(tmp_path / "orthanc", move_to=port)
    orthanc.door_port = port
    with orthanc:
        yield orthanc


class Station:
    """A door, a spool, a record, and the catch-up of one source."""

    def __init__(self, folder, pacs, way, stack, **changes):
        self.settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder / "data"},
                "listener": {"port": pacs.door_port},
                "sources": [source_of(pacs, way, **changes)],
            }
        )
        self.clock = FakeClock()
        engine = open_database(self.settings.storage.database_url)
        stack.callback(engine.dispose)
        migrate(engine)
        self.spool = DiskSpool(folder / "spool")
        self.studies = StudiesSql(engine, ObjectsDisk(folder / "objects"), self.clock)
        self.record = SourcesSql(engine)
        door = Door(self.spool, self.settings.listener)
        door.open()
        stack.callback(door.close)
        (self.source,) = self.settings.sources
        self.archive = wiring.archive_of(self.settings, self.spool, self.source)
        self.catch_up = self.restarted()

    def restarted(self):
        return CatchUp(self.source, self.archive, self.record, self.spool, self.studies, self.clock)

    def held(self):
        return sorted(spooled.path.stem for spooled in self.spool.listing(STUDY))


@pytest.fixture(params=WAYS)
def station(request, tmp_path, pacs):
    with ExitStack() as stack:
        yield Station(tmp_path, pacs, request.param, stack)


def put(pacs, folder, *names, series="one"):
    """Films of one study into the PACS, and the files."""
    paths = []
    for name in names:
        data_set = film(study="missed", series=series, instance=name)
        data_set.ensure_file_meta()
        data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        paths.append(write_film(data_set, folder / "films"))
        pacs.upload(paths[-1])
    return paths


def stems(paths):
    return sorted(path.stem for path in paths)


def test_what_was_missed_is_fetched_once_and_later_only_what_is_new(station, pacs, tmp_path):
    paths = [*put(pacs, tmp_path, "1", "2"), *put(pacs, tmp_path, "3", series="two")]
    station.catch_up.step()
    assert station.held() == stems(paths)
    for path in paths:
        (spooled,) = [s for s in station.spool.listing(STUDY) if s.path.stem == path.stem]
        kept, sent = dcmread(station.spool.file(spooled.path)), dcmread(path)
        assert kept == sent
        assert spooled.calling_ae_title == ("PACS" if station.source.kind == "dimse" else "pacs")
    assert not station.spool.is_open(STUDY)
    assert [(e.event, e.details["instances"]) for e in station.studies.trail(STUDY)] == [("study_fetched", 3)]
    assert station.record.waiting("pacs") == (0, 0)

    before = station.held()
    station.clock.advance(301)
    station.catch_up.step()
    assert station.held() == before

    late = put(pacs, tmp_path, "4")
    station.clock.advance(301)
    station.catch_up.step()  # new there: it may be on its way by itself
    assert station.held() == before
    assert station.record.waiting("pacs") == (1, 0)
    station.clock.advance(61)
    station.catch_up.step()
    assert station.held() == stems([*paths, *late])
    assert [e.details["instances"] for e in station.studies.trail(STUDY)] == [3, 1]


def test_what_came_by_itself_is_not_fetched(station, pacs, tmp_path):
    paths = put(pacs, tmp_path, "1", "2")
    for path in paths:
        data_set = dcmread(path)
        described_study = described(data_set)
        station.studies.add_arrivals(described_study, described_study.instances)
    station.catch_up.step()
    assert station.held() == []
    assert station.studies.trail(STUDY)[-1].event == "instances_received"


def test_after_a_gap_it_asks_and_fetches_at_once(station, pacs, tmp_path):
    station.catch_up.step()
    pacs.stop()
    station.clock.advance(301)
    station.catch_up.step()
    contact = station.record.contact("pacs")
    assert contact.failures == 1 and contact.error == Unreachable.code
    station.clock.advance(86_400 / 2)
    pacs.start()
    paths = put(pacs, tmp_path, "1")
    station.restarted().step()
    assert station.held() == stems(paths)
    contact = station.record.contact("pacs")
    assert (contact.failures, contact.error) == (0, None)


def test_other_days_and_other_modalities_stay_where_they_are(pacs, tmp_path):
    old = film(study="old")
    old.StudyDate = "20260101"
    old.ensure_file_meta()
    old.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    pacs.upload(write_film(old, tmp_path / "films"))
    put(pacs, tmp_path, "1")
    for way in WAYS:
        for modality, expected in (("CT", []), ("CR", [STUDY])):
            with ExitStack() as stack:
                folder = tmp_path / way / modality
                station = Station(folder, pacs, way, stack, modalities=[modality])
                station.catch_up.step()
                assert station.spool.every_study() == expected
