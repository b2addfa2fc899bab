"""We ask a PACS for storage commitment; pynetdicom is the PACS, our door hears what it says later."""

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_RELEASE, P_DATA

from dicom_listener import Door
from hoichan.adapters.associations import associate, hold_reactor, release
from hoichan.adapters.commitment_dimse import CommitmentScu
from hoichan.adapters.commitments_sql import CommitmentsSql
from hoichan.adapters.database import open_database
from hoichan.adapters.objects_disk import ObjectsDisk
from hoichan.adapters.records_sql import StudiesSql
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.commitments import SOP_CLASS, SOP_INSTANCE, expected_from, reports
from hoichan.intake.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.reporting.deliveries import SR_FORMS, plan
from hoichan.reporting.reports import compose
from hoichan.settings import Listener, Settings
from hoichan.testing.database import migrated
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, described, film
from hoichan.testing.house import free_ports, wait_until
from hoichan.testing.ports import FakeClock
from hoichan.types import Document, DocumentKind
from service.commitments import Committer
from service.outbox import Outbox
from service.wiring import committer, open_house
from service.wiring_receivers import pacs as pacs_of
from service.wiring_receivers import sinks

DEADLINE_SECONDS = 60


class Pacs:
    """Holds what it gets, forgets what it is told to, and reports as it is told to."""

    def __init__(self, port=0, contexts=()):
        self.held, self.asked = set(), []
        self.forgets, self.forgetful = set(), False
        self.reports_to = None  # a door's port; None: on the same association
        self.reports, self.answers = True, []
        self.status = 0x0000  # of the N-ACTION
        self._made = threading.Semaphore(0)
        entity = AE(ae_title="PACS")
        entity.add_supported_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)
        entity.add_supported_context(SOP_CLASS)
        for context in contexts:
            entity.add_supported_context(context, EXPLICIT_LITTLE)
        self._server = entity.start_server(
            ("127.0.0.1", port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_ACTION, self._action),
                (evt.EVT_ESTABLISHED, lambda event: hold_reactor(event.assoc)),
            ],
        )
        self.port = self._server.server_address[1]
        self._threads = []

    def close(self):
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)

    def _store(self, event):
        self.held.add(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _action(self, event):
        question = event.action_information
        uids = [item.ReferencedSOPInstanceUID for item in question.ReferencedSOPSequence]
        self.asked.append((str(question.TransactionUID), uids))
        if self.status == 0x0000 and self.reports:
            thread = threading.Thread(target=self._report, args=(event.assoc, question))
            self._threads.append(thread)
            thread.start()
        return self.status, None

    def _report(self, association, question):
        safe, failed = [], []
        if self.forgetful:
            self.held.clear()
        self.held -= self.forgets
        self.forgets = set()
        for asked in question.ReferencedSOPSequence:
            item = Dataset()
            item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
            item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
            if asked.ReferencedSOPInstanceUID in self.held:
                safe.append(item)
            else:
                item.FailureReason = 0x0112
                failed.append(item)
        report = Dataset()
        report.TransactionUID = question.TransactionUID
        if safe:
            report.ReferencedSOPSequence = safe
        if failed:
            report.FailedSOPSequence = failed
        self.tell(report, 2 if failed else 1, association)

    def tell(self, report, event_type, association=None, title="PACS"):
        if self.reports_to is None:
            status, _ = association.send_n_event_report(report, event_type, SOP_CLASS, SOP_INSTANCE)
        else:
            entity = AE(ae_title=title)
            entity.add_requested_context(SOP_CLASS, IMPLICIT_LITTLE)
            made = associate(
                entity, "127.0.0.1", self.reports_to, ext_neg=[build_role(SOP_CLASS, scp_role=True)]
            )
            assert made.is_established
            try:
                status, _ = made.send_n_event_report(report, event_type, SOP_CLASS, SOP_INSTANCE)
            finally:
                release(made)
        self.answers.append(status.Status)


class Site:
    """Records, outbox and committer over real stores, and a door."""

    def __init__(self, folder, pacs, *, wait_seconds, **destination):
        self.wait_seconds = wait_seconds
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
                        "commitment": True,
                        **destination,
                    }
                ],
            }
        )
        self.clock = FakeClock()
        self.engine = open_database(self.settings.storage.database_url)
        migrated(self.engine)
        objects = ObjectsDisk(folder / "objects")
        self.spool = DiskSpool(folder / "spool")
        self.studies = StudiesSql(self.engine, objects, self.clock)
        self.record = CommitmentsSql(self.engine)
        self.committer = self.restarted()

    def restarted(self):
        """As a new process would have it; reports come to the door here, or at once."""
        destinations = self.settings.destinations
        scu = CommitmentScu(destinations[0], "HOICHAN", wait_seconds=self.wait_seconds)
        return Committer(
            self.record,
            self.studies,
            self.spool,
            self.clock,
            destinations=destinations,
            pacs={"pacs": scu},
            sinks=sinks(self.settings),
        )

    def deliver(self, kinds=(DocumentKind.SC, DocumentKind.SR)):
        """A report of these documents, and its delivery; the study's UID."""
        study = described(film())
        self.studies.add_arrivals(study, study.instances)
        study = self.studies.assemble(replace(study, closed_by="quiet_time"))
        report = compose(
            study,
            results=(),
            findings=(),
            refusals=(),
            manifests=(),
            predecessor=None,
            now=self.clock.now(),
        )
        documents = [_document(kind) for kind in kinds]
        deliveries = plan(report, study, self.settings.destinations, documents, self.clock.now())
        self.studies.save(study, report=report, documents=documents, deliveries=deliveries)
        outbox = Outbox(self.studies, sinks(self.settings), self.clock, self.settings.work)
        (delivery,) = self.studies.due(self.clock.now())
        outbox.deliver(delivery.idempotency_key)
        return study.study_instance_uid

    def events(self, study):
        return [e.event for e in self.studies.trail(study) if e.event.startswith("commitment")]

    def committed(self, study):
        (delivery,) = self.studies.deliveries(study)
        return delivery.committed_at

    def hear(self, count=1):
        wait_until(lambda: len(reports(self.spool.notes)) >= count, seconds=DEADLINE_SECONDS, what="a report")


