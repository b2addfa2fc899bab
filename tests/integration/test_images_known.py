"""A PACS that answers no C-FIND gets a report once its images are known to be there by something else."""

from contextlib import ExitStack, contextmanager
from datetime import timedelta
from io import BytesIO

import pytest
from pydicom import dcmread

from dicom_listener import Door
from hoichan.adapters.commitment_dimse import CommitmentScu
from hoichan.adapters.commitments_sql import CommitmentsSql
from hoichan.adapters.database import open_database
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.forwards_sql import CLOSED, ForwardsSql, Revision
from hoichan.adapters.images_awaited import ImagesAwaited
from hoichan.adapters.images_known import ImagesKnown
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.encoding.images import SC_IMAGE_STORAGE
from hoichan.intake.commitments import expected, reports
from hoichan.intake.dataset import read_spooled
from hoichan.intake.evidence import Notice, Source, StepState, keep
from hoichan.intake.files import take_in
from hoichan.reporting.deliveries import plan
from hoichan.reporting.forwarding import Errand, ForwardState, Told
from hoichan.settings import Listener, Settings
from hoichan.testing import a_film, a_report, as_bytes
from hoichan.testing.database import migrated
from hoichan.testing.house import wait_until
from hoichan.testing.ports import FakeClock
from hoichan.types import DeliveryState
from service.commitments import Committer
from service.images import ImagesCame
from service.outbox import Outbox
from tests.integration.test_commitment_scu import Pacs, all_safe

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
FILM = a_film("known")
UID = str(FILM.SOPInstanceUID)


class Site:
    """One film with a report, and its delivery to a PACS that answers no questions."""

    def __init__(self, folder, pacs, *, sender="CR_ROOM1", wait_seconds=5.0):
        self.settings = Settings.model_validate(
            {
                "storage": {"data_dir": folder / "data"},
                "destinations": [
                    {
                        "name": "pacs",
                        "kind": "dicom",
                        "host": "127.0.0.1",
                        "port": pacs.port,
                        "ae_title": "PACS",
                    }
                ],
            }
        )
        (to,) = self.settings.destinations
        self.pacs, self.clock, self.seconds = pacs, FakeClock(), 0.0
        self.engine = open_database(self.settings.storage.database_url)
        migrated(self.engine)
        self.spool = DiskSpool(folder / "spool")
        self.studies = StudiesSql(self.engine, ObjectsDisk(folder / "objects"), self.clock)
        take_in(self.spool, as_bytes(FILM), calling_ae_title=sender)
        (spooled,) = self.spool.listing(FILM.StudyInstanceUID)
        study = read_spooled(self.spool, spooled, self.settings.site.zone)
        self.studies.add_arrivals(study, study.instances)
        self.study = self.studies.assemble(study)
        report = a_report(self.study)
        documents = DocumentEncoder(self.spool, self.settings).encode(self.study, report)
        (delivery,) = plan(report, self.study, [to], documents, self.clock.now())
        self.studies.save(self.study, report=report, documents=documents, deliveries=[delivery])
        self.key = delivery.idempotency_key
        self.known = ImagesKnown(
            to,
            engine=self.engine,
            studies=self.studies,
            spool=self.spool,
            clock=self.clock,
            nameless=["research"],
            titles=["PACS"],
            scu=CommitmentScu(to, "HOICHAN", wait_seconds=wait_seconds),
        )
        sink = DimseSink(to, "HOICHAN", knowledge=self.known, monotonic=lambda: self.seconds)
        self.outbox = Outbox(self.studies, {"pacs": sink}, self.clock, self.settings.work)
        self.came = ImagesCame(
            ImagesAwaited(self.engine),
            self.studies,
            {"pacs": sink},
            self.clock,
            monotonic=lambda: self.seconds,
        )
        self.committer = Committer(
            CommitmentsSql(self.engine),
            self.studies,
            self.spool,
            self.clock,
            destinations=[],
            pacs={},
            sinks={"pacs": sink},
        )

    def attempt(self):
        """The next try, when its time has come; where the delivery stands then."""
        self.pass_time(max(0.0, (self.delivery.next_attempt_at - self.clock.now()).total_seconds()))
        self.outbox.deliver(self.key)
        return self.delivery.state, self.delivery.acknowledgement

    def pass_time(self, seconds):
        self.clock.advance(seconds)
        self.seconds += seconds

    @property
    def delivery(self):
        return self.studies.delivery(self.key)

    def trail(self, *events):
        return [
            (line.event, line.details.get("by"))
            for line in self.studies.trail(self.study.study_instance_uid)
            if line.event in events
        ]

    def forward(self, rule, state):
        """The film is brought there by a rule."""
        instance = self.study.instances[0]
        errand = Errand(
            rule=rule,
            destination="pacs",
            study_instance_uid=self.study.study_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            path=str(instance.path),
        )
        rows = ForwardsSql(self.engine, self.clock)
        revision = Revision(study=self.study.study_instance_uid, revision=1, answer=None)
        rows.plan(rule, revision, CLOSED, [errand])
        rows.settle([Told(errand=errand, state=state, detail="0x0000")], {0: timedelta()})


