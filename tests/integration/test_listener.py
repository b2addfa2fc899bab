"""The door with real associations, in this process and as a process of its own."""

import gc
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pynetdicom import AE, build_context, evt
from structlog.testing import capture_logs

from dicom_listener import Door
from hoichan.adapters.associations import associate, release
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import ConfigurationError, PortInUse
from hoichan.intake.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import read_meta
from hoichan.intake.priors import PriorNote, mark_prior, prior_note
from hoichan.settings import Listener, Sender
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, MARKER, encode, film, marked_film
from hoichan.testing.house import wait_until

DEADLINE_SECONDS = 60


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        pause.wait(0.01)


@contextmanager
def opened(spool, helpers=None, tally=None, **settings):
    door = Door(spool, Listener(port=0, **settings), tally, helpers)
    port = door.open()
    try:
        yield port
    finally:
        door.close()


@contextmanager
def association(port, title="CR_ROOM1", contexts=None, timeout=DEADLINE_SECONDS, more_handlers=(), **options):
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout
    sockets = []  # pynetdicom leaves its socket open when the other side hangs up first
    made = associate(
        entity,
        "127.0.0.1",
        port,
        contexts=contexts or [build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE)],
        evt_handlers=[
            (evt.EVT_CONN_OPEN, lambda event: sockets.append(event.assoc.dul.socket.socket)),
            *more_handlers,
        ],
        **options,
    )
    try:
        yield made
    finally:
        release(made)
        entity.shutdown()
        for each in sockets:
            each.close()


def send(made, data_set):
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    return made.send_c_store(data_set)


def test_echo():
    with (
        opened(FakeSpool()) as port,
        association(port, contexts=[build_context("1.2.840.10008.1.1")]) as made,
    ):
        assert made.send_c_echo().Status == 0x0000


def test_a_film_is_stored_as_it_came_and_the_study_is_open_until_release():
    spool = FakeSpool()
    study = film().StudyInstanceUID
    with opened(spool) as port:
        with association(port) as made:
            assert send(made, film()).Status == 0x0000
            assert spool.is_open(study)
            spool.take_fresh()
        wait_for(lambda: not spool.is_open(study))
        assert spool.take_fresh() == [study]
    (spooled,) = spool.listing(study)
    kept = spool.file(spooled.path).read_bytes()
    assert kept[read_meta(kept).offset :] == encode(film())
    assert spooled.calling_ae_title == "CR_ROOM1"
    spool.close()


@pytest.mark.parametrize("end", ["abort", "connection lost"])
def test_an_association_that_breaks_off_does_not_hold_the_study(end):
    spool = FakeSpool()
    with opened(spool) as port, association(port) as made:
        send(made, film())
        assert spool.is_open(film().StudyInstanceUID)
        if end == "abort":
            made.abort()
        else:
            made.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: not spool.is_open(film().StudyInstanceUID))


def test_every_storage_class_and_syntax_of_pynetdicom_is_accepted():
    from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts

    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    with opened(FakeSpool()) as port:
        for start in range(0, len(classes), 128):
            with association(
                port, contexts=[build_context(uid) for uid in classes[start : start + 128]]
            ) as made:
                assert len(made.accepted_contexts) == len(classes[start : start + 128])
        one_each = [build_context(COMPUTED_RADIOGRAPHY, uid) for uid in ALL_TRANSFER_SYNTAXES]
        with association(port, contexts=one_each) as made:
            assert {context.transfer_syntax[0] for context in made.accepted_contexts} == set(
                ALL_TRANSFER_SYNTAXES
            )


def test_an_earlier_study_that_a_modality_sends_is_to_be_judged():
    spool, one = FakeSpool(), film()
    with opened(spool) as port:
        with association(port) as made:
            assert send(made, one).Status == 0x0000
        wait_for(lambda: not spool.is_open(one.StudyInstanceUID))
        note = PriorNote(
            study_instance_uid=one.StudyInstanceUID,
            fetched_for="1.2.3",
            source="pacs",
            instances=frozenset({one.SOPInstanceUID}),
        )
        mark_prior(spool.notes, note)
        spool.take_fresh()
        with association(port) as made:  # whoever it came from may give it again
            assert send(made, film()).Status == 0x0000
        assert prior_note(spool.notes, one.StudyInstanceUID) is not None
        with association(port, title="OTHER") as made:
            assert send(made, film()).Status == 0x0000
        assert prior_note(spool.notes, one.StudyInstanceUID) is None
        assert spool.take_fresh() == [one.StudyInstanceUID]


