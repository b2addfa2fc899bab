"""C-FIND, C-MOVE and C-GET with pynetdicom as the PACS, on its good and its bad days."""

from contextlib import ExitStack
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_listener import Door
from hoichan.adapters.query_dimse import (
    CONTEXTS,
    EVERY_SYNTAX,
    FIND,
    GET,
    MOVE,
    SYNTAXES,
    DimseArchive,
    _storage_contexts,
    since_day,
)
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import Refused, SpoolFull, Unreachable
from hoichan.intake.headers import EXPLICIT_LITTLE
from hoichan.privacy import Phi
from hoichan.settings import DimseSource, Listener
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, described, film

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
NOW = datetime(2026, 11, 20, 1, 15, tzinfo=UTC)


class Pacs:
    """Holds data sets; answers what the tests need, with a status of their choice."""

    def __init__(self, *held, door=None):
        self.held, self.door = list(held), door
        self.asked, self.status = [], None  # identifiers of all questions; a failure of C-FIND
        self.knows_us, self.is_terse = True, False
        entity = AE(ae_title="PACS")
        for model in (FIND, MOVE, GET):
            entity.add_supported_context(model)
        entity.add_supported_context(COMPUTED_RADIOGRAPHY, list(SYNTAXES), scu_role=True, scp_role=True)
        entity.add_requested_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)
        self._server = entity.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[
                (evt.EVT_C_FIND, self.find),
                (evt.EVT_C_MOVE, self.move),
                (evt.EVT_C_GET, self.get),
            ],
        )
        self.port = self._server.server_address[1]

    def close(self):
        self._server.shutdown()

    def matching(self, question):
        self.asked.append(question)
        for one in self.held:
            keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID")
            wanted = {key: question.get(key) for key in keys if question.get(key)}
            if all(
                one[key].value in ([value] if isinstance(value, str) else value)
                for key, value in wanted.items()
            ):
                yield one

    def find(self, event):
        question = event.identifier
        if self.status is not None:
            yield self.status, None
            return
        level = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
        seen = set()
        for one in self.matching(question):
            key = one[level[question.QueryRetrieveLevel]].value
            if key in seen:
                continue
            seen.add(key)
            answer = Dataset()
            for element in question:
                if element.keyword in one and not (element.keyword == "SOPClassUID" and self.is_terse):
                    answer.add(one[element.keyword])
            answer.QueryRetrieveLevel = question.QueryRetrieveLevel
            if question.QueryRetrieveLevel == "STUDY":
                same = [other for other in self.held if other.StudyInstanceUID == key]
                answer.NumberOfStudyRelatedInstances = len(same)
                answer.ModalitiesInStudy = sorted({other.Modality for other in same})
            yield 0xFF00, answer

    def move(self, event):
        if not self.knows_us:
            yield None, None  # pynetdicom answers 0xA801
            return
        found = list(self.matching(event.identifier))
        yield "127.0.0.1", self.door
        yield len(found)
        for one in found:
            yield 0xFF00, one

    def get(self, event):
        found = list(self.matching(event.identifier))
        yield len(found)
        for one in found:
            yield 0xFF00, one


def stored(data_set):
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    return data_set


HELD = [film(instance="1"), film(instance="2"), film(series="other", instance="3"), film(study="another")]


@pytest.fixture
def site(tmp_path):
    with ExitStack() as stack:
        spool = DiskSpool(tmp_path)
        door = Door(spool, Listener(port=0))
        port = door.open()
        stack.callback(door.close)
        pacs = Pacs(*(stored(one) for one in HELD), door=port)
        stack.callback(pacs.close)
        yield pacs, spool


def archive(pacs, spool, **changes):
    values = {"name": "pacs", "kind": "dimse", "host": "127.0.0.1", "port": pacs.port, "ae_title": "PACS"}
    source = DimseSource(**{**values, "timeout_seconds": 5, "fetch_timeout_seconds": 10, **changes})
    return DimseArchive(source, spool, our_title="HOICHAN", zone=ZONE)


STUDY = HELD[0].StudyInstanceUID


def test_what_is_there_and_how_much(site):
    pacs, spool = site
    asking = archive(pacs, spool)
    changes = asking.changes(None, now=NOW)
    assert pacs.asked[-1].StudyDate == "20261119-"
    assert {one.study_instance_uid: one.instances for one in changes.holdings} == {
        STUDY: 3,
        HELD[3].StudyInstanceUID: 1,
    }
    assert changes.holdings[0].modalities == ("CR",)
    assert changes.holdings[0].study_datetime == datetime(2026, 11, 20, 1, 15, 30, tzinfo=UTC)
    assert asking.changes(changes.mark, now=NOW).mark == NOW.isoformat()
    assert asking.holding(STUDY).instances == 3
    assert asking.holding("1.2.3") is None
    assert asking.instances(STUDY) == {one.SOPInstanceUID: one.SeriesInstanceUID for one in HELD[:3]}
    assert asking.instances("1.2.3") == {}


