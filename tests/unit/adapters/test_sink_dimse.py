"""Every answer of a PACS becomes stored, later, or never."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE, evt

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.images_there import FIND, FindScu
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.encoding.images import SC_IMAGE_STORAGE
from hoichan.encoding.picture import uncompressed
from hoichan.errors import Refused, Unreachable
from hoichan.reporting import plan
from hoichan.settings import DicomDestination, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.reports import REPORTED_AT
from hoichan.types import DocumentKind

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
BOTH = (SC_IMAGE_STORAGE, COMPREHENSIVE_3D_SR)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spool")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    study = a_study()
    return DocumentEncoder(FolderOfFilms(folder), Settings()).encode(study, a_report(study))


class Pacs:
    """A store SCP that answers what it is told and keeps what it got."""

    def __init__(self, status: int = 0x0000) -> None:
        self.status, self.received, self.associations, self.callers = status, [], 0, []
        self.images, self.find_status = set(), 0x0000

    def store(self, event):
        self.received.append((event.dataset.SOPClassUID, event.encoded_dataset(include_meta=False)))
        return self.status

    def find(self, event):
        asked = event.identifier
        assert asked.QueryRetrieveLevel == "IMAGE" and asked.StudyInstanceUID and asked.SeriesInstanceUID
        uids = asked.SOPInstanceUID
        for uid in [uids] if isinstance(uids, str) else uids:
            if uid in self.images and self.find_status == 0x0000:
                found = Dataset()
                found.QueryRetrieveLevel, found.SOPInstanceUID = "IMAGE", uid
                yield 0xFF00, found
        yield self.find_status, None

    def accepted(self, event):
        self.associations += 1
        self.callers.append(event.assoc.requestor.ae_title)


@contextmanager
def listening(pacs: Pacs, *, contexts=BOTH, title="PACS", syntax=ExplicitVRLittleEndian, **limits):
    ae = AE(ae_title=title)
    ae.require_called_aet = True
    for name, value in limits.items():
        setattr(ae, name, value)
    for context in contexts:
        ae.add_supported_context(context, syntax)
    handlers = [(evt.EVT_C_STORE, pacs.store), (evt.EVT_C_FIND, pacs.find), (evt.EVT_ACCEPTED, pacs.accepted)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield DicomDestination(
            name="pacs",
            kind="dicom",
            host="127.0.0.1",
            port=server.server_address[1],
            ae_title="PACS",
            timeout_seconds=5,
            wait_for_images_seconds=0,
        )
    finally:
        server.shutdown()


def deliver(destination, documents):
    (delivery,) = plan(a_report(a_study()), a_study(), [destination], documents, REPORTED_AT)
    return DimseSink(destination, "HOICHAN").deliver(delivery, documents)


def test_the_picture_then_the_sr_in_one_association(documents):
    pacs = Pacs()
    with listening(pacs) as destination:
        assert deliver(destination, documents) == "0x0000"
    assert [sop_class for sop_class, _ in pacs.received] == [*BOTH]
    assert pacs.associations == 1
    assert pacs.callers == ["HOICHAN"]


def test_the_kept_bytes_are_sent(documents):
    pacs = Pacs()
    with listening(pacs, syntax=[JPEGBaseline8Bit, ExplicitVRLittleEndian]) as destination:
        deliver(destination, documents)
    by_kind = {document.kind: document.content for document in documents}
    for (_, received), kind in zip(pacs.received, (DocumentKind.SC, DocumentKind.SR), strict=True):
        assert by_kind[kind].endswith(received)
        assert len(by_kind[kind]) - len(received) < 600  # preamble and file meta


@pytest.mark.parametrize(
    ("syntax", "is_open"),
    [
        (ExplicitVRLittleEndian, True),
        ([ExplicitVRLittleEndian, JPEGBaseline8Bit], False),
        ([JPEGBaseline8Bit, ExplicitVRLittleEndian], False),
    ],
)
def test_who_takes_no_jpeg_gets_the_same_picture_laid_open(documents, syntax, is_open):
    pacs = Pacs()
    with listening(pacs, syntax=syntax) as destination:
        assert deliver(destination, documents) == "0x0000"
    kept = next(document for document in documents if document.kind is DocumentKind.SC)
    (_, received), _ = pacs.received
    own = dcmread(BytesIO(kept.content))
    wanted = uncompressed(kept.content) if is_open else kept.content
    assert wanted.endswith(received)
    assert str(own.SOPInstanceUID).encode() in received
    assert (len(received) > own.Rows * own.Columns * 3) is is_open


def test_a_title_of_its_own_for_one_pacs(documents):
    pacs = Pacs()
    with listening(pacs) as destination:
        deliver(destination.model_copy(update={"calling_ae_title": "AI_ROOM"}), documents)
    assert pacs.callers == ["AI_ROOM"]


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_is_stored(documents, status):
    pacs = Pacs(status)
    with listening(pacs) as destination:
        assert deliver(destination, documents) == "0x0000"
    assert len(pacs.received) == 2


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0x0213])
def test_out_of_resources_is_later(documents, status):
    with listening(Pacs(status)) as destination, pytest.raises(Unreachable, match=f"0x{status:04X}"):
        deliver(destination, documents)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0122, 0x0124, 0x0110])
def test_any_other_status_is_never(documents, status):
    pacs = Pacs(status)
    with listening(pacs) as destination, pytest.raises(Refused) as caught:
        deliver(destination, documents)
    assert caught.value.status == f"0x{status:04X}"
    assert len(pacs.received) == 1


# pynetdicom 3.0 drops the socket of a refused connection without closing it (transport.py, connect).
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_closed_port_is_later(documents):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        destination = DicomDestination(
            name="pacs", kind="dicom", host="127.0.0.1", port=closed.getsockname()[1], ae_title="PACS"
        )
        with pytest.raises(Unreachable):
            deliver(destination, documents)


def test_a_peer_that_never_answers_is_later(documents):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        destination = DicomDestination(
            name="pacs",
            kind="dicom",
            host="127.0.0.1",
            port=silent.getsockname()[1],
            ae_title="PACS",
            timeout_seconds=0.5,
        )
        with pytest.raises(Unreachable):
            deliver(destination, documents)


def test_a_wrong_title_is_never(documents):
    with (
        listening(Pacs(), title="OTHER") as destination,
        pytest.raises(Refused, match="association rejected"),
    ):
        deliver(destination, documents)


def test_a_class_that_is_not_accepted_is_never_and_nothing_is_half_sent_silently(documents):
    pacs = Pacs()
    with (
        listening(pacs, contexts=(SC_IMAGE_STORAGE,)) as destination,
        pytest.raises(Refused, match=COMPREHENSIVE_3D_SR),
    ):
        deliver(destination, documents)


@pytest.mark.parametrize(
    ("contexts", "syntax"),
    [(("1.2.840.10008.5.1.4.1.1.1",), ExplicitVRLittleEndian), (BOTH, ImplicitVRLittleEndian)],
)
def test_nothing_accepted_at_all_is_never(documents, contexts, syntax):
    with (
        listening(Pacs(), contexts=contexts, syntax=syntax) as destination,
        pytest.raises(Refused, match="no presentation context"),
    ):
        deliver(destination, documents)


def test_what_arrives_reads_as_vietnamese(documents):
    pacs = Pacs()
    with listening(pacs) as destination:
        deliver(destination, documents)
    sr = next(document for document in documents if document.kind is DocumentKind.SR)
    assert str(dcmread(BytesIO(sr.content)).PatientName) == "Nguyễn^Thị Hồng^Ổn"


@pytest.fixture(scope="module")
def every_form(tmp_path_factory):
    """All that a PACS can ask for."""
    folder = tmp_path_factory.mktemp("spool")
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    study = a_study()
    pacs = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 1, "ae_title": "PACS"}
    pacs["send"] = ("sr", "sc", "gsps", "pdf", "kos")
    settings = Settings.model_validate({"destinations": [pacs]})
    return DocumentEncoder(FolderOfFilms(folder), settings).encode(study, a_report(study))


@pytest.mark.parametrize("takes", ["34", "33", "22"])
def test_a_pacs_gets_the_sr_in_the_newest_class_that_it_takes(every_form, takes):
    pacs, sr = Pacs(), f"1.2.840.10008.5.1.4.1.1.88.{takes}"
    older = {"34": ("33", "22"), "33": ("22",), "22": ()}[takes]
    contexts = (SC_IMAGE_STORAGE, sr, *(f"1.2.840.10008.5.1.4.1.1.88.{one}" for one in older))
    with listening(pacs, contexts=contexts) as destination:
        assert deliver(destination, every_form) == "0x0000"
    assert [sop_class for sop_class, _ in pacs.received] == [SC_IMAGE_STORAGE, sr]


def test_a_class_that_is_refused_when_it_comes_falls_back_to_the_next(every_form):
    class Choosy(Pacs):
        """Accepts every context, and then knows only the oldest class of the report."""

        def store(self, event):
            super().store(event)
            newer = ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.33")
            return self.status if event.dataset.SOPClassUID in newer else 0x0000

    sr = tuple(f"1.2.840.10008.5.1.4.1.1.88.{one}" for one in ("34", "33", "22"))
    pacs = Choosy(0x0122)
    with listening(pacs, contexts=(SC_IMAGE_STORAGE, *sr)) as destination:
        assert deliver(destination, every_form) == "0x0000"
    assert [sop_class for sop_class, _ in pacs.received] == [SC_IMAGE_STORAGE, *sr]
    with (
        listening(Choosy(0xC000), contexts=(SC_IMAGE_STORAGE, *sr)) as destination,
        pytest.raises(Refused, match="0xC000"),  # not about the class: nothing else is tried
    ):
        deliver(destination, every_form)


def test_results_wait_for_their_images_unless_a_site_says_otherwise():
    asked = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 104, "ae_title": "PACS"}
    assert DicomDestination.model_validate(asked).wait_for_images_seconds == 300


def test_a_pacs_with_a_class_of_its_own_gets_that_one_or_nothing(every_form):
    pacs = Pacs()
    with listening(pacs) as destination:
        older = destination.model_copy(update={"sr_class": "enhanced"})
        with pytest.raises(Refused, match="22 not accepted"):
            deliver(older, every_form)


def test_marks_and_page_go_where_they_are_asked_for(every_form):
    pacs = Pacs()
    asked = ("1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.104.1")
    with listening(pacs, contexts=(*BOTH, *asked)) as destination:
        more = destination.model_copy(update={"send": ("sr", "sc", "gsps", "pdf", "kos")})
        assert deliver(more, every_form) == "0x0000"
    gsps, pdf = asked
    assert [sop_class for sop_class, _ in pacs.received] == [
        SC_IMAGE_STORAGE,
        gsps,
        COMPREHENSIVE_3D_SR,
        pdf,
    ]


def test_only_what_somebody_asks_for_is_made(documents, every_form):
    assert {document.kind for document in documents} == {DocumentKind.SC, DocumentKind.SR, DocumentKind.FHIR}
    assert DocumentKind.KOS not in {document.kind for document in every_form}  # nothing is taken back


# ------------------------------------------------------------------ the images first
def waiting(destination, documents, clock=lambda: 0.0, knowledge=None, **changes):
    asked = destination.model_copy(update={"wait_for_images_seconds": 60.0, **changes})
    (delivery,) = plan(a_report(a_study()), a_study(), [asked], documents, REPORTED_AT)
    sink = DimseSink(asked, "HOICHAN", knowledge=knowledge, monotonic=clock)
    return lambda: sink.deliver(delivery, documents)


def test_results_wait_until_the_pacs_has_the_film(documents):
    pacs = Pacs()
    with listening(pacs, contexts=(*BOTH, FIND)) as destination:
        send = waiting(destination, documents)
        with pytest.raises(Unreachable) as caught:
            send()
        assert caught.value.detail == "images_not_there" and not pacs.received
        pacs.images = {one.sop_instance_uid for one in a_study().instances}
        assert send() == "0x0000"
    assert len(pacs.received) == len(BOTH)


class Knowing:
    """What else is known about the images of one destination, and what it wrote on the trail."""

    def __init__(self, *, former=(), brought=(), vouches=False):
        self.former, self.came, self.vouches = former, brought, vouches
        self.asked, self.trail = [], []

    def spoken_of(self, delivery):
        return self.former

    def brought(self, delivery):
        return self.came

    def vouched(self, delivery, references):
        self.asked.append(references)
        return self.vouches

    def tell(self, delivery, event, **details):
        self.trail.append((event, details))


def test_what_has_waited_enough_is_a_dead_letter_and_waits_anew_when_it_is_sent_again(documents):
    pacs, now = Pacs(), [0.0]
    with listening(pacs, contexts=(*BOTH, FIND)) as destination:
        send = waiting(destination, documents, lambda: now[0])
        for seconds, error in ((0, Unreachable), (59, Unreachable), (60, Refused), (61, Unreachable)):
            now[0] = float(seconds)
            with pytest.raises(error, match="images_not_there"):
                send()
        pacs.images = {one.sop_instance_uid for one in a_study().instances}
        assert send() == "0x0000"
    assert len(pacs.received) == len(BOTH)


def mute():
    pacs = Pacs()
    pacs.find_status = 0xA900
    return pacs, (*BOTH, FIND)


@pytest.mark.parametrize("pacs, contexts", [(Pacs(), BOTH), mute()], ids=["no C-FIND", "C-FIND fails"])
def test_a_pacs_that_answers_no_questions_gets_no_report_whose_images_nobody_knows(documents, pacs, contexts):
    now = [0.0]
    with listening(pacs, contexts=contexts) as destination:
        send = waiting(destination, documents, lambda: now[0])
        with pytest.raises(Unreachable, match="images_not_known"):
            send()
        now[0] = 60.0
        with pytest.raises(Refused, match="images_not_known"):
            send()
    assert not pacs.received


IMAGES = {str(one.sop_instance_uid) for one in a_study().instances}


@pytest.mark.parametrize(
    "known, by",
    [
        (Knowing(brought=IMAGES), "brought"),
        (Knowing(former=IMAGES), "brought"),
        (Knowing(vouches=True), "commitment"),
    ],
)
def test_a_pacs_that_answers_no_questions_gets_what_is_known_otherwise(documents, known, by):
    pacs = Pacs()
    with listening(pacs) as destination:
        assert waiting(destination, documents, knowledge=known)() == "0x0000"
    assert len(pacs.received) == len(BOTH)
    assert known.trail == [("images_known", {"destination": "pacs", "by": by})]
    assert {uid for references in known.asked for _, uid in references} == (
        IMAGES if known.vouches else set()
    )
    assert all(
        sop_class == a_study().instances[0].sop_class_uid for asked in known.asked for sop_class, _ in asked
    )


def test_the_word_of_the_pacs_weighs_more_than_ours_but_for_what_corrects_a_report_there(documents):
    pacs = Pacs()
    with listening(pacs, contexts=(*BOTH, FIND)) as destination:
        with pytest.raises(Unreachable, match="images_not_there"):
            waiting(destination, documents, knowledge=Knowing(brought=IMAGES, vouches=True))()
        former = Knowing(former=IMAGES)
        assert waiting(destination, documents, knowledge=former)() == "0x0000"
    assert former.trail == [("images_known", {"destination": "pacs", "by": "former"})]


@pytest.mark.parametrize("changes", [{"images": "assume"}, {"wait_for_images_seconds": 0.0}])
def test_a_site_may_assume_that_the_images_are_there_and_the_trail_says_so(documents, changes):
    pacs, known = Pacs(), Knowing()
    with listening(pacs, contexts=(*BOTH, FIND)) as destination:
        assert waiting(destination, documents, knowledge=known, **changes)() == "0x0000"
    assert known.trail == [("images_assumed", {"destination": "pacs"})]


def test_whether_images_came_can_be_asked_without_sending_anything(documents):
    pacs = Pacs()
    with listening(pacs, contexts=(*BOTH, FIND)) as destination:
        asked = destination.model_copy(update={"wait_for_images_seconds": 60.0})
        (delivery,) = plan(a_report(a_study()), a_study(), [asked], documents, REPORTED_AT)
        sink = DimseSink(asked, "HOICHAN")
        assert not sink.images_are_known(delivery, documents)
        pacs.images = IMAGES
        assert sink.images_are_known(delivery, documents)
    assert not pacs.received


def test_more_images_than_fit_one_question_are_all_asked_for():
    asked = {"1.2.3": [f"1.2.3.{number}" for number in range(250)]}
    pacs = Pacs()
    pacs.images = set(asked["1.2.3"])
    with listening(pacs, contexts=(*BOTH, FIND)) as destination:
        find = FindScu(destination, "HOICHAN")
        assert find.holds("1.2", asked)
        pacs.images.remove("1.2.3.249")
        assert find.holds("1.2", asked) is False