def test_an_unknown_sender_gets_no_association():
    spool = FakeSpool()
    senders = (
        Sender(ae_title="CR_ROOM1", host="127.0.0.0/8"),
        Sender(ae_title="CR_ROOM2", host="10.0.0.0/8"),
    )
    with opened(spool, senders=senders) as port, capture_logs() as lines:
        for title in ("CR_ROOM2", "STRANGER"):
            with association(port, title) as made:
                assert made.is_rejected
        with association(port) as made:
            assert send(made, film()).Status == 0x0000
    refused = [line for line in lines if line["event"] == "association_rejected"]
    assert [line["calling_ae_title"] for line in refused] == ["CR_ROOM2", "STRANGER"]


def test_more_associations_than_allowed_are_rejected():
    with opened(FakeSpool(), maximum_associations=1) as port, association(port) as first:
        assert first.is_established
        with association(port) as second:
            assert second.is_rejected
        assert send(first, film()).Status == 0x0000


def test_an_idle_association_is_closed():
    with opened(FakeSpool(), network_timeout_seconds=0.2) as port, association(port) as made:
        wait_for(lambda: not made.is_established)


def is_taken(port):
    with association(port) as another:
        return another.is_established


def test_a_sender_that_stops_within_a_pdu_does_not_hold_the_study_or_its_place():
    spool = FakeSpool()
    with (
        opened(spool, network_timeout_seconds=2, maximum_associations=1) as port,
        association(port) as made,
    ):
        send(made, film())
        made.dul.socket.socket.sendall(b"\x04\x00\xff\xff\xff\xff" + b"half")
        wait_for(lambda: not spool.is_open(film().StudyInstanceUID))
        wait_for(lambda: is_taken(port))  # its thread ends a moment after its mark


def test_who_says_nothing_takes_no_place_and_is_sent_away():
    with opened(FakeSpool(), network_timeout_seconds=3, maximum_associations=1) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS) as silent:
            with association(port) as made:
                assert made.is_established
            assert silent.recv(1) == b""
        with association(port) as made:
            assert made.is_established


def test_who_asks_byte_by_byte_is_sent_away_in_time():
    with (
        opened(FakeSpool(), network_timeout_seconds=0.5) as port,
        socket.create_connection(("127.0.0.1", port), timeout=0.1) as slow,
    ):
        started = time.monotonic()
        with suppress(ConnectionError):
            while True:
                slow.sendall(b"\1")
                with suppress(TimeoutError):
                    assert slow.recv(1) == b""
                    break
        assert time.monotonic() - started < DEADLINE_SECONDS


def test_who_knocks_and_hangs_up_leaves_no_trace(capfd):
    with opened(FakeSpool()) as port:
        for said in (b"", b"\1", b"GET / HTTP/1.1\r\n\r\n", b"\4\0\0\0\0\6\0\0\0\2\1\3"):
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS) as knock:
                knock.sendall(said)
                knock.shutdown(socket.SHUT_WR)
                with suppress(ConnectionError):
                    while knock.recv(4096):
                        pass
        with association(port) as made:
            assert made.is_established
    assert "Traceback" not in capfd.readouterr().err


def test_one_address_cannot_fill_the_door_with_silence():
    with opened(FakeSpool(), maximum_associations=2) as port, capture_logs() as lines:
        silent = [socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS) for _ in range(9)]
        assert silent[-1].recv(1) == b""
        for each in silent:
            each.close()
        wait_for(lambda: any(line["event"] == "connection_dropped" for line in lines))

        def another_gets_in():
            with association(port) as made:
                return made.is_established

        wait_for(another_gets_in)


def test_a_sender_has_its_own_number_of_associations():
    senders = (
        Sender(ae_title="CR_ROOM1", host="127.0.0.1", maximum_associations=1),
        Sender(ae_title="CR_ROOM2", host="127.0.0.1"),
    )
    with opened(FakeSpool(), senders=senders) as port, capture_logs() as lines:
        with association(port) as first, association(port) as second, association(port, "CR_ROOM2") as other:
            assert first.is_established and other.is_established
            assert second.is_rejected
            assert (second.acceptor.primitive.result, second.acceptor.primitive.diagnostic) == (2, 2)
        with association(port) as again:
            assert again.is_established
    assert [line["reason"] for line in lines if line["event"] == "association_rejected"] == [
        "local_limit_exceeded"
    ]


def test_more_instances_a_minute_than_agreed_are_put_off():
    senders = (
        Sender(ae_title="CR_ROOM1", host="127.0.0.1", instances_per_minute=2),
        Sender(ae_title="CR_ROOM2", host="127.0.0.1"),
    )
    with opened(FakeSpool(), senders=senders) as port:
        with association(port) as first, association(port) as second:
            answers = [send(made, film(instance=str(n))).Status for n, made in enumerate([first, second] * 2)]
        assert answers == [0x0000, 0x0000, 0xA700, 0xA700]
        with association(port, "CR_ROOM2") as other:
            assert [send(other, film(instance=str(n))).Status for n in range(4)] == [0x0000] * 4