class Interrupted(CommitmentsSql):
    """Where something happens between the decision to ask and the line that says so."""

    meanwhile = None

    def open(self, question):
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        return super().open(question)


def _document(kind):
    data_set = film(instance=kind)
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return Document(
        kind=kind,
        uid=data_set.SOPInstanceUID,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        media_type="application/dicom",
        content=buffer.getvalue(),
    )


@contextmanager
def opened(folder, *, door=False, **destination):
    with ExitStack() as stack:
        pacs = Pacs()
        stack.callback(pacs.close)
        site = Site(folder, pacs, wait_seconds=0.0 if door else 5.0, **destination)
        stack.callback(site.engine.dispose)
        if door:
            listening = Door(site.spool, Listener(port=0))
            pacs.reports_to = listening.open()
            stack.callback(listening.close)
        yield site, pacs


@pytest.mark.parametrize("door", [False, True], ids=["same association", "new association"])
def test_what_the_pacs_holds_is_committed(tmp_path, door):
    with opened(tmp_path, door=door) as (site, pacs):
        study = site.deliver()
        assert site.committed(study) is None
        site.committer.step()
        site.hear()
        site.committer.step()
        assert site.committed(study) == site.clock.now()
        assert site.events(study) == ["commitment_asked", "commitment_given"]
        ((transaction, uids),) = pacs.asked
        assert set(uids) == pacs.held and len(uids) == 2
        assert expected_from(site.spool.notes, transaction) is None
        site.clock.advance(100_000)
        assert site.committer.step() == 0 and len(pacs.asked) == 1


def test_the_association_ends_after_our_answer_is_out(tmp_path, monkeypatch):
    ends, queue = threading.Event(), DULServiceProvider.send_pdu

    def ours_goes_late(dul, primitive):
        if dul.assoc.is_requestor and isinstance(primitive, P_DATA) and answers(primitive):
            ends.wait(0.5)  # what must not come
        queue(dul, primitive)
        if dul.assoc.is_requestor and isinstance(primitive, A_RELEASE):
            ends.set()

    monkeypatch.setattr(DULServiceProvider, "send_pdu", ours_goes_late)
    with opened(tmp_path) as (site, pacs):
        study = site.deliver()
        ends.clear()
        site.committer.step()
        wait_until(lambda: pacs.answers, seconds=60, what="our answer to the report")
        assert pacs.answers == [0x0000]
        site.committer.step()
        assert site.committed(study) == site.clock.now()


