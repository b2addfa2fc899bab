"""Every storage SOP class and every transfer syntax, sent over real associations and followed to its answer.

One house for all of it, in this process: the door, the spool on disk, the record, the pipeline with a model
that finds something in every film, and the encoder. Only the engine is a stand-in: its work is done here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import AllStoragePresentationContexts, NonPatientObjectPresentationContexts

from dicom_listener import Door
from dicom_listener.scp import SYNTAXES, storage_classes
from hoichan.adapters.couriers import DimseCourier
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.headers import EXPLICIT_LITTLE, NATIVE, PIXEL_DATA
from hoichan.intake.part10 import split
from hoichan.reporting.forwarding import Errand, Piece
from hoichan.settings import DicomDestination, Listener, Settings
from hoichan.testing.database import prepared
from hoichan.testing.datasets import PRIVATE_CLASS
from hoichan.testing.every_class import KNOWN, object_of
from hoichan.testing.files import as_file
from hoichan.testing.house import wait_until
from hoichan.testing.packed import film_in
from hoichan.testing.ports import FakeClock, FakeEngine
from hoichan.types import Report, StudyState
from service import wiring
from service.arrivals import Arrivals
from service.order_of_work import Line
from tests.acceptance.packages import write_package

MPEG4, JPEG_EXTENDED = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.51"
CR, DX, DX_PROCESSING = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("1", "1.1", "1.1.1"))
SCORED = "scored"
# As 1.1.1 of docs/conformance.md has them
READ = [
    f"1.2.840.10008.1.2{end}"
    for end in (
        "",
        *(".1", ".1.99", ".2", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91"),
        *(".4.201", ".4.202", ".4.203", ".5"),
    )
]
NOT_READ = [
    f"1.2.840.10008.1.2{end}"
    for end in (
        *(".4.92", ".4.93", ".4.94", ".4.95", ".4.204", ".4.205", ".4.110", ".4.111", ".4.112"),
        *(f".4.{number}" for number in range(100, 109)),
        *(f".4.{number}.1" for number in range(100, 107)),
        *(".1.98", ".7.1", ".7.2", ".7.3", ".8.1"),
    )
]
LONGEST_QUIET = timedelta(minutes=2)
STATES = {StudyState.DELIVERED, StudyState.REPORTED}


class Site:
    """A house and its door."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = Settings.model_validate({"storage": {"data_dir": folder / "data"}})
        write_package(settings.storage.data_dir / "models")
        self.house = wiring.open_house(prepared(settings))
        self.spool = DiskSpool(settings.storage.spool_dir)
        self.door = Door(self.spool, Listener(port=0, private_sop_classes=(PRIVATE_CLASS,)))
        self.port = self.door.open()
        self.analyst = wiring.analyst(self.house)
        self.clock, self.engine = FakeClock(datetime.now(UTC) + LONGEST_QUIET), FakeEngine()
        self.reports: dict[str, Report] = {}
        house = self.house
        self.line = Line(house.work, house.studies, self.engine, self.clock, settings, lambda study: ())
        self.arrivals = Arrivals(
            house.spool, house.studies, self.line, self.clock, settings, house.spool.originals
        )

    def close(self) -> None:
        self.door.close()
        self.house.engine.dispose()

    def send(self, files: dict[str, bytes]) -> dict[str, str]:
        """What the door said to each Part 10 file, which goes byte for byte."""
        address = {"host": "127.0.0.1", "port": self.port, "ae_title": "HOICHAN"}
        to = DicomDestination(name="door", kind="dicom", **address)
        pieces = [self._piece(name, content) for name, content in files.items()]
        return {told.errand.rule: told.detail for told in DimseCourier(to, "CR_ROOM1").bring(pieces)}

    def _piece(self, name: str, content: bytes) -> Piece:
        file = self.folder / f"{name}.dcm"
        file.write_bytes(content)
        head = split(content)
        words = {
            "sop_class_uid": head.sop_class_uid,
            "sop_instance_uid": head.sop_instance_uid,
            "transfer_syntax_uid": head.transfer_syntax_uid,
            "study_instance_uid": "",
        }
        errand = Errand(rule=name, destination="door", path=file.name, **words)
        return Piece(errand=errand, file=file, **words)

    def follow(self) -> None:
        """Every study that came is closed by silence and analysed."""
        uids = self.spool.every_study()
        wait_until(lambda: not any(map(self.spool.is_open, uids)), seconds=30, what="all is released")
        lag = datetime.now(UTC) + LONGEST_QUIET - self.clock.now()
        self.clock.advance(lag.total_seconds())  # files bear the real time
        self.arrivals.step()
        self.line.dispatch(slots=1000)
        for uid, revision, _ in self.engine.studies:
            self.reports[uid] = self.analyst.analyse(uid, revision)[1]
        self.engine.studies.clear()

    def answers_to(self, objects: dict[str, Dataset], syntaxes: dict[str, str]) -> dict[str, str]:
        """What becomes of objects, each of a study of its own, that must be taken and kept as they are."""
        files = {name: as_file(made, syntaxes[name]) for name, made in objects.items()}
        assert differences(dict.fromkeys(files, "0x0000"), self.send(files)) == {}
        kept = {}
        for name, made in objects.items():
            (one,) = self.spool.listing(made.StudyInstanceUID)
            kept[name] = split(self.spool.file(one.path).read_bytes()) == split(files[name])
        assert differences(dict.fromkeys(files, True), kept) == {}
        self.follow()
        return {name: self.answer(made.StudyInstanceUID) for name, made in objects.items()}

    def answer(self, study: str) -> str:
        """What became of a study of one object: scored, or state and reasons."""
        known = self.house.studies.current(study)
        report = self.reports.get(study)
        if known is None or report is None:
            return str(known and known.state)
        reasons = sorted({str(no.code) for no in report.refusals})
        if known.state in STATES and not reasons:
            return SCORED
        return " ".join(reasons) if known.state is StudyState.NOT_ANALYSED else f"{known.state} {reasons}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    opened = Site(tmp_path_factory.mktemp("every-object"))
    yield opened
    opened.close()