@pytest.mark.parametrize("required", [False, True])
def test_a_wrong_called_title_is_a_warning_or_a_refusal(required):
    with opened(FakeSpool(), require_called_ae_title=required) as port, capture_logs() as lines:
        with association(port, ae_title="SOMEBODY") as wrong:
            assert wrong.is_rejected is required
        with association(port, ae_title="HOICHAN") as right:
            assert right.is_established
    events = [line["event"] for line in lines]
    assert events == ["association_rejected" if required else "called_ae_title_differs"]


def test_full_is_told_and_service_returns():
    spool = FakeSpool()
    with opened(spool) as port, association(port) as made:
        spool.full = True
        answer = send(made, film())
        assert answer.Status == 0xA700 and answer.ErrorComment
        spool.full = False
        assert send(made, film()).Status == 0x0000


class BrokenSpool(FakeSpool):
    def store(self, data_set, **_):
        raise ValueError(f"{MARKER} in the text of an error")


def test_an_unexpected_error_is_answered_and_keeps_its_text_inside():
    with opened(BrokenSpool()) as port, association(port) as made, capture_logs() as lines:
        answer = send(made, film())
        assert answer.Status == 0x0110
        assert send(made, film()).Status == 0x0110
    assert MARKER not in str(lines) + str(answer)


def test_two_senders_at_a_time():
    spool = FakeSpool()
    answers = []

    def room(port, name):
        with association(port, name) as made:
            answers.extend(send(made, film(study=name, instance=str(number))).Status for number in range(5))

    with opened(spool) as port:
        threads = [threading.Thread(target=room, args=(port, f"CR{number}")) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [0] * 15
    assert len(spool.every_study()) == 3


def test_associations_leave_no_open_file_behind():
    def open_files():
        gc.collect()  # what the sending side left
        return len(list(Path("/proc/self/fd").iterdir()))

    with opened(FakeSpool()) as port:
        with association(port) as made:
            send(made, film())
        before = open_files()
        for number in range(10):
            with association(port) as made:
                send(made, film())
                if number % 2:
                    made.abort()
        wait_for(lambda: open_files() <= before)


def test_a_port_in_use_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUse, match=str(taken.getsockname()[1])):
            Door(FakeSpool(), Listener(port=taken.getsockname()[1])).open()


def test_an_address_of_another_machine_is_said():
    senders = (Sender(ae_title="*", host="127.0.0.1"),)
    with pytest.raises(ConfigurationError):
        Door(FakeSpool(), Listener(host="192.0.2.1", port=0, senders=senders)).open()


# As a process ----------------------------------------------------------------


class Process:
    def __init__(self, folder: Path, *arguments, port=0, more=""):
        self.folder = folder
        self.config = folder / "hoichan.toml"
        self.config.write_text(f"[storage]\nreserve_bytes = 0\n[listener]\nport = {port}\n{more}")
        self.ready = folder / "ready.json"
        self.ready.unlink(missing_ok=True)
        self.log = folder / "log.txt"
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "dicom_listener", "--config", self.config),
                    *("--data-dir", folder / "data", "--ready-file", self.ready, *arguments),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    @property
    def port(self):
        wait_for(lambda: self.ready.exists() or self.popen.poll() is not None)
        assert self.popen.poll() is None, self.log.read_text()
        return json.loads(self.ready.read_text())["port"]

    def end(self, number=signal.SIGTERM):
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        code = self.popen.wait(DEADLINE_SECONDS)
        self.popen.stdin.close()
        return code


@pytest.fixture
def process(tmp_path):
    started = []

    def start(*arguments, **settings):
        started.append(Process(tmp_path, *arguments, **settings))
        return started[-1]

    yield start
    for each in started:
        each.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_it_is_ready_and_ends_when_told(process, number):
    listener = process()
    port = listener.port
    with association(port) as made:
        assert send(made, film()).Status == 0x0000
    assert listener.end(number) == 0
    lines = [json.loads(line) for line in listener.log.read_text().splitlines()]
    (ready,) = [line for line in lines if line["event"] == "listener_ready"]
    assert (ready["host"], ready["port"], ready["ae_title"]) == ("127.0.0.1", port, "HOICHAN")


def test_the_process_ends_with_its_lifeline(process):
    listener = process("--stdin-lifeline")
    assert listener.port
    listener.popen.stdin.close()
    assert listener.popen.wait(DEADLINE_SECONDS) == 0


