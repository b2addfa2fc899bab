import socket
import threading
import tracemalloc
from contextlib import contextmanager

from dicom_listener.lane import Lane
from dicom_listener.queues import Bell
from dicom_listener.transport import FilmSocket


@contextmanager
def connected():
    """A FilmSocket without an association, and the other end."""
    here, there = socket.socketpair()
    film_socket = object.__new__(FilmSocket)
    film_socket.socket = here
    film_socket.lane = Lane(lambda request: None)
    with here, there:
        yield film_socket, there


def test_what_is_asked_for_is_read_whole():
    sent = bytes(range(256)) * 20_000
    with connected() as (film_socket, peer):
        writer = threading.Thread(target=peer.sendall, args=(sent,))
        writer.start()
        assert film_socket.recv(6) + film_socket.recv(len(sent) - 6) == sent
        writer.join()


def test_a_peer_that_hangs_up_gives_what_came():
    with connected() as (film_socket, peer):
        peer.sendall(b"half")
        peer.shutdown(socket.SHUT_WR)
        assert film_socket.recv(100) == b"half"


def test_a_wild_length_takes_no_memory():
    with connected() as (film_socket, peer):
        peer.sendall(b"half")
        peer.shutdown(socket.SHUT_WR)
        tracemalloc.start()
        film_socket.recv(0xFFFFFFFF)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_bell_may_be_rung_often_and_after_its_end():
    bell = Bell()
    for _ in range(10_000):
        bell.ring()
    bell.hush()
    bell.close()
    bell.ring()
    bell.hush()
