"""A page over a spool with real objects in it, for the tests of DICOMweb."""

from __future__ import annotations

import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from fastapi.testclient import TestClient
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.assembly import merge
from hoichan.intake.dataset import read_spooled
from hoichan.intake.files import take_in
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from hoichan.testing.reading import a_record, assemble, keep
from hoichan.testing.reports import a_report
from hoichan.types import Study, StudyInstanceUID
from hoichan.uids import derived_uid
from tests.unit.service.api.asking import an_app

BASE = "/dicom-web"


class DicomwebSite:
    """An empty page; `store` fills it as a door and a worker would."""

    def __init__(self, folder: Path) -> None:
        self.record = a_record(folder)
        self.spool = DiskSpool(self.record.spool_root, reserve_bytes=0)
        self.app = an_app(self.record)
        self.client = TestClient(self.app, base_url="http://localhost:8080", client=("127.0.0.1", 5000))

    def store(self, *files: bytes, sender: str = "CR1") -> Study:
        """File objects of one study and record them; the study as it then stands."""
        uid = ""
        for file in files:
            stored = take_in(self.spool, file, calling_ae_title=sender)
            assert stored.quarantined is None
            uid = stored.study_instance_uid
        parts = [
            read_spooled(self.spool, one, self.record.settings.site.zone)
            for one in self.spool.listing(StudyInstanceUID(uid))
        ]
        study = merge(parts)
        self.record.studies.add_arrivals(study, study.instances)
        current = self.record.studies.current(StudyInstanceUID(uid))
        assert current is not None
        return current

    def report(self, study: Study) -> list[Dataset]:
        """Close a revision, write its report, and return the DICOM objects of it."""
        assembled = assemble(self.record, replace(study, closed_by="test"))
        previous = self.record.studies.latest_report_uid(study.study_instance_uid, before=assembled.revision)
        made = replace(a_report(assembled), predecessor=previous)
        encoder = DocumentEncoder(self.spool, self.record.settings)
        keep(self.record, assembled, made, encoder.encode)
        documents = encoder.encode(assembled, made)
        return [dcmread(BytesIO(one.content)) for one in documents if one.media_type == "application/dicom"]

    def get(self, path: str, accept: str = "*/*", **parameters: str):  # type: ignore[no-untyped-def]
        """What the page answers below /dicom-web."""
        return self.client.get(BASE + path, params=parameters, headers={"Accept": accept})

    def close(self) -> None:
        """Stop."""
        self.client.close()
        self.record.engine.dispose()


def sample(name: str) -> bytes:
    """A file of pydicom's as an object of its own: some of them share their UIDs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = dcmread(get_testdata_file(name))
    data_set.StudyInstanceUID = derived_uid("test", name)
    data_set.SeriesInstanceUID = derived_uid("test", name, "series")
    data_set.SOPInstanceUID = derived_uid("test", name, "instance")
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    file = BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()


def address(data_set: Dataset) -> str:
    """Where an object is retrieved."""
    return (
        f"/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}"
        f"/instances/{data_set.SOPInstanceUID}"
    )


def films(count: int, *, study: str = "study") -> list[bytes]:
    """Films of one study, in one series."""
    return [as_file(film(study=study, instance=str(number))) for number in range(count)]
