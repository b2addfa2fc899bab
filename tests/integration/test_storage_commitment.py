"""Storage commitment as SCP (PS3.4 annex J), with pynetdicom as the modality that wants to be sure."""

import queue
import signal
import socket
import threading
from contextlib import contextmanager
from pathlib import PurePosixPath

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from structlog.testing import capture_logs

from dicom_listener import Door
from hoichan.adapters.associations import Checkpoint
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.settings import Listener, Sender
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, film
from tests.integration.test_listener import DEADLINE_SECONDS, Process, association, send, wait_for

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
CONTEXTS = [
    build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE),
    build_context(COMMITMENT, [IMPLICIT_LITTLE]),
]
COMPUTED_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.2"
COMMITMENTS = PurePosixPath("commitments")


def request(*references, transaction="1.2.3.4.5"):
    data_set = Dataset()
    data_set.TransactionUID = transaction
    data_set.ReferencedSOPSequence = []
    for sop_class, uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        data_set.ReferencedSOPSequence.append(item)
    return data_set


def told(event):
    """Event type, transaction, the safe ones, and the others with their reason."""
    information = event.event_information
    return (
        event.event_type,
        information.TransactionUID,
        [item.ReferencedSOPInstanceUID for item in information.get("ReferencedSOPSequence", [])],
        {i.ReferencedSOPInstanceUID: i.FailureReason for i in information.get("FailedSOPSequence", [])},
    )


class Hearing:
    """Hears reports; `heard` has one only when our answer to it is out, so that the association may end."""

    def __init__(self, status=0x0000):
        self.heard = queue.Queue()
        self._status, self._unanswered = status, queue.Queue()
        self.handlers = [(evt.EVT_N_EVENT_REPORT, self._hear), (evt.EVT_PDU_SENT, self._sent)]

    def _hear(self, event):
        self._unanswered.put(told(event))
        return self._status, None

    def _sent(self, event):
        if isinstance(event.pdu, P_DATA_TF) and not self._unanswered.empty():
            self.heard.put(self._unanswered.get())


class Requester(Hearing):
    """A modality that hears reports on a port of its own."""

    @contextmanager
    def listening(self, port=0):
        entity = AE(ae_title="CR_ROOM1")
        entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
        server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=self.handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


class Curious(Requester):
    """Asks something else before it answers its first report."""

    then = None

    def _hear(self, event):
        answer = super()._hear(event)
        then, self.then = self.then, None
        if then is not None:
            then()
        return answer


def sender(**settings):
    return (Sender(ae_title="CR_ROOM1", host="127.0.0.1", **settings),)


@contextmanager
def opened(spool, **settings):
    door = Door(spool, Listener(port=0, commitment_retry_seconds=0.1, **settings))
    try:
        yield door.open()
    finally:
        door.close()


def ask(made, data_set, *, action=1, instance=INSTANCE):
    status, _ = made.send_n_action(data_set, action, COMMITMENT, instance)
    return status.Status


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(params=["fake", "disk"])
def spool(request, tmp_path):
    if request.param == "disk":
        yield DiskSpool(tmp_path / "spool")
        return
    fake = FakeSpool()
    yield fake
    fake.close()


def test_what_is_filed_is_committed_on_a_new_association(spool):
    requester = Requester()
    with requester.listening() as hears, opened(spool, senders=sender(commitment_port=hears)) as port:
        with association(port, contexts=CONTEXTS) as made:
            send(made, film())
            assert ask(made, request((COMPUTED_RADIOGRAPHY, film().SOPInstanceUID))) == 0x0000
        assert requester.heard.get(timeout=DEADLINE_SECONDS) == (1, "1.2.3.4.5", [film().SOPInstanceUID], {})
        wait_for(lambda: spool.notes.names(COMMITMENTS) == [])


def test_what_just_came_is_not_looked_for_in_every_study(spool):
    requester, asked, locate = Requester(), [], spool.locate
    spool.locate = lambda instances, among=None: asked.append(among) or locate(instances, among)
    here = (COMPUTED_RADIOGRAPHY, film().SOPInstanceUID)
    with requester.listening() as hears, opened(spool, senders=sender(commitment_port=hears)) as port:
        with association(port, contexts=CONTEXTS) as made:
            send(made, film())
            ask(made, request(here))
        assert requester.heard.get(timeout=60)[0] == 1
        assert asked == [{film().StudyInstanceUID}]
        wait_for(lambda: spool.notes.names(COMMITMENTS) == [])
        with association(port, contexts=CONTEXTS) as made:
            ask(made, request(here, (COMPUTED_RADIOGRAPHY, "1.9.9"), transaction="1.2.3.4.6"))
        _, _, safe, failed = requester.heard.get(timeout=60)
        assert (safe, failed) == ([film().SOPInstanceUID], {"1.9.9": 0x0112})
        assert asked[1:] == [{film().StudyInstanceUID}, None]
        wait_for(lambda: spool.notes.names(COMMITMENTS) == [])


