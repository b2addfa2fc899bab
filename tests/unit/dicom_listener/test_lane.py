import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_ECHO_RSP, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import P_DATA_TF

from dicom_listener.lane import BUFFER_BYTES, Lane, Step, StoreRequest, request_of, response_to
from dicom_listener.statuses import ANSWERS, SUCCESS

CT, INSTANCE = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5"
CONTEXT = 3
VERIFICATION = "1.2.840.10008.1.1"


class Kept:
    """A reception that remembers what it was given."""

    def __init__(self, request):
        self.request, self.data, self.ended, self.dropped = request, b"", False, False

    def write(self, pieces):
        self.data += b"".join(pieces)

    def end(self):
        self.ended = True
        return SUCCESS

    def drop(self):
        self.dropped = True


class Peer:
    """A lane, and what came of the bytes it was fed."""

    def __init__(self, *, takes=True, echoes=False):
        self.receptions, self.steps, self.rest = [], [], b""
        self.lane = Lane(self._begin if takes else lambda request: None, lambda request: echoes)

    def _begin(self, request):
        self.receptions.append(Kept(request))
        return self.receptions[-1]

    def feed(self, data, size=BUFFER_BYTES // 2):
        """Every byte, at most `size` at a time, as a socket gives them, up to the first OTHER or BROKEN."""
        waiting = [data[at : at + size] for at in range(0, len(data), size)]
        while True:
            step = self.lane.advance()
            if step is not Step.MORE:
                self.steps.append(step)
            if step in (Step.OTHER, Step.BROKEN):
                self.rest = self.lane.take(1 << 30) + b"".join(waiting)
                return self
            if step is Step.MORE:
                if not waiting:
                    return self
                piece = waiting.pop(0)

                def receive_into(view, piece=piece):
                    view[: len(piece)] = piece
                    return len(piece)

                assert self.lane.fill(receive_into) == len(piece)


def command(primitive_class=C_STORE, message_class=C_STORE_RQ, **values):
    """The encoded command set, by pynetdicom."""
    primitive = primitive_class()
    primitive.MessageID = 7
    for name, value in values.items():
        setattr(primitive, name, value)
    message = message_class()
    message.primitive_to_message(primitive)
    (first, *_) = message.encode_msg(CONTEXT, 0)
    ((_, value),) = first.presentation_data_value_list
    return value[1:]


def store_command(sop_class=CT, instance=INSTANCE):
    return command(
        AffectedSOPClassUID=sop_class, AffectedSOPInstanceUID=instance, Priority=2, DataSet=BytesIO(b"\0\0")
    )


def pdv(data, control, context=CONTEXT):
    return struct.pack(">IBB", len(data) + 2, context, control) + data


def pdu(*pdvs, kind=4):
    body = b"".join(pdvs)
    return struct.pack(">BxI", kind, len(body)) + body


def stored(data, *, fragment=1000):
    """A whole C-STORE request: its command in a PDU of its own, and each fragment of the data set."""
    pieces = [data[at : at + fragment] for at in range(0, len(data), fragment)] or [b""]
    fragments = [pdu(pdv(piece, 2 if n == len(pieces) - 1 else 0)) for n, piece in enumerate(pieces)]
    return pdu(pdv(store_command(), 3)) + b"".join(fragments)


def test_what_pynetdicom_asks_is_understood():
    assert request_of(CONTEXT, store_command()) == StoreRequest(
        context_id=CONTEXT, message_id=7, sop_class_uid=CT, sop_instance_uid=INSTANCE
    )


@pytest.mark.parametrize("answer", [SUCCESS, *ANSWERS.values()], ids=lambda answer: hex(answer.status))
@pytest.mark.parametrize("instance", [INSTANCE, "1.2.3.45"])
def test_pynetdicom_understands_what_is_answered(answer, instance):
    request = StoreRequest(context_id=CONTEXT, message_id=7, sop_class_uid=CT, sop_instance_uid=instance)
    decoded = P_DATA_TF()
    decoded.decode(response_to(request, answer))
    primitive = decoded.to_primitive()
    message = C_STORE_RSP()
    assert message.decode_msg(primitive)
    heard = message.message_to_primitive()
    assert isinstance(heard, C_STORE)
    assert (heard.MessageIDBeingRespondedTo, heard.Status) == (7, answer.status)
    assert (heard.AffectedSOPClassUID, heard.AffectedSOPInstanceUID) == (CT, instance)
    assert (heard.ErrorComment or "") == answer.comment
    assert len(response_to(request, answer)) < 400


@given(
    data=st.binary(max_size=5000),
    fragment=st.integers(1, 3000),
    size=st.integers(1, 4000),
    count=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_however_it_is_cut_the_data_set_is_whole(data, fragment, size, count):
    peer = Peer().feed(stored(data, fragment=fragment) * count, size)
    assert peer.steps == [Step.DONE] * count
    assert [reception.data for reception in peer.receptions] == [data] * count
    assert all(reception.ended for reception in peer.receptions) and not peer.lane.unread


def test_command_and_data_set_may_share_a_pdu():
    whole = pdu(pdv(store_command(), 3), pdv(b"first", 0), pdv(b"second", 2))
    for size in (1, 7, len(whole)):
        (reception,) = Peer().feed(whole, size).receptions
        assert reception.data == b"firstsecond"


def test_a_film_larger_than_the_buffer():
    data = bytes(range(256)) * 8000
    peer = Peer().feed(stored(data, fragment=131072 - 6))
    assert peer.receptions[0].data == data


ELSEWHERE = {
    "echo": pdu(pdv(command(C_ECHO, C_ECHO_RQ, AffectedSOPClassUID=VERIFICATION), 3)),
    "release": pdu(b"\0\0\0\0", kind=5),
    "abort": pdu(b"\0\0\0\0", kind=7),
    "unknown PDU": pdu(b"\0\0\0\0", kind=9),
    "command in fragments": pdu(pdv(store_command()[:50], 1)) + pdu(pdv(store_command()[50:], 3)),
    "data without a command": pdu(pdv(b"data", 2)),
    "no PDV": pdu(),
    "PDV longer than its PDU": struct.pack(">BxI", 4, 20) + pdv(store_command(), 3),
    "command of a megabyte": struct.pack(">BxI", 4, 1 << 20) + struct.pack(">IBB", (1 << 20) - 4, CONTEXT, 3),
    "command that is none": pdu(pdv(b"\1\2\3\4\5\6\7\x08\xff", 3)),
    "no data set announced": pdu(
        pdv(store_command().replace(b"\0\x08\2\0\0\0\1\0", b"\0\x08\2\0\0\0\1\1"), 3)
    ),
    "instance that is no UID": pdu(pdv(store_command().replace(b"1.2.3.4.5", b"1.2.3..45"), 3)),
}


@pytest.mark.parametrize("said", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("size", [1, 1000])
def test_everything_else_is_left_as_it_came(said, size):
    peer = Peer().feed(said + b"and more", size)
    assert peer.steps == [Step.OTHER] and peer.receptions == []
    assert peer.rest == said + b"and more"


def test_an_echo_is_answered():
    for size in (1, 1000):
        peer = Peer(echoes=True).feed(ELSEWHERE["echo"] * 2 + stored(b"data"), size)
        assert peer.steps == [Step.DONE] * 3
        decoded, message = P_DATA_TF(), C_ECHO_RSP()
        decoded.decode(Peer(echoes=True).feed(ELSEWHERE["echo"]).lane.response)
        assert message.decode_msg(decoded.to_primitive())
        heard = message.message_to_primitive()
        assert isinstance(heard, C_ECHO)
        assert (heard.MessageIDBeingRespondedTo, heard.Status) == (7, 0x0000)
        assert heard.AffectedSOPClassUID == VERIFICATION


def test_an_echo_that_shares_its_pdu_is_left_as_it_came():
    said = pdu(pdv(command(C_ECHO, C_ECHO_RQ, AffectedSOPClassUID=VERIFICATION), 3), pdv(b"data", 2))
    assert Peer(echoes=True).feed(said).rest == said


def test_a_request_that_nobody_takes_is_left_as_it_came():
    said = stored(b"data")
    assert Peer(takes=False).feed(said).rest == said


def test_between_two_messages_others_may_speak():
    peer = Peer().feed(stored(b"one") + ELSEWHERE["echo"])
    assert peer.steps == [Step.DONE, Step.OTHER] and peer.rest == ELSEWHERE["echo"]
    peer.feed(stored(b"two"))
    assert [reception.data for reception in peer.receptions] == [b"one", b"two"]


BEGUN = pdu(pdv(store_command(), 3)) + pdu(pdv(b"some", 0))
BREAKS = {
    "another context": pdu(pdv(b"data", 2, context=5)),
    "a command": pdu(pdv(store_command(), 3)),
    "a PDV without its header": pdu(struct.pack(">IBB", 1, CONTEXT, 2)),
    "a PDV longer than its PDU": struct.pack(">BxI", 4, 8) + struct.pack(">IBB", 100, CONTEXT, 2),
    "an empty PDU": pdu() + b"\0" * 6,
    "more behind the last fragment": pdu(pdv(b"data", 2), pdv(b"more", 2)),
}


@pytest.mark.parametrize("said", BREAKS.values(), ids=BREAKS)
def test_what_is_no_fragment_breaks_the_association_and_keeps_nothing(said):
    peer = Peer().feed(BEGUN + said)
    assert peer.steps == [Step.BROKEN]
    (reception,) = peer.receptions
    assert reception.dropped and not reception.ended


def test_an_abort_within_a_data_set_is_handed_on_and_keeps_nothing():
    peer = Peer().feed(BEGUN + ELSEWHERE["abort"])
    assert peer.steps == [Step.OTHER] and peer.rest == ELSEWHERE["abort"]
    assert peer.receptions[0].dropped and not peer.receptions[0].ended


def test_a_connection_that_breaks_keeps_nothing():
    peer = Peer().feed(BEGUN)
    peer.lane.forget()
    peer.lane.drop()
    assert peer.receptions[0].dropped and not peer.lane.unread


@given(st.binary(max_size=400), st.integers(1, 400))
@settings(max_examples=200, deadline=None)
def test_whatever_is_said_ends_and_nothing_is_kept_by_chance(said, size):
    peer = Peer().feed(BEGUN + said, size)
    kept = [reception for reception in peer.receptions if reception.ended]
    assert len(kept) <= peer.steps.count(Step.DONE)
    assert peer.lane.unread <= BUFFER_BYTES