def test_a_port_in_use_is_one_sentence_and_exit_code_2(process):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listener = process(port=taken.getsockname()[1])
        assert listener.popen.wait(DEADLINE_SECONDS) == 2
    (sentence,) = listener.log.read_text().splitlines()
    assert sentence.endswith("stop the other program or set another port.")


def test_an_unusable_data_folder_is_one_sentence_and_exit_code_2(process, tmp_path):
    (tmp_path / "data").write_text("a file, not a folder")
    listener = process()
    assert listener.popen.wait(DEADLINE_SECONDS) == 2
    (sentence,) = listener.log.read_text().splitlines()
    assert "cannot be written" in sentence


def test_an_unknown_key_is_one_sentence_and_exit_code_2(process, tmp_path):
    listener = process("--config", str(tmp_path / "wrong.toml"))
    (tmp_path / "wrong.toml").write_text("[listener]\nprot = 1\n")
    assert listener.popen.wait(DEADLINE_SECONDS) == 2
    (sentence,) = listener.log.read_text().splitlines()
    assert "listener.prot" in sentence or "wrong.toml" in sentence


def test_nothing_of_a_patient_is_in_a_log_line_or_a_file_name(process, tmp_path):
    listener = process()
    bad = marked_film()
    del bad.StudyInstanceUID
    odd = marked_film()
    odd.SOPInstanceUID = film(instance="odd").SOPInstanceUID
    wrong = build_context("1.2.840.10008.5.1.4.1.1.2", EXPLICIT_LITTLE)
    with association(
        listener.port, contexts=[build_context(COMPUTED_RADIOGRAPHY, EXPLICIT_LITTLE), wrong]
    ) as made:
        assert send(made, marked_film()).Status == 0x0000
        assert send(made, bad).Status == 0xA900
        changed = marked_film()
        changed.ImageComments = MARKER * 2
        assert send(made, changed).Status == 0x0000
    with association(listener.port, contexts=[build_context(COMPUTED_RADIOGRAPHY, IMPLICIT_LITTLE)]) as made:
        made.abort()
    with socket.create_connection(("127.0.0.1", listener.port)) as raw:
        raw.sendall(b"\x04\x00\x00\x00\x00\x20" + b"MARKER" * 6)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):
            pass
    assert listener.end() == 0
    names = [str(path) for path in (tmp_path / "data").rglob("*")]
    notes = [p.read_text() for p in (tmp_path / "data").rglob("*.json")]  # the counts too
    assert len(list((tmp_path / "data").rglob("quarantine/*.json"))) == 2
    assert MARKER not in listener.log.read_text() + str(names) + str(notes)


def test_everything_told_success_survives_kill_9(process, tmp_path):
    told = []
    for kill in range(2):
        listener = process()
        port = listener.port
        enough, dead, before = threading.Event(), threading.Event(), len(told)

        def modality(room, kill=kill, port=port, enough=enough, dead=dead, before=before):
            # after the kill pynetdicom may wait for an answer as long as it may, or go on without one
            with association(port, f"CR{room}", timeout=5) as made, suppress(RuntimeError):
                for number in range(10_000):
                    data_set = film(study=f"{kill}-{room}", instance=str(number), pixels=b"\0\1" * 20_000)
                    if send(made, data_set).get("Status") == 0x0000:
                        told.append((data_set.StudyInstanceUID, data_set.SOPInstanceUID))
                    if len(told) - before >= 40:  # of all rooms: one that is too slow is gone
                        enough.set()
                    if dead.is_set():
                        return

        rooms = [threading.Thread(target=modality, args=(room,)) for room in range(3)]
        for room in rooms:
            room.start()
        assert enough.wait(DEADLINE_SECONDS)
        listener.end(signal.SIGKILL)
        dead.set()
        for room in rooms:
            room.join(DEADLINE_SECONDS)
            assert not room.is_alive()
    assert len(told) > 30
    survivor = process()
    assert survivor.port
    spool = DiskSpool(tmp_path / "data" / "spool")
    there = {(study, s.path.stem) for study in spool.every_study() for s in spool.listing(study)}
    assert set(told) <= there
    part = tmp_path / "data" / "spool" / "part"
    wait_until(lambda: not list(part.iterdir()), seconds=20, what="no helper tries it, nothing is left")
    assert not any(spool.is_open(study) for study in spool.every_study())
    assert set(spool.take_fresh()) == set(spool.every_study())
    with association(survivor.port) as made:
        again = film(study="0-0", instance="0", pixels=b"\0\1" * 20_000)
        assert send(made, again).Status == 0x0000
    assert not list((tmp_path / "data" / "spool" / "quarantine").iterdir())