@pytest.mark.parametrize("fetch", ["move", "get"])
def test_only_what_is_wanted_is_asked_for(site, fetch):
    pacs, spool = site
    asking = archive(pacs, spool, fetch=fetch)
    there = asking.instances(STUDY)
    one, two, three = (film.SOPInstanceUID for film in HELD[:3])
    done = asking.fetch(STUDY, {uid: there[uid] for uid in (one, three)})
    assert (done.stored, done.failed) == (2, 0)
    levels = [question.QueryRetrieveLevel for question in pacs.asked[-2:]]
    assert sorted(levels) == ["IMAGE", "SERIES"]
    assert set(spool.locate([one, two, three])) == {one, three}
    assert asking.fetch(STUDY, there).stored == 3
    assert pacs.asked[-1].QueryRetrieveLevel == "STUDY"
    assert set(spool.locate([one, two, three])) == {one, two, three}
    (spooled,) = [s for s in spool.listing(STUDY) if s.path.stem == two]
    assert spooled.calling_ae_title == "PACS"


def test_a_pacs_that_tells_no_class_still_gives_by_c_get(site):
    pacs, spool = site
    pacs.is_terse = True
    asking = archive(pacs, spool, fetch="get")
    assert asking.fetch(STUDY, asking.instances(STUDY)).stored == 3
    assert len(spool.listing(STUDY)) == 3


def test_a_destination_that_the_pacs_does_not_know_is_a_refusal(site):
    pacs, spool = site
    asking = archive(pacs, spool)
    pacs.knows_us = False
    with pytest.raises(Refused) as refused:
        asking.fetch(STUDY, asking.instances(STUDY))
    assert refused.value.status == "0xA801"


def test_no_room_is_told_to_the_pacs_and_to_us(site, tmp_path):
    pacs, _ = site
    full = DiskSpool(tmp_path / "full", reserve_bytes=1 << 62)
    asking = archive(pacs, full, fetch="get")
    with pytest.raises(SpoolFull):
        asking.fetch(STUDY, asking.instances(STUDY))
    assert full.every_study() == []


@pytest.mark.parametrize(
    ("status", "error"), [(0xA700, Unreachable), (0xC000, Unreachable), (0xA900, Refused)]
)
def test_a_failure_is_for_later_or_for_good(site, status, error):
    pacs, spool = site
    pacs.status = status
    with pytest.raises(error):
        archive(pacs, spool).holding(STUDY)


def test_a_pacs_that_is_not_there_or_does_not_know_us(site):
    pacs, spool = site
    with pytest.raises(Unreachable):
        archive(pacs, spool, port=1).holding(STUDY)


def test_earlier_studies_are_of_this_person_only(site):
    pacs, spool = site
    asking = archive(pacs, spool)
    patient = described(film()).patient
    assert {one.study_instance_uid for one in asking.studies_of(patient)} == {
        STUDY,
        HELD[3].StudyInstanceUID,
    }
    pacs.held[3].PatientBirthDate = "19991231"
    assert [one.study_instance_uid for one in asking.studies_of(patient)] == [STUDY]
    asked = len(pacs.asked)
    for number in ("", " ", "BN*", "BN?001", "BN1\\BN2"):
        data_set = film()
        odd = described(data_set).patient
        object.__setattr__(odd, "patient_id", Phi(number))
        assert asking.studies_of(odd) == []
    assert len(pacs.asked) == asked


@pytest.mark.parametrize(
    ("mark", "day"),
    [
        (None, "20261119"),
        ("2026-11-01T00:30:00+00:00", "20261031"),
        ("2030-01-01T00:00:00+00:00", "20261119"),  # a clock that went back
        ("nonsense", "20261119"),
    ],
)
def test_the_first_day_to_ask_for(mark, day):
    assert since_day(mark, NOW, 24, ZONE) == day


def test_the_body_part_is_asked_of_the_series(site):
    pacs, spool = site
    asking = archive(pacs, spool)
    assert set(asking.body_parts(STUDY)) == {"CHEST"}
    assert pacs.asked[-1].QueryRetrieveLevel == "SERIES" and pacs.asked[-1].StudyInstanceUID == STUDY
    for one in pacs.held:
        del one.BodyPartExamined
    assert asking.body_parts(STUDY) == []


@pytest.mark.parametrize(("classes", "contexts"), [(1, 45), (2, 90), (7, 112), (8, 8), (200, 127)])
def test_contexts_for_c_get_fit_and_name_every_syntax_that_they_can(classes, contexts):
    kinds = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(classes)]
    made = _storage_contexts(kinds)
    assert len(made) == contexts < CONTEXTS
    offered = {str(syntax) for context in made for syntax in context.transfer_syntax}
    assert offered == set(EVERY_SYNTAX if classes <= 2 else SYNTAXES)