def test_what_is_not_filed_is_named_with_its_reason(spool):
    requester = Requester()
    other = film(instance="2")
    with requester.listening() as hears, opened(spool, senders=sender(commitment_port=hears)) as port:
        with association(port, contexts=CONTEXTS) as made:
            for data_set in (film(), other):
                send(made, data_set)
            ask(
                made,
                request(
                    (COMPUTED_RADIOGRAPHY, film().SOPInstanceUID),
                    (COMPUTED_RADIOGRAPHY, "1.9.9"),
                    (COMPUTED_TOMOGRAPHY, other.SOPInstanceUID),
                ),
            )
        assert requester.heard.get(timeout=DEADLINE_SECONDS) == (
            2,
            "1.2.3.4.5",
            [film().SOPInstanceUID],
            {"1.9.9": 0x0112, other.SOPInstanceUID: 0x0119},
        )


def test_without_a_port_the_report_comes_on_the_same_association_while_it_is_used():
    spool, hearing = FakeSpool(), Hearing()
    with (
        opened(spool, senders=sender()) as port,
        association(port, contexts=CONTEXTS, more_handlers=hearing.handlers) as made,
    ):
        for number in range(5):
            data_set = film(instance=str(number))
            assert send(made, data_set).Status == 0x0000
            asked = request(
                (COMPUTED_RADIOGRAPHY, data_set.SOPInstanceUID), transaction=f"1.2.3.{number + 1}"
            )
            assert ask(made, asked) == 0x0000
            assert hearing.heard.get(timeout=DEADLINE_SECONDS)[1] == f"1.2.3.{number + 1}"
        wait_for(lambda: spool.notes.names(COMMITMENTS) == [])


def test_whoever_reports_on_the_same_association_gets_the_answer():
    """Not the reactor: the report would be thought unheard, and the association aborted."""
    with opened(FakeSpool(), senders=sender()) as port, association(port, contexts=CONTEXTS):
        running = [one for one in threading.enumerate() if isinstance(one, Association) and one.is_acceptor]
        (ours,) = [one for one in running if one.acceptor.port == port]
        assert isinstance(ours._reactor_checkpoint, Checkpoint)


def test_a_requester_that_went_hears_it_when_it_comes_back():
    spool, hearing = FakeSpool(), Hearing()
    with opened(spool, senders=sender()) as port:
        with association(port, contexts=CONTEXTS) as made:
            assert ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9"))) == 0x0000
            made.abort()
        with association(port, contexts=CONTEXTS[1:], more_handlers=hearing.handlers):
            assert hearing.heard.get(timeout=DEADLINE_SECONDS) == (2, "1.2.3.4.5", [], {"1.9.9": 0x0112})
            wait_for(lambda: spool.notes.names(COMMITMENTS) == [])  # our answer is out: now we may leave


def test_a_requester_that_is_slow_to_take_our_acceptance_in_hears_it_all_the_same():
    spool, hearing = FakeSpool(), Hearing()
    with opened(spool, senders=sender()) as port:
        with association(port, contexts=CONTEXTS) as made:
            assert ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9"))) == 0x0000
            made.abort()
        slow = (evt.EVT_ACSE_RECV, lambda event: threading.Event().wait(0.1))
        with association(port, contexts=CONTEXTS[1:], more_handlers=[slow, *hearing.handlers]):
            assert hearing.heard.get(timeout=DEADLINE_SECONDS)[1] == "1.2.3.4.5"


def test_a_requester_that_is_down_is_told_later_also_after_a_restart(tmp_path):
    spool, hears = DiskSpool(tmp_path), free_port()
    settings = sender(commitment_port=hears)
    with opened(spool, senders=settings) as port, capture_logs() as lines:
        with association(port, contexts=CONTEXTS) as made:
            send(made, film())
            ask(made, request((COMPUTED_RADIOGRAPHY, film().SOPInstanceUID)))
        wait_for(lambda: [line["event"] for line in lines].count("commitment_postponed") >= 2)
    requester = Requester()
    with requester.listening(hears), opened(DiskSpool(tmp_path), senders=settings):
        assert requester.heard.get(timeout=DEADLINE_SECONDS)[2] == [film().SOPInstanceUID]
        wait_for(lambda: spool.notes.names(COMMITMENTS) == [])


