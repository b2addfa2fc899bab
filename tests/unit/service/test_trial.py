"""A test study goes to a PACS form by form, and what a person sees of it makes the profile."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from typer.testing import CliRunner

from service.cli import app
from service.trial import profile

CR, SC = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
GSPS, PDF = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.104.1"
MR, SEG = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.66.4"
ENHANCED, COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.33"


@contextmanager
def a_pacs(folder, *classes):
    """A configuration with a PACS that takes these classes, and what it got."""
    received = []

    def store(event):
        received.append(event.dataset)
        return 0x0000

    entity = AE(ae_title="PACS")
    for sop_class in classes:
        entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    config = folder / "hoichan.toml"
    config.write_text(
        '[[destinations]]\nname = "pacs"\nkind = "dicom"\nhost = "127.0.0.1"\nae_title = "PACS"\n'
        f"port = {server.server_address[1]}\ntimeout_seconds = 5\n"
        '[[destinations]]\nname = "share"\nkind = "folder"\npath = "x"\n',
        encoding="utf-8",
    )
    try:
        yield ["--config", str(config), "--data-dir", str(folder / "data")], received
    finally:
        server.shutdown()


def run(*arguments, answers=None):
    return CliRunner().invoke(app, ["try", *arguments], input=answers)


def test_what_is_stored_and_shown_makes_the_profile(tmp_path):
    with a_pacs(tmp_path, CR, SC, ENHANCED, PDF) as (options, received):
        done = run("pacs", "--shows", "sc,sr-enhanced", "--json", *options)
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert answer["stored"] == ["film", "pdf", "sc", "sr-enhanced"]
    assert (answer["send"], answer["sr_class"]) == (["sc", "sr"], "auto")
    assert "no presentation context accepted" in answer["tried"]["gsps"]
    assert [one.SOPClassUID for one in received] == [CR, SC, ENHANCED, PDF]
    assert {str(one.PatientName) for one in received} == {"THỬ NGHIỆM^KHÔNG PHẢI NGƯỜI BỆNH"}
    assert {one.PatientID for one in received} == {"HOICHAN-TEST"}
    assert len({one.StudyInstanceUID for one in received}) == 1


def test_outlines_come_with_their_slices_and_lie_in_them(tmp_path):
    with a_pacs(tmp_path, CR, MR, SEG) as (options, received):
        done = run("pacs", "--shows", "seg-fractional", "--json", *options)
    answer = json.loads(done.stdout)
    assert answer["stored"] == ["film", "seg", "seg-fractional"]
    assert (answer["send"], answer["seg_form"]) == (["seg"], "fractional")
    (film, *drawn) = received
    for form, part in (("BINARY", drawn[:7]), ("FRACTIONAL", drawn[7:])):
        *slices, outline = part
        assert [one.SOPClassUID for one in part] == [MR] * 6 + [SEG]
        assert outline.SegmentationType == form
        (series,) = outline.ReferencedSeriesSequence
        assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} <= {
            one.SOPInstanceUID for one in slices
        }
        assert {one.FrameOfReferenceUID for one in part} == {outline.FrameOfReferenceUID}
        assert {one.StudyInstanceUID for one in part} == {film.StudyInstanceUID}
        assert {str(one.PatientName) for one in part} == {"THỬ NGHIỆM^KHÔNG PHẢI NGƯỜI BỆNH"}
    text = (tmp_path / "data" / "profiles" / "pacs.toml").read_text(encoding="utf-8")
    assert 'seg_form = "fractional"' in text


def test_a_person_is_asked_about_what_was_stored_only(tmp_path):
    with a_pacs(tmp_path, CR, SC, COMPREHENSIVE) as (options, _):
        done = run("pacs", *options, answers="y\nn\n")
    assert done.exit_code == 0
    assert done.stdout.count("Does it show") == 2
    text = (tmp_path / "data" / "profiles" / "pacs.toml").read_text(encoding="utf-8")
    assert 'send = ["sc", "sr"]' in text and 'sr_class = "auto"' in text


def test_a_pacs_that_takes_nothing_ends_with_1(tmp_path):
    with a_pacs(tmp_path, ENHANCED) as (options, received):
        done = run("pacs", "--shows", "", *options)
    assert done.exit_code == 1 and received == []
    assert not (tmp_path / "data" / "profiles").exists()


@pytest.mark.parametrize("name", ["nobody", "share"])
def test_only_a_configured_pacs_can_be_tried(tmp_path, name):
    with a_pacs(tmp_path, CR) as (options, _):
        done = run(name, *options)
    assert done.exit_code != 0 and name in str(done.exception)


@pytest.mark.parametrize(
    ("stored", "shown", "send", "sr_class"),
    [
        ({"sc", "sr", "sr-comprehensive"}, {"sc", "sr-comprehensive"}, ["sc", "sr"], "comprehensive"),
        ({"sc", "sr", "sr-enhanced"}, {"sc", "sr"}, ["sc", "sr"], "auto"),
        ({"sc", "gsps", "sr", "pdf", "kos"}, {"gsps", "pdf", "kos"}, ["gsps", "sr", "pdf", "kos"], "auto"),
        ({"sc"}, set(), [], "auto"),
        ({"sc", "sr", "seg", "seg-fractional"}, {"seg", "pdf"}, ["sr", "seg"], "auto"),
        ({"sr", "seg-fractional"}, {"seg"}, ["sr"], "auto"),
    ],
)
def test_the_profile(stored, shown, send, sr_class):
    found = profile(stored, shown, took_back="kos" in shown)
    assert (found["send"], found["sr_class"]) == (send, sr_class)
    assert found.get("seg_form") == ("binary" if "seg" in send else None)
