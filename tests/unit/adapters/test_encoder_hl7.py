"""Each HL7 receiver gets its own message; nobody else gets one."""

from __future__ import annotations

from hoichan import er7
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.types import DocumentKind

RECEIVER = {"kind": "hl7v2", "host": "127.0.0.1", "port": 2575}


def messages(tmp_path, *destinations):
    film = a_film()
    (tmp_path / "film.dcm").write_bytes(as_bytes(film))
    study = a_study(film)
    settings = Settings.model_validate({"destinations": destinations})
    documents = DocumentEncoder(FolderOfFilms(tmp_path), settings).encode(study, a_report(study))
    return [document for document in documents if document.kind is DocumentKind.HL7]


def test_without_an_hl7_receiver_there_is_no_message(tmp_path):
    assert messages(tmp_path) == []


def test_each_receiver_has_its_own_dialect_and_control_id(tmp_path):
    ris, his = messages(
        tmp_path,
        {**RECEIVER, "name": "ris"},
        {**RECEIVER, "name": "his", "charset": "ascii", "unread_status": "P"},
    )
    assert (ris.destination, his.destination) == ("ris", "his")
    assert ris.uid == er7.read(ris.content).control_id != his.uid
    assert "Nguyễn".encode() in ris.content and his.content.isascii()