def test_a_request_survives_kill_9(tmp_path):
    requester, hears = Requester(), free_port()
    more = (
        "commitment_retry_seconds = 0.2\n[[listener.senders]]\n"
        f'ae_title = "CR_ROOM1"\nhost = "127.0.0.1"\ncommitment_port = {hears}\n'
    )
    first = Process(tmp_path, more=more)
    try:
        with association(first.port, contexts=CONTEXTS) as made:
            send(made, film())
            assert ask(made, request((COMPUTED_RADIOGRAPHY, film().SOPInstanceUID))) == 0x0000
            first.end(signal.SIGKILL)
    finally:
        first.end(signal.SIGKILL)
    second = Process(tmp_path, more=more)
    try:
        with requester.listening(hears):
            assert requester.heard.get(timeout=DEADLINE_SECONDS)[2] == [film().SOPInstanceUID]
    finally:
        second.end(signal.SIGTERM)


def test_a_note_that_nobody_understands_holds_no_other_back():
    spool, requester = FakeSpool(), Requester()
    spool.notes.write(COMMITMENTS / "00.json", {"of": "another version"})
    with requester.listening() as hears, opened(spool, senders=sender(commitment_port=hears)) as port:
        with association(port, contexts=CONTEXTS) as made:
            ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9")))
        assert requester.heard.get(timeout=DEADLINE_SECONDS)[0] == 2
    assert spool.notes.names(COMMITMENTS) == [COMMITMENTS / "00.json"]


def test_a_requester_that_cannot_take_it_now_is_told_again():
    requester = Requester(status=0x0213)
    with (
        requester.listening() as hears,
        opened(FakeSpool(), senders=sender(commitment_port=hears)) as port,
        association(port, contexts=CONTEXTS) as made,
    ):
        ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9")))
        for _ in range(2):
            assert requester.heard.get(timeout=DEADLINE_SECONDS)[0] == 2


def test_what_is_asked_while_something_else_is_reported_is_reported_soon():
    requester = Curious()
    with requester.listening() as hears, opened(FakeSpool(), senders=sender(commitment_port=hears)) as port:

        def then():
            with association(port, contexts=CONTEXTS) as other:
                assert ask(other, request((COMPUTED_RADIOGRAPHY, "1.9.8"), transaction="1.2.3.4.6")) == 0x0000

        requester.then = then
        with association(port, contexts=CONTEXTS) as made:
            assert ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9"))) == 0x0000
        told_of = [requester.heard.get(timeout=DEADLINE_SECONDS)[1] for _ in range(2)]
    assert told_of == ["1.2.3.4.5", "1.2.3.4.6"]


def test_the_request_is_on_disk_before_it_is_answered():
    spool = FakeSpool()
    with opened(spool, senders=sender()) as port, association(port, contexts=CONTEXTS) as made:
        spool.notes.full = True
        assert ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9"))) == 0x0213
        spool.notes.full = False
        assert ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9"))) == 0x0000
        (name,) = spool.notes.names(COMMITMENTS)
        assert spool.notes.read(name)["transaction_uid"] == "1.2.3.4.5"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("data_set", "options", "status"),
    [
        (request((COMPUTED_RADIOGRAPHY, "1.9.9")), {"action": 2}, 0x0123),
        (request((COMPUTED_RADIOGRAPHY, "1.9.9")), {"instance": "1.2.3"}, 0x0112),
        (request(), {}, 0x0115),
        (request((COMPUTED_RADIOGRAPHY, "")), {}, 0x0115),
        (request((COMPUTED_RADIOGRAPHY, "1.9.9"), transaction=""), {}, 0x0115),
    ],
    ids=["action", "instance", "no reference", "empty reference", "no transaction"],
)
def test_what_is_not_a_request_is_refused(data_set, options, status):
    with opened(FakeSpool()) as port, association(port, contexts=CONTEXTS) as made:
        assert ask(made, data_set, **options) == status


def test_a_large_request_is_taken_whole():
    requester = Requester()
    wanted = [(COMPUTED_RADIOGRAPHY, f"1.2.3.{number}") for number in range(3000)]
    with requester.listening() as hears, opened(FakeSpool(), senders=sender(commitment_port=hears)) as port:
        with association(port, contexts=CONTEXTS) as made:
            assert ask(made, request(*wanted)) == 0x0000
        assert len(requester.heard.get(timeout=DEADLINE_SECONDS)[3]) == 3000


def test_a_busy_association_loses_nothing_to_a_report():
    spool, heard = FakeSpool(), queue.Queue()
    slow = threading.Event()

    def hear(event):
        heard.put(told(event))
        slow.wait(0.2)
        return 0x0000, None

    with (
        opened(spool, senders=sender()) as port,
        association(port, contexts=CONTEXTS, more_handlers=[(evt.EVT_N_EVENT_REPORT, hear)]) as made,
    ):
        assert ask(made, request((COMPUTED_RADIOGRAPHY, "1.9.9"))) == 0x0000
        heard.get(timeout=DEADLINE_SECONDS)
        assert [send(made, film(instance=str(number))).Status for number in range(3)] == [0x0000] * 3
        wait_for(lambda: spool.notes.names(COMMITMENTS) == [])