def answers(primitive):
    """Whether P-DATA carry an N-EVENT-REPORT-RSP (PS3.7 E.1: 8100H)."""
    return any(
        b"\x00\x00\x00\x01\x02\x00\x00\x00\x00\x81" in data
        for _, data in primitive.presentation_data_value_list
    )


@pytest.mark.parametrize("forgets", [False, True])
def test_one_form_of_the_sr_is_enough(tmp_path, forgets):
    with opened(tmp_path, door=True) as (site, pacs):
        study = site.deliver((DocumentKind.SC, *SR_FORMS))
        sent = set(pacs.held)
        assert len(sent) == 2
        pacs.forgetful = forgets
        for _ in range(2 if forgets else 1):
            site.committer.step()
            site.hear()
            pacs.forgetful = False
        site.committer.step()
        assert site.committed(study) is not None
        assert pacs.held == sent
        asked, given = len(pacs.asked), site.events(study).count("commitment_failed")
        assert (asked, given) == ((2, 1) if forgets else (1, 0))


def test_what_it_lost_is_sent_again_and_asked_again(tmp_path):
    with opened(tmp_path, door=True) as (site, pacs):
        study = site.deliver()
        pacs.forgets = {sorted(pacs.held)[0]}
        site.committer.step()
        site.hear()
        site.committer.step()  # sends the one, and asks about both
        assert len(pacs.held) == 2
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
        failed = next(e for e in site.studies.trail(study) if e.event == "commitment_failed").details
        assert (failed["instances"], failed["failed"], failed["reasons"]) == (2, 1, "0x0112")
        first, second = (transaction for transaction, _ in pacs.asked)
        assert first != second


def test_a_pacs_that_keeps_losing_it_is_given_up(tmp_path):
    with opened(tmp_path, door=True) as (site, pacs):
        study = site.deliver()
        pacs.forgetful = True
        for _ in range(4):
            site.committer.step()
            site.hear()
        site.committer.step()
        assert site.events(study)[-1] == "commitment_given_up"
        assert site.events(study).count("commitment_resent") == 3
        site.clock.advance(100_000)
        assert site.committer.step() == 0
        assert site.committed(study) is None


def test_silence_is_asked_again_with_growing_pauses_and_a_late_answer_counts(tmp_path):
    with opened(tmp_path, door=True, commitment_wait_seconds=60) as (site, pacs):
        pacs.reports = False
        study = site.deliver()
        for seconds, asked in ((0, 1), (59, 1), (2, 2), (61, 2), (60, 3)):
            site.clock.advance(seconds)
            site.committer.step()
            assert len(pacs.asked) == asked
        transaction, uids = pacs.asked[0]
        pacs.tell(all_safe(transaction, uids), 1)
        assert pacs.answers == [0x0000]
        site.committer.step()
        assert site.committed(study) is not None


def test_a_report_that_comes_to_another_machine_counts(tmp_path):
    with opened(tmp_path, door=True) as (site, pacs):
        pacs.reports = False
        study = site.deliver()
        site.committer.step()
        ((transaction, uids),) = pacs.asked
        mine, site.spool = site.spool, DiskSpool(tmp_path / "elsewhere")
        elsewhere = site.restarted()
        other = Door(site.spool, Listener(port=0))
        pacs.reports_to = other.open()
        try:
            assert elsewhere.hear() == 0  # now that door knows what was asked
            pacs.tell(all_safe(transaction, uids), 1)
            assert pacs.answers == [0x0000]
            assert elsewhere.hear() == 1
        finally:
            other.close()
        assert site.committed(study) is not None
        assert expected_from(site.spool.notes, transaction) is None
        assert site.committer.hear() == 0 and expected_from(mine.notes, transaction) is None


def all_safe(transaction, uids):
    report = Dataset()
    report.TransactionUID, report.ReferencedSOPSequence = transaction, []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = COMPUTED_RADIOGRAPHY, uid
        report.ReferencedSOPSequence.append(item)
    return report