@contextmanager
def opened(folder, *, door=False, **site):
    with ExitStack() as stack:
        pacs = Pacs(contexts=(SC_IMAGE_STORAGE, COMPREHENSIVE_3D_SR))
        stack.callback(pacs.close)
        made = Site(folder, pacs, wait_seconds=0.0 if door else 5.0, **site)
        stack.callback(made.engine.dispose)
        if door:
            listening = Door(made.spool, Listener(port=0))
            pacs.reports_to = listening.open()
            stack.callback(listening.close)
        yield made


WAITS = (DeliveryState.PENDING, "images_not_known")
SENT = (DeliveryState.SENT, "0x0000")
DEAD = (DeliveryState.DEAD, "images_not_known")


def wait_until_dead(site):
    for _ in range(30):
        if site.attempt() == DEAD:
            return
    raise AssertionError(site.delivery)


def test_what_nobody_vouches_for_is_a_dead_letter_and_goes_when_it_was_forwarded(tmp_path):
    with opened(tmp_path) as site:
        site.pacs.status = 0x0122  # it gives no promise either
        assert site.attempt() == WAITS
        wait_until_dead(site)
        assert site.came.step() == 0
        site.forward("research", ForwardState.SENT)  # without its names, under another UID
        site.forward("broken", ForwardState.DEAD)
        site.pass_time(3600)
        assert site.came.step() == 0
        site.forward("all", ForwardState.SENT)
        assert site.came.step() == 0  # asked a moment ago
        site.pass_time(3600)
        assert site.came.step() == 1 and site.came.step() == 0
        assert site.attempt() == SENT
        assert site.trail("images_came", "images_known") == [
            ("images_known", "brought"),
            ("images_came", None),
        ]


def test_what_came_from_the_pacs_itself_is_there(tmp_path):
    with opened(tmp_path, sender="PACS") as site:
        assert site.attempt() == SENT
        assert not site.pacs.asked
        assert site.trail("images_known") == [("images_known", "brought")]


def test_what_an_image_manager_says_to_have_there_is_there(tmp_path):
    with opened(tmp_path) as site:
        site.pacs.status = 0x0122
        for number, title in enumerate(("OTHER", "PACS")):
            assert site.attempt() == WAITS
            notice = Notice(
                uid=f"1.2.3.{number}",
                source=Source.IAN,
                state=StepState.COMPLETED,
                studies=(site.study.study_instance_uid,),
                instances=frozenset([UID]),
                retrieve_from={title: frozenset([UID])},
            )
            keep(site.spool, notice)
        assert site.attempt() == SENT


def test_a_pacs_may_promise_at_once(tmp_path):
    with opened(tmp_path) as site:
        assert site.attempt() == WAITS
        assert site.pacs.asked[0][1] in ([UID], UID)
        site.pacs.held.add(UID)
        assert site.attempt() == SENT
        assert len(site.pacs.asked) == 2 and not expected(site.spool.notes)
        assert site.trail("images_known") == [("images_known", "commitment")]


@pytest.mark.parametrize("given_up", [False, True])
def test_a_promise_that_comes_to_the_door_lets_the_report_go(tmp_path, given_up):
    with opened(tmp_path, door=True) as site:
        site.pacs.reports = False
        assert site.attempt() == WAITS
        ((transaction, _),) = site.pacs.asked
        assert expected(site.spool.notes) == {transaction}
        if given_up:
            wait_until_dead(site)
        assert len(site.pacs.asked) == 1  # an answer is awaited
        promise(site, transaction)
        assert site.committer.hear() == 1
        assert (
            site.delivery.state is DeliveryState.PENDING and site.delivery.next_attempt_at == site.clock.now()
        )
        assert site.attempt() == SENT
        assert not expected(site.spool.notes) and len(site.pacs.asked) == 1
        assert site.trail("images_came", "images_known") == [
            ("images_came", None),
            ("images_known", "commitment"),
        ]


def test_a_promise_of_something_else_lets_nothing_go(tmp_path):
    with opened(tmp_path, door=True) as site:
        site.pacs.reports = False
        site.attempt()
        ((transaction, _),) = site.pacs.asked
        promise(site, transaction, uid="1.2.3")
        assert site.committer.hear() == 1
        assert site.attempt() == WAITS
        assert len(site.pacs.asked) == 2


def promise(site, transaction, uid=UID):
    site.pacs.tell(all_safe(transaction, [uid]), 1)
    wait_until(lambda: reports(site.spool.notes), seconds=60, what="the report at our door")


def test_what_corrects_a_report_that_is_there_follows_it(tmp_path):
    with opened(tmp_path, sender="PACS") as site:
        assert site.attempt() == SENT
        site.studies.revive(site.key, even_sent=True)
        known = ImagesKnown(
            site.settings.destinations[0],
            engine=site.engine,
            studies=site.studies,
            spool=site.spool,
            clock=site.clock,
        )
        assert not known.spoken_of(site.delivery)  # not there any more by our record
        assert site.attempt() == SENT
        spoken_of = known.spoken_of(site.delivery)
        assert UID in spoken_of
        sent = [dcmread(BytesIO(one.content)).SOPInstanceUID for one in site.studies.documents(site.delivery)]
        assert set(sent) <= set(spoken_of)