def differences(expected, found):
    return {name: (value, found.get(name)) for name, value in expected.items() if found.get(name) != value}


def of_its_maker_only():
    """What looks like a film, in a class that its maker alone knows."""
    made = film_in(EXPLICIT_LITTLE)
    made.SOPClassUID = PRIVATE_CLASS
    made.StudyInstanceUID += ".1"
    made.SOPInstanceUID += ".1"
    return made


def twelve_bits():
    """A film by JPEG Extended as another program wrote it; reading it takes the extra `fast-codecs`."""
    other = dcmread(get_testdata_file("JPGExtended.dcm"))
    made = film_in(JPEG_EXTENDED)
    made.StudyInstanceUID += ".1"
    made.SOPInstanceUID += ".1"
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelData"):
        made[keyword] = other[keyword]
    return made


def is_video(made):
    return PIXEL_DATA in made and made["PixelData"].is_undefined_length


def reason_for(uid, made):
    """What a house that scores chest films says of an object."""
    if uid in (CR, DX):
        return SCORED
    if uid == DX_PROCESSING:
        return "for_processing"
    if uid == PRIVATE_CLASS or made.Modality == "SEG" or not (PIXEL_DATA in made or "FloatPixelData" in made):
        return "no_image"
    return "wrong_geometry wrong_sequence" if made.Modality == "MR" else "wrong_modality"


def test_an_object_of_every_class_is_kept_as_it_came_and_has_its_answer(site):
    classes = storage_classes(Listener(private_sop_classes=(PRIVATE_CLASS,)))
    assert classes >= {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    assert classes - {PRIVATE_CLASS} == KNOWN  # one that comes with a new pynetdicom needs a maker
    objects = {uid: object_of(uid) for uid in sorted(classes)}
    objects[PRIVATE_CLASS] = of_its_maker_only()
    syntaxes = {uid: MPEG4 if is_video(made) else EXPLICIT_LITTLE for uid, made in objects.items()}
    expected = {uid: reason_for(uid, made) for uid, made in objects.items()}
    assert differences(expected, site.answers_to(objects, syntaxes)) == {}


def test_a_film_in_every_transfer_syntax_is_kept_as_it_came_and_scored_where_it_can_be_read(site):
    assert {*READ, *NOT_READ} == set(SYNTAXES)
    expected = {**dict.fromkeys(READ, SCORED), **dict.fromkeys(NOT_READ, "undecodable_pixels")}
    objects = {syntax: film_in(syntax) for syntax in SYNTAXES}
    assert differences(expected, site.answers_to(objects, {syntax: syntax for syntax in SYNTAXES})) == {}


def test_what_no_decoder_reads_is_kept_and_said_to_be_unreadable(site):
    names = [syntax for syntax in READ if syntax not in NATIVE]
    objects = {syntax: film_in(syntax, garbage=True) for syntax in names}
    syntaxes = {syntax: syntax for syntax in names}
    if not find_spec("imagecodecs"):
        objects["12 bits"], syntaxes["12 bits"] = twelve_bits(), JPEG_EXTENDED
    answers = site.answers_to(objects, syntaxes)
    assert differences(dict.fromkeys(objects, "undecodable_pixels"), answers) == {}


def test_objects_of_no_patient_are_not_agreed_upon(site):
    """A hanging protocol or a palette belongs to no study: nobody here could say what became of it."""
    files = {}
    for context in NonPatientObjectPresentationContexts:
        made = object_of(str(context.abstract_syntax))
        del made.StudyInstanceUID, made.SeriesInstanceUID
        files[str(made.SOPClassUID)] = as_file(made)
    studies = site.spool.every_study()
    told = site.send(files)
    assert told == {uid: f"SOP class {uid} not accepted" for uid in files} and len(told) >= 9
    assert site.spool.every_study() == studies
    assert list((site.folder / "data" / "spool" / "quarantine").iterdir()) == []