def test_silence_of_a_week_is_given_up(tmp_path):
    with opened(tmp_path, commitment_wait_seconds=60) as (site, pacs):
        pacs.status = 0x0122  # SOP class not supported
        study = site.deliver()
        for _ in range(20):
            site.committer.step()
            site.clock.advance(86_400)
        assert site.events(study) == ["commitment_given_up"]
        assert 7 <= len(pacs.asked) <= 20


def test_two_that_lead_for_a_moment_ask_once_and_send_what_is_missing_once(tmp_path):
    with opened(tmp_path, door=True) as (site, pacs):
        site.record = Interrupted(site.engine)
        one, other = site.restarted(), site.restarted()
        study = site.deliver()
        pacs.forgets = {sorted(pacs.held)[0]}
        site.record.meanwhile = other.step
        one.step()
        assert len(pacs.asked) == 1
        site.hear()
        site.record.meanwhile = other.step
        one.step()
        assert (len(pacs.asked), len(pacs.held)) == (2, 2)
        site.hear()
        one.step()
        assert site.committed(study) is not None
        told = site.events(study)
        assert (told.count("commitment_asked"), told.count("commitment_resent")) == (2, 1)


def test_a_question_survives_a_restart_and_a_pacs_that_is_down(tmp_path):
    with opened(tmp_path, door=True) as (site, pacs):
        study = site.deliver()
        held, port = pacs.held, pacs.port
        pacs.close()
        site.committer.step()
        assert site.events(study) == []
        again = Pacs(port)
        again.held, again.reports_to = held, pacs.reports_to
        try:
            site.clock.advance(601)
            site.committer = site.restarted()
            site.committer.step()
            site.hear()
            site.committer = site.restarted()
            site.committer.step()
        finally:
            again.close()
        assert site.committed(study) is not None


def test_the_door_takes_reports_on_our_own_questions_only_and_only_from_who_was_asked(tmp_path):
    with opened(tmp_path, door=True) as (site, pacs):
        pacs.reports = False
        site.deliver()
        site.committer.step()
        ((transaction, uids),) = pacs.asked
        report = Dataset()
        report.ReferencedSOPSequence = [Dataset()]
        report.ReferencedSOPSequence[0].ReferencedSOPClassUID = COMPUTED_RADIOGRAPHY
        report.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = uids[0]
        for title, uid in (("PACS", "1.2.3.4"), ("OTHER", transaction), ("PACS", transaction)):
            report.TransactionUID = uid
            pacs.tell(report, 1, title=title)
        assert pacs.answers == [0x0115, 0x0115, 0x0000]
        assert len(reports(site.spool.notes)) == 1


def test_only_destinations_that_want_it_are_asked(tmp_path):
    pacs = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 1, "ae_title": "PACS"}
    for wanted in (False, True):
        destinations = [{**pacs, "commitment": wanted}, {**pacs, "name": "other"}]
        settings = Settings.model_validate(
            {"storage": {"data_dir": tmp_path / "data"}, "destinations": destinations}
        )
        house = open_house(settings)
        made = committer(house, sinks(settings))
        assert (made.step(), made.hear()) == (0, 0)
        assert set(pacs_of(settings)) == ({"pacs"} if wanted else set())
        house.engine.dispose()


def test_the_context_is_still_ours_to_serve(tmp_path):
    """Accepting the reversed role must not take the usual one away."""
    (port,) = free_ports(1)
    door = Door(DiskSpool(tmp_path), Listener(port=port))
    door.open()
    try:
        entity = AE(ae_title="CR_ROOM1")
        made = associate(entity, "127.0.0.1", port, contexts=[build_context(SOP_CLASS, IMPLICIT_LITTLE)])
        question = Dataset()
        question.TransactionUID = "1.2.3"
        question.ReferencedSOPSequence = [Dataset()]
        question.ReferencedSOPSequence[0].ReferencedSOPClassUID = COMPUTED_RADIOGRAPHY
        question.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"
        status, _ = made.send_n_action(question, 1, SOP_CLASS, SOP_INSTANCE)
        release(made)
        assert status.Status == 0x0000
    finally:
        door.close()
